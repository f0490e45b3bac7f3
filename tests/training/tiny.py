"""A learner small enough for tests: a line of regression with dropout, so that random state matters."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from smolkit.training.config import TrainConfig
from smolkit.training.loop import TrainResult, train


class TinyLearner:
    """Learns y = 2x - 1 on 50 noisy points through a small network."""

    def __init__(self, broken_after: int | None = None):
        rng = torch.Generator().manual_seed(5)
        self.x = torch.rand((50, 1), generator=rng)
        self.y = 2 * self.x - 1 + 0.01 * torch.randn((50, 1), generator=rng)
        self.count, self.calls, self.broken_after = 50, 0, broken_after
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.module = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 1))

    def losses(self, indices: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        noise = 0.01 * torch.randn((len(indices), 1), generator=rng)
        loss = ((self.module(self.x[indices] + noise) - self.y[indices]) ** 2).mean()
        self.calls += 1
        return {"loss": loss * float("nan") if self.calls == self.broken_after else loss}

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.module.state_dict(), folder / "model.safetensors")


CONFIG = TrainConfig(steps=60, batch_size=16, learning_rate=1e-2, warmup_steps=5, decay_steps=None, ema=0.9,
                     threads=1, checkpoint_every_s=0.0, weight_decay=0.01)


def run(folder: Path, steps: int = 60, **kwargs: object) -> TrainResult:
    torch.manual_seed(3)
    return train(TinyLearner(), CONFIG.with_changes(steps=steps), folder, **kwargs)


if __name__ == "__main__":               # the victim of the kill -9 test: tells each step, then goes on
    run(Path(sys.argv[1]), steps=int(sys.argv[2]), progress=lambda p: print(p.step, flush=True))

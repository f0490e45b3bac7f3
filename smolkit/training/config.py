"""One training run as a frozen record, saved as JSON beside its checkpoints.

    >>> config = TrainConfig(steps=1000, batch_size=64)
    >>> TrainConfig.from_json(config.to_json()) == config
    True
    >>> config.with_changes(steps=10).steps
    10
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace

from smolkit.report import SmolkitError


@dataclass(frozen=True)
class TrainConfig:
    """How a policy is trained. Defaults are those of SmolVLA's fine-tuning; `recipes` names others.

    Units: `max_minutes` and `checkpoint_every_s` are wall time; `state_noise` is in standard deviations
    of the state; `image_shift_px` in pixels of the stored pictures.
    """

    steps: int = 20_000
    max_minutes: float | None = None      # shrinks `steps` to fit the machine, see `budget`
    batch_size: int = 64
    draws: int = 1                        # (t, noise) pairs per picture: the prefix is the dear part
    seed: int = 0
    threads: int | None = None            # None: as many as are fastest, found by trying

    learning_rate: float = 1e-4
    final_learning_rate: float = 2.5e-6
    warmup_steps: int = 1000
    decay_steps: int | None = 30_000      # length of the cosine; None: that of the run, see `schedule`
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 1e-10
    grad_clip: float = 10.0
    ema: float = 0.0                      # 0: no average, the last weights are the policy

    loss_generation: str = "main"         # "0.4.4": as old LeRobot averaged, to compare curves
    lora_rank: int = 0                    # > 0: only small additions of this rank learn, see `smolvla.lora`
    recompute: bool = False               # less memory and more time, see `recompute`
    cache: str = "auto"                   # "tokens", "notes", "none", see `feature_cache`; auto: tokens if exact
    cache_dtype: str = "bfloat16"         # or "float32": twice the room, to the last bit
    cache_gb: float = 4.0                 # what does not fit is computed again in every epoch

    image_shift_px: int = 0
    colour_jitter: float = 0.0            # largest relative change of brightness and contrast
    state_noise: float = 0.0
    auxiliary_weight: float = 0.0         # > 0 needs `observation.environment_state` in the data

    checkpoint_every_s: float = 60.0
    keep_checkpoints: int = 2
    log_every_steps: int = 20

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("draws", 1), ("log_every_steps", 1),
                            ("keep_checkpoints", 1)):
            _require(getattr(self, name) >= least, name, f"at least {least}", getattr(self, name))
        for name, words in (("cache", ("auto", "tokens", "notes", "none")), ("cache_dtype", ("bfloat16", "float32"))):
            _require(getattr(self, name) in words, name, f"one of {', '.join(words)}", getattr(self, name))
        _require(self.lora_rank >= 0, "lora_rank", "0 for none, or a rank", self.lora_rank)
        _require(self.cache_gb >= 0, "cache_gb", "0 or more", self.cache_gb)
        _require(0 <= self.ema < 1, "ema", "a decay in [0, 1)", self.ema)
        _require(self.learning_rate > 0, "learning_rate", "a positive number", self.learning_rate)
        _require(self.decay_steps is None or self.decay_steps > 0, "decay_steps", "positive steps or none",
                 self.decay_steps)
        _require(self.max_minutes is None or self.max_minutes > 0, "max_minutes",
                 "positive minutes or none", self.max_minutes)

    def with_changes(self, **changes: object) -> TrainConfig:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @staticmethod
    def from_json(text: str) -> TrainConfig:
        """The config of a JSON text; an unknown key is an error, for a run must not change in silence."""
        raw = json.loads(text)
        unknown = sorted(set(raw) - {f.name for f in fields(TrainConfig)})
        _require(not unknown, "train_config.json", "only keys of TrainConfig", unknown)
        return TrainConfig(**{**raw, "betas": tuple(raw.get("betas", (0.9, 0.95)))})


def _require(ok: bool, name: str, expected: str, found: object) -> None:
    if not ok:
        raise SmolkitError("SK601", f"{name}: {expected}", repr(found), "a typing slip in the training "
                           "settings, or a file from another version", "correct the value and start again")

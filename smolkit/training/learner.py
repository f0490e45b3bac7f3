"""SmolVLA as the training loop's learner: pictures, words and states in, the flow-matching loss out.

    samples = Samples.from_arrays(dataset.to_arrays())
    policy = fresh_policy(build_preset("classroom", samples.cameras), samples)
    result = train(SmolVLALearner(policy, samples, config), config, Path("outputs/run"))

The statistics that normalise come from `samples` and travel with the policy. Where a simulation recorded
true positions (`Samples.privileged`), `auxiliary_weight` makes the picture tokens name them through one
matrix; that head is trained and stored beside the policy, never in it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from smolkit.arm.joints import FEATURE_NAMES
from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import save_checkpoint
from smolkit.smolvla.freezing import trainable_count
from smolkit.smolvla.lora import adapters, add_lora
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.presets import Preset
from smolkit.smolvla.pretrained import find_backbone, load_backbone
from smolkit.smolvla.processors import make_processors
from smolkit.smolvla.tokenizer import ASSETS
from smolkit.training.augment import colour_jitter, random_shift, state_noise
from smolkit.training.config import TrainConfig
from smolkit.training.feature_cache import FeatureCache, checksum
from smolkit.training.lean import come_back, let_go, rest, return_freed_memory
from smolkit.training.recompute import recompute
from smolkit.training.sampler import generator
from smolkit.training.samples import Samples
from smolkit.training.shelf import Shelf
from smolkit.training.statistics import Statistics, statistics_of


def fresh_policy(preset: Preset, samples: Samples, seed: int = 0, fps: int = 10) -> SmolVLAPolicy:
    """An untrained policy of the preset, with the statistics of the data that it will learn from.

    Where its configuration says `load_vlm_weights`, its eyes and its language model are the pretrained ones that
    `vlm_model_name` names, a folder or the Hub's, and so is its tokenizer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmolVLA(preset.config, preset.backbone)
    home = find_backbone(preset.config.vlm_model_name) if preset.config.load_vlm_weights else None
    weights = load_backbone(model, home) if home else None
    stats = {name: {"mean": s.mean, "std": s.std} for name, s in feature_statistics(samples).items()}
    processors = make_processors(preset.config, stats, home or ASSETS, tasks=samples.tasks)
    return SmolVLAPolicy(model, processors, fps, weights=weights)


def feature_statistics(samples: Samples) -> dict[str, Statistics]:
    """What normalises states and actions; SK604 where a joint never moved."""
    return {"observation.state": statistics_of(samples.state_deg, FEATURE_NAMES),
            "action": statistics_of(samples.action_deg, FEATURE_NAMES)}


def prepare(model: SmolVLA, config: TrainConfig) -> None:
    """Adapters and recomputing, as the settings say; adapters that are there already go on learning."""
    if config.lora_rank and not adapters(model):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            add_lora(model, config.lora_rank)
    if config.recompute:
        recompute(model)
    rest(model)


def make_cache(model: SmolVLA, config: TrainConfig, folder: Path | None = None) -> FeatureCache | None:
    """The cache that the settings ask for; "auto" keeps image tokens where they never change.

    Errors: SK610 where a cache is asked for and what it would keep changes from step to step.
    """
    reasons = []
    if config.image_shift_px or config.colour_jitter:
        reasons.append("augmentation changes every picture")
    if any(weight.requires_grad for weight in model.vision.parameters()):
        reasons.append("the vision tower or its connector learns")
    if config.cache == "notes" and model.reads_with_gradient:
        reasons.append("the language model learns")
    if config.cache == "notes" and config.auxiliary_weight:
        reasons.append("the auxiliary loss reads image tokens")
    if config.cache in ("tokens", "notes") and reasons:
        raise SmolkitError("SK610", f"what cache={config.cache!r} keeps to stay the same", "; ".join(reasons),
                           "the settings ask to learn or to vary what is to be kept",
                           "set cache to 'auto', or freeze these parts and switch augmentation off")
    if config.cache == "none" or reasons:
        return None
    kind = "notes" if config.cache == "notes" else "tokens"
    return FeatureCache(model, Shelf(1e9 * config.cache_gb, folder), getattr(torch, config.cache_dtype), kind)


def _require_base(policy: SmolVLAPolicy, config: TrainConfig) -> None:
    """Adapters alone are saved, so what they stand on must lie in a file: told now, not at the first save."""
    if (config.lora_rank or adapters(policy.model)) and not policy.weights.base:
        raise SmolkitError("SK518", "a policy that was loaded, for adapters to stand on",
                           "one whose own weights are in no file", "lora_rank > 0 with a new policy",
                           "set lora_rank to 0, or save_checkpoint(FOLDER, policy) and load_checkpoint(FOLDER) first")


class SmolVLALearner:
    """A policy and the samples it learns from, as `smolkit.training.loop.Learner`.

    Where eyes or language model are frozen, what they make of the pictures is kept: in memory, or in `cache_dir`.
    """

    def __init__(self, policy: SmolVLAPolicy, samples: Samples, config: TrainConfig, cache_dir: Path | None = None):
        _require_base(policy, config)
        prepare(policy.model, config)
        self.cache = make_cache(policy.model, config, cache_dir)
        if self.cache:
            return_freed_memory()
        self.policy, self.samples, self.config, self.count = policy, samples, config, samples.count
        self._spent: tuple[str, ...] = ()                  # parts that nobody will ask again
        self._frozen: dict[str, int] = {}                  # checksums
        self._pictures = {f"observation.images.{role}": torch.from_numpy(frames)          # (N, H, W, 3) uint8
                          for role, frames in samples.images.items()}
        ready = policy.processors.before({"observation.state": torch.from_numpy(samples.state_deg).float(),
                                          "action": torch.from_numpy(samples.action_deg).float(),
                                          "task": list(samples.tasks)})
        self._state, self._action = ready["observation.state"], ready["action"]           # (N, 6)
        self._words = ready["observation.language.tokens"]                                # (tasks, L)
        self._word_mask = ready["observation.language.attention_mask"]
        self._task = torch.from_numpy(samples.task).long()                                # (N,)
        chunk, is_pad = samples.chunks(policy.model.config.chunk_size)
        self._chunk, self._is_pad = torch.from_numpy(chunk), torch.from_numpy(is_pad)     # (N, T)
        self._truth, probe = self._make_probe(policy.model)
        parts = {"policy": policy.model, **({"probe": probe} if probe else {})}
        # Convolutions on a CPU are a third faster when the channels of a pixel lie side by side.
        self.module = nn.ModuleDict(parts).to(memory_format=torch.channels_last)

    @property
    def trainable(self) -> int:
        """How many numbers are trained."""
        return trainable_count(self.module)

    @property
    def fingerprint(self) -> str:
        """What a run must keep to be resumed: all poses and tasks, the cameras, the preset, and what is frozen.

        Pictures count by their shapes alone: another version of the video decoder must not end a run.
        """
        samples, model = self.samples, self.policy.model
        self._frozen |= {name: checksum(p) for name, p in self.module.named_parameters()
                         if not p.requires_grad and not p.is_meta}
        about = {"frames": samples.count, "tasks": list(samples.tasks), "preset": repr(model.config),
                 "cameras": {role: frames.shape for role, frames in samples.images.items()},
                 "statistics": {name: (s.mean.tolist(), s.std.tolist())
                                for name, s in feature_statistics(samples).items()},
                 "parameters": {name: (str(p.dtype), tuple(p.shape)) for name, p in self.module.named_parameters()},
                 "frozen": self._frozen}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for column in (samples.state_deg, samples.action_deg, samples.episode, samples.task):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def batch(self, indices: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Augmented observations and the chunks of actions that follow, as `SmolVLA` takes them."""
        config, tasks = self.config, self._task[indices]
        pictures = {}
        for name, frames in self._pictures.items():
            moved = random_shift(frames[indices], config.image_shift_px, rng)             # (B, H, W, 3)
            pictures[name] = colour_jitter(moved.permute(0, 3, 1, 2) / 255, config.colour_jitter, rng)
        return {**pictures,
                "observation.state": state_noise(self._state[indices], config.state_noise, rng),
                "observation.language.tokens": self._words[tasks],
                "observation.language.attention_mask": self._word_mask[tasks],
                "action": self._action[self._chunk[indices]],                             # (B, T, 6)
                "action_is_pad": self._is_pad[indices]}

    def look_ahead(self, steps: int) -> Iterator[str]:
        """Looks at every frame before the first of `steps` steps, if all will be asked for; tells how far it is.

        Once all is kept, eyes (and word vectors) leave the memory: they are gone before AdamW's moments come.
        """
        config = self.config
        if not self.cache or config.max_minutes is not None or steps * config.batch_size < self.count:
            return
        self.cache.wake, _ = partial(come_back, self.policy), self.fingerprint
        for indices in torch.arange(self.count).split(4):
            self.cache.known(self.batch(indices, generator(config.seed, 0)))
            if self.cache.shelf.full:
                return
            yield f"looked at {indices[-1] + 1:,} of {self.count:,} frames"
        self._spent = self.cache.asks

    def losses(self, indices: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """The flow-matching loss and, if asked for, how far off the named positions are (in std)."""
        if self._spent and not let_go(self.policy, self._spent):
            self._spent = ()
        batch = self.batch(indices, rng)
        known = self.cache.known(batch) if self.cache else {}
        out = self.policy.model(batch, draws=self.config.draws, generation=self.config.loss_generation, generator=rng,
                                **known)
        if self._truth is None:
            return {"loss": out["loss"]}
        seen = torch.cat(out["image_tokens"], dim=1)                                      # (B, n, H)
        tokens = seen * math.sqrt(seen.shape[-1])
        auxiliary = (self.module["probe"](tokens.flatten(1)) - self._truth[indices]).square().mean()
        return {"loss": out["loss"] + self.config.auxiliary_weight * auxiliary,
                "flow": out["loss"].detach(), "positions": auxiliary.detach()}

    @property
    def note(self) -> str:
        """What the cache holds; "" without one."""
        return self.cache.text() if self.cache else ""

    def export(self, folder: Path) -> None:
        """Saves the policy; the auxiliary head stays behind."""
        save_checkpoint(folder, self.policy)

    def finish(self) -> None:
        """All weights are in memory again."""
        come_back(self.policy)

    def _make_probe(self, model: SmolVLA) -> tuple[Tensor | None, nn.Linear | None]:
        """Normalised true positions (N, K) and the matrix that reads them off the picture tokens."""
        if self.config.auxiliary_weight == 0:
            return None, None
        truth = self.samples.privileged
        if truth is None:
            raise SmolkitError("SK608", "observation.environment_state in the dataset",
                               "auxiliary_weight > 0 and no such feature",
                               "only simulated demonstrations know true positions",
                               "set auxiliary_weight to 0")
        size_px = model.config.resize_imgs_with_padding or next(iter(self.samples.images.values())).shape[1:3]
        tokens = len(self._pictures) * model.backbone.vision.tokens_per_image(size_px[0])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            probe = nn.Linear(tokens * model.backbone.text.width, truth.shape[1])
        scaled = (truth - truth.mean(0)) / truth.std(0).clip(min=1e-6)
        return torch.from_numpy(scaled).float(), probe

"""SmolVLA: eyes, a language model that takes notes, and an expert that moves while reading them.

    >>> from smolkit.smolvla.fake import tiny_batch, tiny_model
    >>> model, batch = tiny_model(seed=0), tiny_batch(seed=0)
    >>> model.sample_actions(batch, generator=torch.Generator().manual_seed(0)).shape     # (B, T, action_dim)
    torch.Size([2, 10, 6])

The way of one decision:

    pictures ─ eyes ─┐
    words ─ embed ───┼─ prefix ─ language ─► memory (keys, values) ─► expert ─ velocity ─ Euler ─► chunk
    state ─ linear ──┘                                          noise ─────────┘

A batch is a dict of tensors in LeRobot's names, already normalised and tokenised
(`smolkit.smolvla.processors`): pictures `observation.images.*` (B, 3, H, W) in [0, 1], `observation.state`
(B, s), `observation.language.tokens` and `.attention_mask` (B, L), and for training `action` (B, T, a) and
`action_is_pad` (B, T).
Source: SmolVLA (arXiv 2506.01844) and LeRobot's implementation of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smolkit.report import SmolkitError
from smolkit.smolvla import aloha
from smolkit.smolvla.backbone import Backbone, check_special_ids
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.expert import ActionExpert, Context, vlm_depth
from smolkit.smolvla.flow import euler, interpolate, reduce_loss, sample_time
from smolkit.smolvla.freezing import freeze
from smolkit.smolvla.images import prepare_image
from smolkit.smolvla.language import LanguageModel, Memory, lookup
from smolkit.smolvla.rtc import RealTimeChunking, guide
from smolkit.smolvla.vision import build_vision

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Prefix:
    """Everything the policy was told, as one row of P tokens."""

    tokens: Tensor                 # (B, P, H)
    pad: Tensor                    # (B, P) True = real
    block: Tensor                  # (B, P) True = a new stage begins (only the state)
    image_tokens: tuple[Tensor, ...]     # per picture (B, n, H), before the factor sqrt(H)


class SmolVLA(nn.Module):
    """The policy's network at every size: the classroom's few million parameters or 450 million."""

    def __init__(self, config: SmolVLAConfig, backbone: Backbone):
        super().__init__()
        self.config, self.backbone = config, backbone
        text = backbone.text
        if config.add_image_special_tokens:
            check_special_ids(backbone)
        self.vision = build_vision(backbone.vision, text.width, len(config.cameras))
        self.language = LanguageModel(text, vlm_depth(config, text.layers), backbone.lm_head)
        self.state_proj = nn.Linear(config.max_state_dim, text.width)
        self.expert = ActionExpert(config, text)
        freeze(self)

    # --- the prefix: what is seen, what is asked, how the arm stands ----------------------------------

    def images(self, batch: Batch) -> list[tuple[int, Tensor, Tensor]]:
        """(camera index, picture (B, 3, H, W) in [-1, 1], mask (B,)) for each picture, absent ones last."""
        names = self.config.cameras
        present = [name for name in names if name in batch]
        if not present:
            raise SmolkitError("SK505", f"at least one of {', '.join(names)}", ", ".join(sorted(batch)),
                               "the cameras have other names than at training time", "give a rename map")
        seen = [(names.index(name), self._prepare(batch[name]), _image_mask(batch, name)) for name in present]
        absent = min(len(names) - len(present), self.config.empty_cameras)
        black, mask = torch.full_like(seen[-1][1], -1.0), torch.zeros_like(seen[-1][2])
        return seen + [(0, black, mask)] * absent

    def _prepare(self, image: Tensor) -> Tensor:
        return prepare_image(image, self.config.resize_imgs_with_padding)

    def encode(self, batch: Batch) -> Prefix:
        """Pictures, words and state as one row of tokens, in this order."""
        pictures = [(self.vision(image, camera), mask) for camera, image, mask in self.images(batch)]
        parts = [part for tokens, mask in pictures for part in self._picture_parts(tokens, mask)]
        words = self.language.words(batch["observation.language.tokens"])                        # (B, L, H)
        parts.append((words, batch["observation.language.attention_mask"].bool()))
        state = self._state_token(batch["observation.state"])                                    # (B, 1, H)
        parts.append((state, torch.ones_like(parts[0][1][:, :1])))
        tokens, pad = torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts], 1)
        block = torch.zeros_like(pad)
        block[:, -1] = True                                        # the state begins a new stage
        return self._lengthen(Prefix(tokens, pad, block, tuple(tokens for tokens, _ in pictures)))

    def _picture_parts(self, tokens: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """One picture's tokens and their mask, between special tokens if the configuration says so."""
        scaled = tokens * torch.tensor(math.sqrt(tokens.shape[-1]), dtype=tokens.dtype)          # (B, 64, H)
        picture = (scaled, mask[:, None].expand(-1, tokens.shape[1]))
        if not self.config.add_image_special_tokens:
            return [picture]
        fake, whole = self.backbone.fake_image_id, self.backbone.global_image_id
        return [self._special([fake, whole], mask), picture, self._special([fake], mask)]

    def _special(self, ids: list[int], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Special tokens are neither scaled nor masked, even around a masked picture."""
        visible = torch.ones_like(mask)[:, None].expand(-1, len(ids))
        return lookup(self.language.embed, ids, len(mask)), visible

    def _state_token(self, state: Tensor) -> Tensor:
        newest = state[:, -1] if state.ndim == 3 else state                                      # (B, s)
        newest = aloha.state_in(newest) if self.config.adapt_to_pi_aloha else newest
        wide = _widen(newest, self.config.max_state_dim).to(self.state_proj.weight.dtype)        # (B, 32)
        return self.state_proj(wide)[:, None]

    def _lengthen(self, prefix: Prefix) -> Prefix:
        """Padding tokens at the end, up to `prefix_length`, where the configuration asks for them."""
        missing = max(0, self.config.prefix_length - prefix.pad.shape[1])
        return Prefix(F.pad(prefix.tokens, (0, 0, 0, missing)), F.pad(prefix.pad, (0, missing)),
                      F.pad(prefix.block, (0, missing)), prefix.image_tokens)

    def remember(self, prefix: Prefix) -> Memory:
        """The language model reads the prefix once."""
        return self.language(prefix.tokens, prefix.pad, prefix.block)

    # --- training: learn the direction from actions to noise ------------------------------------------

    def forward(self, batch: Batch, noise: Tensor | None = None, time: Tensor | None = None, draws: int = 1,
                generation: str = "main", generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The loss of one batch, as tensors (reading a number from a GPU would make it wait).

        `draws` moments and noises are drawn for each sample on the same prefix, which is the dear part.
        Returns `loss` (), `loss_per_element` (draws * B, T, A) and `image_tokens` (B, of all pictures, H).
        """
        prefix = self.encode(batch)
        memory = self.remember(prefix).repeat(draws)
        targets = aloha.actions_in(batch["action"]) if self.config.adapt_to_pi_aloha else batch["action"]
        actions = _widen(targets, self.config.max_action_dim).repeat(draws, 1, 1)                # (B, T, A)
        is_pad = batch["action_is_pad"].repeat(draws, 1) if "action_is_pad" in batch else None   # (B, T)
        per_element = self.flow_loss(memory, actions, noise, time, generator)
        loss = reduce_loss(per_element, is_pad, self.config.action_dim, generation)
        return {"loss": loss, "loss_per_element": per_element,
                "image_tokens": torch.cat(prefix.image_tokens, 1)}

    def flow_loss(self, memory: Memory, actions: Tensor, noise: Tensor | None = None,
                  time: Tensor | None = None,
                  generator: torch.Generator | None = None) -> Tensor:
        """Squared errors of the velocity (B, T, A), at one point of each sample's line to noise."""
        noise = _noise(actions, generator) if noise is None else noise
        time = sample_time(len(actions), generator, actions.device) if time is None else time
        x_t, velocity = interpolate(actions, noise, time)
        predicted = self.expert(x_t, time, self.expert.read(memory, actions.shape[1]))
        return (predicted - velocity).square()

    # --- acting: walk from noise to actions -----------------------------------------------------------

    @torch.no_grad()
    def sample_actions(self, batch: Batch, noise: Tensor | None = None, num_steps: int | None = None,
                       generator: torch.Generator | None = None,
                       rtc: RealTimeChunking | None = None) -> Tensor:
        """Normalised actions (B, T, action_dim). `generator` seeds the noise; `rtc` continues a chunk."""
        memory = self.remember(self.encode(batch))
        shape = (len(memory.pad), self.config.chunk_size, self.config.max_action_dim)
        noise = _noise(memory.pad.new_empty(shape).float(), generator) if noise is None else noise
        actions = self.denoise(memory, noise, num_steps, rtc)[:, :, :self.config.action_dim]
        return aloha.actions_out(actions) if self.config.adapt_to_pi_aloha else actions

    def denoise(self, memory: Memory, noise: Tensor, num_steps: int | None = None,
                rtc: RealTimeChunking | None = None) -> Tensor:
        """Noise (B, T, A) -> actions (B, T, A), padded numbers included."""
        context = self.expert.read(memory, noise.shape[1])

        def velocity(x: Tensor, t: float) -> Tensor:
            return guide(self._velocity(x, t, context), x, t, rtc)

        return euler(noise, num_steps or self.config.num_steps, velocity)

    def _velocity(self, x: Tensor, t: float, context: Context) -> Tensor:
        return self.expert(x, torch.full((len(x),), t, device=x.device), context)


def _image_mask(batch: Batch, name: str) -> Tensor:
    """(B,) which samples truly have this picture; all of them, unless the batch says otherwise."""
    given = batch.get(f"{name}_padding_mask")
    everyone = torch.ones(len(batch[name]), dtype=torch.bool, device=batch[name].device)
    return everyone if given is None else given.bool()


def _widen(x: Tensor, width: int) -> Tensor:
    """Zeros on the right, up to the width that every robot shares."""
    return F.pad(x, (0, width - x.shape[-1]))


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)

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
from collections.abc import Callable

import torch
from torch import Tensor, nn

from smolkit.report import SmolkitError
from smolkit.smolvla import aloha
from smolkit.smolvla.attention import Linear
from smolkit.smolvla.backbone import Backbone, check_special_ids
from smolkit.smolvla.config import SmolVLAConfig
from smolkit.smolvla.expert import ActionExpert, vlm_depth
from smolkit.smolvla.flow import euler, interpolate, reduce_loss, sample_time
from smolkit.smolvla.freezing import freeze
from smolkit.smolvla.images import prepare_image
from smolkit.smolvla.language import LanguageModel, Memory, lookup
from smolkit.smolvla.prefix import Picture, Prefix, Seen, joined, picture_mask, stretch, widen
from smolkit.smolvla.rtc import RealTimeChunking, guided
from smolkit.smolvla.vision import build_vision

Batch = dict[str, Tensor]
Eyes = Callable[[list[Picture]], list[Tensor]]     # each camera's pictures -> their tokens (B, n, H)


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
        self.state_proj = Linear(config.max_state_dim, text.width)
        self.expert = ActionExpert(config, text)
        self.trims = True              # acting: leave out what is padding; a captured graph wants one length instead
        freeze(self)

    # --- the prefix: what is seen, what is asked, how the arm stands ----------------------------------

    def pictures(self, batch: Batch) -> list[Picture]:
        """Every camera's pictures, ready for the eyes; absent ones come last, black and masked."""
        names = self.config.cameras
        present = [name for name in names if name in batch]
        if not present:
            raise SmolkitError("SK505", f"at least one of {', '.join(names)}", ", ".join(sorted(batch)),
                               "the cameras have other names than at training time", "give a rename map")
        size = self.config.resize_imgs_with_padding
        seen = [Picture(names.index(name), prepare_image(batch[name], size), picture_mask(batch, name))
                for name in present]
        absent = min(len(names) - len(present), self.config.empty_cameras)
        black, nobody = torch.full_like(seen[-1].image, -1.0), torch.zeros_like(seen[-1].mask)
        return seen + [Picture(0, black, nobody)] * absent

    def look(self, batch: Batch, trim: bool = True, see: Eyes | None = None) -> list[Seen]:
        """What the eyes make of every picture; with `trim`, no tokens of one that no sample has.

        `see` looks in place of the eyes, for example one that remembers what they saw before.
        """
        pictures = self.pictures(batch)
        known = [not trim or bool(picture.mask.any()) for picture in pictures]
        tokens = iter((see or self._see)([picture for picture, real in zip(pictures, known, strict=True) if real]))
        nothing = self.language.embed.weight.new_zeros(len(pictures[0].mask), 0, self.backbone.text.width)
        return [Seen(next(tokens) if real else nothing, picture.mask)
                for picture, real in zip(pictures, known, strict=True)]

    def _see(self, pictures: list[Picture]) -> list[Tensor]:
        """Each picture's tokens (B, n, H). A GPU looks at all cameras at once; on a CPU that gains nothing."""
        if not pictures or not pictures[0].image.is_cuda or not self.vision.shared:
            return [self.vision(picture.image, picture.camera) for picture in pictures]
        return list(self.vision(torch.cat([picture.image for picture in pictures])).chunk(len(pictures)))

    def encode(self, batch: Batch, trim: bool = True) -> Prefix:
        """Pictures, words and state as one row of tokens, in this order.

        `trim` leaves out what is padding in every sample: nobody sees it, so no action changes.
        """
        scene = self.scene(batch, self.look(batch, trim))
        if trim:
            return joined([scene.trimmed(), self.state(batch)])
        return joined([scene, self.state(batch)]).lengthened(self.config.prefix_length)

    def scene(self, batch: Batch, seen: list[Seen]) -> Prefix:
        """What is seen and what is asked: all that depends on neither the arm's state nor its actions."""
        parts = [part for one in seen for part in self._picture_parts(one.tokens, one.mask)]
        words = self.language.words(batch["observation.language.tokens"])                        # (B, L, H)
        return joined([*parts, stretch(words, batch["observation.language.attention_mask"].bool())])

    def _picture_parts(self, tokens: Tensor, mask: Tensor) -> list[Prefix]:
        """One picture's tokens and their mask, between special tokens if the configuration says so."""
        scaled = tokens * torch.tensor(math.sqrt(tokens.shape[-1]), dtype=tokens.dtype)          # (B, 64, H)
        picture = stretch(scaled, mask)
        if not self.config.add_image_special_tokens:
            return [picture]
        fake, whole = self.backbone.fake_image_id, self.backbone.global_image_id
        return [self._special([fake, whole], mask), picture, self._special([fake], mask)]

    def _special(self, ids: list[int], mask: Tensor) -> Prefix:
        """Special tokens are neither scaled nor masked, even around a masked picture."""
        return stretch(lookup(self.language.embed, ids, len(mask)), torch.ones_like(mask))

    def state(self, batch: Batch) -> Prefix:
        """How the arm stands, as one token that begins a new stage: it sees the scene, the scene never sees it."""
        state = batch["observation.state"]
        newest = state[:, -1] if state.ndim == 3 else state                                      # (B, s)
        newest = aloha.state_in(newest) if self.config.adapt_to_pi_aloha else newest
        wide = widen(newest, self.config.max_state_dim)                                          # (B, 32)
        token = self.state_proj(wide)[:, None]                                                   # (B, 1, H)
        return stretch(token, token.new_ones(len(token), dtype=torch.bool), begins_stage=True)

    def remember(self, prefix: Prefix) -> Memory:
        """The language model reads the prefix once."""
        return self.language(prefix)

    # --- training: learn the direction from actions to noise ------------------------------------------

    def forward(self, batch: Batch, noise: Tensor | None = None, time: Tensor | None = None, draws: int = 1,
                generation: str = "main", generator: torch.Generator | None = None,
                seen: list[Seen] | None = None, scene: Memory | None = None) -> dict[str, Tensor]:
        """The loss of one batch, as tensors (reading a number from a GPU would make it wait).

        `draws` moments and noises are drawn for each sample on the same prefix, which is the dear part. `seen`
        and `scene` are what `look` and `read_scene` answered before, where the parts that answer are frozen.
        Returns `loss` (), `loss_per_element` (draws * B, T, A) and `image_tokens` (B, of all pictures, H).
        """
        seen = self.look(batch) if seen is None and scene is None else seen or []
        memory = self._notes(batch, seen, scene).repeat(draws)
        targets = aloha.actions_in(batch["action"]) if self.config.adapt_to_pi_aloha else batch["action"]
        actions = widen(targets, self.config.max_action_dim).repeat(draws, 1, 1)                 # (B, T, A)
        is_pad = batch["action_is_pad"].repeat(draws, 1) if "action_is_pad" in batch else None   # (B, T)
        per_element = self.flow_loss(memory, actions, noise, time, generator)
        loss = reduce_loss(per_element, is_pad, self.config.action_dim, generation)
        return {"loss": loss, "loss_per_element": per_element, "image_tokens": [one.tokens for one in seen]}

    def _notes(self, batch: Batch, seen: list[Seen], scene: Memory | None) -> Memory:
        """The notes to learn from. Of a frozen language model only the state's row runs with gradient."""
        if scene is None and self.reads_with_gradient:
            return self.language(joined([self.scene(batch, seen).trimmed(), self.state(batch)]))
        return self.language(self.state(batch), self.read_scene(batch, seen) if scene is None else scene)

    @torch.no_grad()
    def read_scene(self, batch: Batch, seen: list[Seen]) -> Memory:
        """The notes on pictures and words: while eyes and language are frozen, the same in every epoch."""
        return self.language(self.scene(batch, seen).trimmed())

    @property
    def reads_with_gradient(self) -> bool:
        """Does any weight learn that pictures and words run through?"""
        return any(p.requires_grad for part in (self.vision, self.language) for p in part.parameters())

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
        memory = self.remember(self.encode(batch, self.trims))
        shape = (len(memory.pad), self.config.chunk_size, self.config.max_action_dim)
        noise = _noise(memory.pad.new_empty(shape).float(), generator) if noise is None else noise
        actions = self.denoise(memory, noise, num_steps, rtc)[:, :, :self.config.action_dim]
        return aloha.actions_out(actions) if self.config.adapt_to_pi_aloha else actions

    def denoise(self, memory: Memory, noise: Tensor, num_steps: int | None = None,
                rtc: RealTimeChunking | None = None) -> Tensor:
        """Noise (B, T, A) -> actions (B, T, A), padded numbers included."""
        context = self.expert.read(memory, noise.shape[1])

        def velocity(x: Tensor, t: float) -> Tensor:
            return self.expert(x, torch.full((len(x),), t, device=x.device), context)

        return euler(noise, num_steps or self.config.num_steps, guided(velocity, rtc) if rtc else velocity)


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)

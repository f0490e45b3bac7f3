"""What frozen eyes saw and a frozen language model noted, kept: it is the same in every epoch.

    >>> from smolkit.smolvla.fake import tiny_batch, tiny_model
    >>> model, batch = tiny_model(), tiny_batch()
    >>> cache = FeatureCache(model, Shelf(limit_bytes=1e6), torch.float32)
    >>> seen = model.look(batch, see=cache.see)                  # the first time the eyes look ...
    >>> again = model.look(batch, see=cache.see)                 # ... the second time nobody does
    >>> torch.equal(seen[0].tokens, again[0].tokens), cache.text()
    (True, 'cached 4 pictures, 3.072 kB')

Images and words never see the arm's state or its actions, so nothing that learns by default changes what is made of
them. The key of an entry is a digest of all that it was computed from: every weight on the way, the very numbers that
go into the eyes (so pixels, scaling, padding and augmentation), the instruction's ids, the precision (autocast too),
and the version of this file. Whatever changes, the key changes, and the old entry is never found.

Measured, 450M, two pictures of 480x640 a frame, one core (`benchmarks.training`). In bfloat16 a frame's image tokens
take 0.25 MB, 3.7 s to make and 0.03 s to look up; its notes (12 words) 2.9 MB, 4.2 s and 0.05 s. So 50 demonstrations
of 200 frames take 2.5 GB or 29 GB, and ten hours of that core before the second epoch is fast (reckoned). A step of
four frames takes 0.16 and 0.10 of LeRobot's time with float32 entries in memory; gradients differ from LeRobot's by
2e-6 of each weight's largest with float32 entries, by 0.3 % with bfloat16. A run with notes in a folder or few frames
takes 2.5 GB at most, saving included, 0.58 of what LeRobot takes without saving (`lean`); with image tokens 0.62.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from smolkit.report import SmolkitError
from smolkit.smolvla.language import Memory
from smolkit.smolvla.model import Batch, SmolVLA
from smolkit.smolvla.prefix import Picture, Seen
from smolkit.training.shelf import Shelf

VERSION = 1        # to be raised when the eyes' or the language model's mathematics, or an entry's layout, changes
WORDS = ("observation.language.tokens", "observation.language.attention_mask")


class FeatureCache:
    """Image tokens of single pictures (kind "tokens"), or the notes on whole scenes ("notes"), by content."""

    def __init__(self, model: SmolVLA, shelf: Shelf, dtype: torch.dtype = torch.bfloat16, kind: str = "tokens"):
        self.model, self.shelf, self.dtype, self.kind = model, shelf, dtype, kind
        self.wake: Callable[[], None] = lambda: None       # called before eyes or language model are needed
        special = (model.config.add_image_special_tokens, model.backbone)
        self._eyes = Fingerprint([model.vision], f"eyes {VERSION} {dtype}")
        self._reader = Fingerprint([model.vision, model.language.embed, model.language.layers],
                                   f"reader {VERSION} {dtype} {special}")

    @property
    def asks(self) -> tuple[str, ...]:
        """The parts of the policy that nothing else asks in training."""
        return ("vision.", "language.embed.") if self.kind == "notes" else ("vision.",)

    def known(self, batch: Batch) -> dict[str, list[Seen] | Memory]:
        """What frozen parts make of a batch, in `SmolVLA.forward`'s words."""
        if self.kind == "notes":
            return {"scene": self.read_scene(batch)}
        return {"seen": self.model.look(batch, see=self.see)}

    def see(self, pictures: list[Picture]) -> list[Tensor]:
        """Each camera's tokens (B, n, H), as `SmolVLA.look` asks for them."""
        eyes = self._eyes()
        return [torch.stack([self._tokens(eyes, picture.camera, image) for image in picture.image])
                for picture in pictures]

    def _tokens(self, eyes: str, camera: int, image: Tensor) -> Tensor:
        """(3, height, width) -> (n, H). One picture at a time: then no number depends on its neighbours."""
        key = digest(eyes, "shared" if self.model.vision.shared else camera, image)
        return self._kept(key, next(self.model.vision.parameters()),
                          lambda: self.model.vision(image[None], camera)[0])

    def read_scene(self, batch: Batch) -> Memory:
        """The notes on every sample's pictures and words, as `SmolVLA.forward` takes them for `scene`."""
        reader, pictures = self._reader(), self.model.pictures(batch)
        return _side_by_side([self._notes(reader, batch, pictures, row) for row in range(len(batch[WORDS[0]]))])

    def _notes(self, reader: str, batch: Batch, pictures: list[Picture], row: int) -> Tensor:
        """One sample's keys and values (2, layers, P, g, d), of its P real tokens."""
        seen = [part for picture in pictures for part in (picture.camera, picture.mask[row], picture.image[row])]
        key = digest(reader, *(batch[name][row] for name in WORDS), *seen)

        def read() -> Tensor:
            alone = {name: value[row:row + 1] for name, value in batch.items()}
            notes = self.model.read_scene(alone, self.model.look(alone))
            return torch.stack([torch.cat(notes.keys), torch.cat(notes.values)])

        return self._kept(key, self.model.language.embed.weight, read)

    @torch.no_grad()
    def _kept(self, key: str, like: Tensor, make: Callable[[], Tensor]) -> Tensor:
        """The entry, made if need be. It is rounded before it is first used: every epoch learns from the same."""
        found = self.shelf.get(key)
        if found is None:
            self.wake()
            found = make().to(self.dtype)
            self.shelf.put(key, found)
        return found.to(self.model.state_proj.weight.device, like.dtype)

    def text(self) -> str:
        """What is kept, in a few words."""
        things = {"tokens": "pictures", "notes": "scenes"}[self.kind]
        return f"cached {self.shelf.count:,} {things}, {_size(self.shelf.bytes)}"


class Fingerprint:
    """A digest of parts of a network: of every weight, every module's own settings, and the precision of now.

    Digesting a gigabyte takes 0.7 s, so each call first looks for a change: torch counts those made by its own
    operations, and a checksum shows those made behind its back (`.data`, numpy). A weight that left the memory
    (`lean`) is what it last was.
    Errors: SK610 where a weight has begun to learn: what is kept carries no gradient to it.
    """

    def __init__(self, modules: Sequence[nn.Module], settings: str):
        self._modules, self._settings = modules, settings
        self._known: dict[tuple[int, str], tuple[object, str]] = {}          # what each weight was at the last call

    def __call__(self) -> str:
        self._refuse_to_learn()
        settings = [_settings(part) for module in self._modules for part in module.modules()]
        for number, module in enumerate(self._modules):
            for name, weight in module.state_dict().items():
                if not weight.is_meta:
                    self._look_at((number, name), weight)
        return digest(self._settings, settings, *(found for _, found in self._known.values()), _precision())

    def _look_at(self, key: tuple[int, str], weight: Tensor) -> None:
        stamp = weight.data_ptr(), weight._version, checksum(weight)
        if key not in self._known or self._known[key][0] != stamp:
            self._known[key] = stamp, digest(weight.device, weight)

    def _refuse_to_learn(self) -> None:
        learning = [name for module in self._modules for name, weight in module.named_parameters()
                    if weight.requires_grad]
        if learning and torch.is_grad_enabled():
            raise SmolkitError("SK610", "what a cache keeps to stay frozen", f"{len(learning)} weights that learn, "
                               f"e.g. {learning[0]}", "they were unfrozen after the cache was made",
                               "freeze them again, or make a new learner with cache='none'")


def _precision() -> str:
    """What torch computes in at this moment, besides what the weights are stored in."""
    casts = [torch.get_autocast_dtype(device) for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    return f"{casts} {torch.get_float32_matmul_precision()}"


def _settings(part: nn.Module) -> tuple[str, dict[str, object]]:
    """A module's own plain values: the eps of a norm, the heads of an attention, the scale of an adapter."""
    plain = {name: value for name, value in vars(part).items() if isinstance(value, (int, float, str, tuple))}
    return type(part).__name__, {name: value for name, value in plain.items() if name != "training"}


def digest(*parts: object) -> str:
    """One digest of texts, numbers and tensors in a row.

        >>> digest("a", torch.zeros(2)) == digest("a", torch.zeros(1, 2))
        False
    """
    whole = hashlib.sha256()
    for part in parts:
        about = f"{part.dtype} {tuple(part.shape)}" if isinstance(part, Tensor) else f"{len(str(part))} {part}"
        whole.update(f"{type(part).__name__} {about};".encode())
        if isinstance(part, Tensor):
            whole.update(_bytes(part))
    return whole.hexdigest()


def checksum(tensor: Tensor) -> int:
    """CRC-32 of a tensor's bytes, 0.27 s a GB on one core.

        >>> checksum(torch.tensor([1.0, 2.0])) == checksum(torch.tensor([-1.0, -2.0]))
        False
    """
    return zlib.crc32(_bytes(tensor))


def _bytes(tensor: Tensor) -> memoryview:
    """No copy, where the tensor lies in one piece on the processor's side."""
    return memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())


def _side_by_side(notes: list[Tensor]) -> Memory:
    """Notes (2, layers, P, g, d) of single samples as those of a batch; shorter ones get padding at the end."""
    _, layers, _, heads, size = notes[0].shape
    lengths = torch.tensor([one.shape[2] for one in notes], device=notes[0].device)
    keys, values = (notes[0].new_zeros(layers, len(notes), int(lengths.max()), heads, size) for _ in range(2))
    for row, one in enumerate(notes):
        keys[:, row, :one.shape[2]], values[:, row, :one.shape[2]] = one
    pad = torch.arange(keys.shape[2], device=lengths.device) < lengths[:, None]              # (B, P)
    return Memory(keys.unbind(), values.unbind(), pad, torch.zeros_like(pad))


def _size(count: float) -> str:
    """Bytes as a person says them.

        >>> _size(123_456), _size(1.5e9)
        ('123.5 kB', '1.5 GB')
    """
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} GB"

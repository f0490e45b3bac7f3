"""Less memory while eyes and language model are frozen, and not a bit of any number changes.

    >>> import tempfile
    >>> from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
    >>> from smolkit.smolvla.fake import tiny_policy
    >>> policy = load_checkpoint(save_checkpoint(tempfile.mkdtemp(), tiny_policy()))
    >>> let_go(policy, ("vision.",)), policy.model.vision.connector.weight.device
    (True, device(type='meta'))
    >>> come_back(policy)                                        # out of the file that the policy came from
    >>> policy.model.vision.connector.weight.device
    device(type='cpu')

Matrices that never learn rest in bfloat16, which holds the published policy's exactly, and are made float32 one by
one for the moment of their use. What nobody will ask again, once all that it has to say is kept (`feature_cache`),
leaves the memory; a saved policy has it nevertheless, out of the file.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

import torch
from torch import nn

from smolkit.report import SmolkitError
from smolkit.smolvla.attention import Linear
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.speed import WideEmbedding, WideLinear
from smolkit.smolvla.weights import changed, pour

M_MMAP_THRESHOLD, LARGE_BYTES = -3, 1_000_000
RESTING: dict[type[nn.Module], type[nn.Module]] = {Linear: WideLinear, nn.Embedding: WideEmbedding}


def rest(model: SmolVLA) -> None:
    """Lets the frozen float32 matrices of eyes and language model rest in bfloat16, those which lose nothing by it."""
    for module in (*model.vision.modules(), model.language.embed, *model.language.layers.modules()):
        if type(module) in RESTING and not module.weight.requires_grad and module.weight.dtype == torch.float32:
            half = module.weight.detach().bfloat16()
            if torch.equal(half.float(), module.weight):
                module.__class__ = RESTING[type(module)]
                module.weight.data = half


def let_go(policy: SmolVLAPolicy, parts: tuple[str, ...]) -> bool:
    """Frees the memory of these parts' weights; False, and nothing happens, where no file has them as they are."""
    for part in parts:                                           # one by one: comparing takes memory, too
        names = [name for name, weight in policy.model.state_dict().items()
                 if name.startswith(part) and not weight.is_meta]
        try:
            if names and changed(policy.model, policy.weights.file(), names):
                come_back(policy)
                return False
        except SmolkitError:
            return False
        policy.model.get_submodule(part.rstrip(".")).to("meta")
    return True


def come_back(policy: SmolVLAPolicy) -> None:
    """The inverse. Errors: SK515 where the file is gone, or another now."""
    own = policy.model.state_dict()
    gone = [name for name, weight in own.items() if weight.is_meta]
    if not gone:
        return
    file, device = policy.weights.file(), policy.model.state_proj.weight.device
    for dtype in {own[name].dtype for name in gone}:
        pour(policy.model, file, [name for name in gone if own[name].dtype == dtype], dtype, device)


def return_freed_memory() -> None:
    """From now on large tensors go back to the system when they are freed, where the C library is glibc.

    It would keep what is below 32 MB, and cannot use most of it again: torch asks for aligned memory, for which a hole
    must be larger than what was freed there. That costs fine-tuning 400 MB; returning it, 0.2 s a step.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)

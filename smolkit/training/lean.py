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
leaves the memory until the policy is saved.
"""

from __future__ import annotations

import torch

from smolkit.report import SmolkitError
from smolkit.smolvla.attention import Linear
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.speed import WideLinear
from smolkit.smolvla.weights import WeightsFile, changed, pour, stamp


def rest(model: SmolVLA) -> None:
    """Lets the language model's frozen float32 matrices rest in bfloat16, those which lose nothing by it."""
    for module in model.language.layers.modules():
        if type(module) is Linear and not module.weight.requires_grad and module.weight.dtype == torch.float32:
            half = module.weight.detach().bfloat16()
            if torch.equal(half.float(), module.weight):
                module.__class__ = WideLinear
                module.weight.data = half


def let_go(policy: SmolVLAPolicy, parts: tuple[str, ...]) -> bool:
    """Frees the memory of these parts' weights; False, and nothing happens, where no file has them as they are."""
    names = [name for name, weight in policy.model.state_dict().items()
             if name.startswith(parts) and not weight.is_meta]
    if not names:
        return True
    if not _source_is_there(policy) or changed(policy.model, WeightsFile(policy.weights.source), names):
        return False
    for part in parts:
        policy.model.get_submodule(part.rstrip(".")).to("meta")
    return True


def come_back(policy: SmolVLAPolicy) -> None:
    """The inverse. Errors: SK611 where the file is gone, or another now."""
    own = policy.model.state_dict()
    gone = [name for name, weight in own.items() if weight.is_meta]
    if not gone:
        return
    if not _source_is_there(policy):
        raise SmolkitError("SK611", f"{policy.weights.source}, from which frozen weights are fetched to be saved",
                           "no such file, or one that was written since", "the base was moved or saved anew while "
                           "the run went on", "put it back and start the same command again: it resumes")
    file, device = WeightsFile(policy.weights.source), policy.model.state_proj.weight.device
    for dtype in {own[name].dtype for name in gone}:
        pour(policy.model, file, [name for name in gone if own[name].dtype == dtype], dtype, device)


def _source_is_there(policy: SmolVLAPolicy) -> bool:
    source = policy.weights.source
    return source is not None and source.is_file() and stamp(source) == policy.weights.stamp

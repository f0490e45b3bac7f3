"""Our names for weights and LeRobot's, and the statistics that old checkpoints keep among the weights.

    >>> theirs("language.layers.3.mlp.up_proj.weight")
    'model.vlm_with_expert.vlm.model.text_model.layers.3.mlp.up_proj.weight'
    >>> ours("model._orig_mod.action_out_proj.bias")                     # saved from a compiled model
    'expert.action_out.bias'
    >>> ours("model.text_model.layers.3.mlp.up_proj.weight")             # SmolVLM2 alone, as transformers saves it
    'language.layers.3.mlp.up_proj.weight'
"""

from __future__ import annotations

import re

from torch import Tensor

_VLM = "model.vlm_with_expert.vlm.model."
_EXPERT = "model.vlm_with_expert.lm_expert."
PREFIXES = {                                   # our prefix -> LeRobot's
    "vision.patch_embedding.": _VLM + "vision_model.embeddings.patch_embedding.",
    "vision.position_embedding.": _VLM + "vision_model.embeddings.position_embedding.",
    "vision.layers.": _VLM + "vision_model.encoder.layers.",
    "vision.norm.": _VLM + "vision_model.post_layernorm.",
    "vision.connector.": _VLM + "connector.modality_projection.proj.",
    "vision.stems.": _VLM + "keypoint_model.stems.",  # ours alone: LeRobot has no such eyes
    "language.embed.": _VLM + "text_model.embed_tokens.",
    "language.layers.": _VLM + "text_model.layers.",
    "language.norm.": _VLM + "text_model.norm.",
    "language.head.": "model.vlm_with_expert.vlm.lm_head.",
    "expert.layers.": _EXPERT + "layers.",
    "expert.norm.": _EXPERT + "norm.",
    "expert.action_in.": "model.action_in_proj.",
    "expert.action_out.": "model.action_out_proj.",
    "expert.action_time_in.": "model.action_time_mlp_in.",
    "expert.action_time_out.": "model.action_time_mlp_out.",
    "state_proj.": "model.state_proj.",
}
_BACK = {there: here for here, there in PREFIXES.items()}

# The backbone alone: transformers' names for it, with the prefixes it has had over the years.
_ALONE = re.compile(r"^(?:model\.)?(?=(?:vision_model|connector|text_model)\.)")

# normalize_inputs.buffer_observation_state.mean, or with a tag: normalize_inputs.so100-blue_buffer_...
_OLD_STATISTIC = re.compile(r"^(?:normalize_inputs|normalize_targets|unnormalize_outputs)\."
                            r"(?:so\d+[\w-]*?_)?buffer_(?P<feature>.+)\.(?P<statistic>\w+)$")
_OLD_FEATURES = {"observation_state": "observation.state", "action": "action"}


def theirs(name: str) -> str:
    """Our name of a weight -> LeRobot's."""
    return _swap_prefix(name, PREFIXES)


def ours(name: str) -> str:
    """LeRobot's or transformers' name of a weight -> ours; a name that is no weight of SmolVLA stays as it is."""
    plain = _ALONE.sub(_VLM, name.replace("_orig_mod.", "")).replace(".text_model.model.", ".text_model.")
    return "language.head.weight" if plain == "lm_head.weight" else _swap_prefix(plain, _BACK)


def split_statistics(raw: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Weights, and statistics feature -> name -> tensor; of several data sets' the first counts."""
    weights, statistics = {}, {}
    for name, value in raw.items():
        found = _OLD_STATISTIC.match(name.replace("_orig_mod.", "").removeprefix("model."))
        if found is None:
            weights[name] = value
            continue
        feature = _OLD_FEATURES.get(found["feature"], found["feature"])
        statistics.setdefault(feature, {}).setdefault(found["statistic"], value)
    return weights, statistics


def _swap_prefix(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        if name.startswith(old):
            return new + name[len(old):]
    return name

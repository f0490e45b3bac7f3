"""A new policy on a pretrained backbone: the eyes and the language model of a SmolVLM2 checkpoint, nothing else.

    found = load_backbone(model, find_backbone("HuggingFaceTB/SmolVLM2-500M-Video-Instruct"))
    found.random                                                         # ('expert',): the part that will learn

The folder is one that transformers wrote: `model.safetensors`, or several files and their index. Text layers that the
policy does not keep are skipped, and the word predictor is where the policy has none.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from smolkit.report import SmolkitError
from smolkit.smolvla import hub
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.weights import HEAD, PARTS, LoadedWeights, WeightsFile, pour

INDEX = "model.safetensors.index.json"
_LAYER = re.compile(r"language\.layers\.(\d+)\.")


def find_backbone(name: str | Path) -> Path:
    """A folder with a SmolVLM2's weights, config and tokenizer: one that is here, or the Hub's of that name."""
    here = Path(name)
    if (here / INDEX).exists() or (here / "model.safetensors").exists():
        return here
    return hub.download(str(name), (*hub.BACKBONE, "model*.safetensors", INDEX),
                        instead="give the path of a folder that has the backbone's weights and its tokenizer")


def load_backbone(model: SmolVLA, folder: str | Path, dtype: torch.dtype | None = torch.float32) -> LoadedWeights:
    """Fills a policy's backbone in place and tells what it found; what is missing in the folder is an error.

    The names may be those of the whole SmolVLM or of the part below its word predictor. dtype: None keeps the files'.
    Errors: SK510 for a file that is not whole, SK511 for a missing weight or one of another shape.
    """
    files = [WeightsFile(path) for path in _files(Path(folder))]
    own, found = set(model.state_dict()), {name for file in files for name in file.stored}
    wanted = {name for name in own if name.startswith(PARTS["backbone"]) and name != HEAD}
    _refuse_missing(wanted - found, Path(folder))
    broken = [pour(model, file, sorted(own & file.stored.keys()), dtype) for file in files]
    return LoadedWeights(tuple(sorted(own & found)), tuple(sorted(own - found - {HEAD})),
                         _foreign(found - own, len(model.language.layers)),
                         tuple(name for names in broken for name in names))


def _files(folder: Path) -> list[Path]:
    """One file, or as many as the index names."""
    index = folder / INDEX
    if not index.exists():
        return [folder / "model.safetensors"]
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [folder / Path(name).name for name in sorted(named)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SmolkitError("SK510", "an index of weights files", f"{index}: {type(error).__name__}: {error}",
                           "the download was cut off", "download the backbone again") from error


def _refuse_missing(missing: set[str], folder: Path) -> None:
    if missing:
        raise SmolkitError("SK511", "every weight of the eyes and of the language model",
                           f"{folder} without {len(missing)}: {', '.join(sorted(missing)[:3])}",
                           "the folder holds another model, or a file of several is missing",
                           "download the whole backbone that vlm_model_name names")


def _foreign(names: set[str], layers: int) -> tuple[str, ...]:
    """What has no place in the policy, apart from what it leaves out on purpose."""
    spared = {name for name in names if (at := _LAYER.match(name)) and int(at[1]) >= layers}
    return tuple(sorted(names - spared - {HEAD}))

"""Has anybody trained these numbers? What weights alone can tell, with no reference to compare them to.

    >>> from smolkit.smolvla.fake import tiny_model
    >>> print(check_learned(tiny_model()).found)
    untouched: eyes (15 of 15), words, language model (15 of 15), expert (12 of 12), state and actions

A fresh network is drawn from a handful of distributions: evenly up to a sharp end (PyTorch, Xavier), or a bell
curve (transformers: 0.02 wide), whole or cut off. A matrix counts as *untouched* when its numbers still follow
one of these and their order means nothing: rows and columns are as large as chance makes them, and when the numbers
are shuffled, the largest singular value stays what it was.

- What it finds: a backbone that was never loaded (LeRobot's `load_vlm_weights: false`, then frozen), an expert
  that was never trained, half an expert that got lost. Told for each part, where more of its matrices look untouched
  than do in policies that are well; `PARTS` has the limits.
- What it cannot find: how well something learned. Some dozen steps of training leave the sharp end, so a policy
  that was stopped at once passes here; `smolkit.smolvla.checks` then asks whether noise becomes motion. Nor does
  it see *which* pretrained weights these are.
- What it leaves out: weights that nothing reads (the last language layer keeps only its keys and values, the
  lm_head, the language model's last norm), and the words of a model that learned from scratch: most words never
  occurred. Norms and biases do not count: in bfloat16 a 1 stays a 1 for all of a fine-tuning. Small matrices say
  too little, and int8 has other numbers; a part without any to look at is named as not judged.

The largest singular value of a matrix of independent numbers lies where it must (Marchenko and Pastur, 1967);
training adds directions that stand out from it (Martin and Mahoney, arXiv 1810.01075).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from smolkit.report import Check
from smolkit.smolvla.model import SmolVLA

LARGEST = 1024                     # rows and columns that are looked at, evenly picked
A_PART = 16                        # matrices that are looked at, evenly picked, of each part
STANDS_OUT = 1.15                  # times the shuffled matrix: untouched ones stay below
DRAWN = {"even": (1.80, 3 ** 0.5), "cut bell": (2.37, 2.273), "bell": (3.0, None)}   # kurtosis, most / rms


@dataclass(frozen=True)
class Part:
    """Matrices that are judged together."""

    names: str                     # a pattern
    share: float = 0.2             # of them may look untouched: 150 steps of training left 1 of 9 as they were
    least: int = 2000              # numbers in a matrix: fewer say too little


PARTS = {"adapters": Part(r".*lora_B", 0.5, 0),                              # an adapter's B begins at zero
         "eyes": Part(r"vision\.", 0.5, 1000),             # small convolutions: a good policy's had 4 of 12
         "words": Part(r"language\.embed\."), "language model": Part(r"language\.layers\."),
         "expert": Part(r"expert\.layers\."),
         "state and actions": Part(r"state_proj\.|expert\.action_", 0.0)}     # five, and each is needed
READ_OF_THE_LAST = ("input_layernorm", "k_proj", "v_proj")


def check_dtypes(model: SmolVLA) -> Check:
    """Do the weights have formats in which the network computes?"""
    kinds: dict[torch.dtype, int] = {}
    for value in model.parameters():
        kinds[value.dtype] = kinds.get(value.dtype, 0) + value.numel()
    fits = set(kinds) <= {torch.float32, torch.bfloat16} or set(kinds) == {torch.float16}
    found = ", ".join(f"{_short(dtype)} {count / sum(kinds.values()):.0%}" for dtype, count in kinds.items())
    return Check("SK573", "number formats", fits, "float32, bfloat16 or both, or float16 throughout", found,
                 "somebody converted a part of the file, or saved it from another program",
                 "load_checkpoint(FOLDER, dtype=torch.float32), then save_checkpoint")


def check_learned(model: SmolVLA) -> Check:
    """Is any part still as it was drawn?"""
    counts = {part: (sum(map(_empty if part == "adapters" else untouched, matrices)), len(matrices))
              for part, matrices in parts(model).items()}
    fresh = {part: pair for part, pair in counts.items() if pair[0] > PARTS[part].share * pair[1]}
    found = ", ".join(part if of == 1 else f"{part} ({bad} of {of})" for part, (bad, of) in fresh.items())
    total = sum(of for _, of in counts.values())
    unknown = [part for part in PARTS if part not in counts and part != "adapters"]
    rest = f"; not judged: {', '.join(unknown)}" if unknown else ""
    return Check("SK572", "weights not random", not fresh, "matrices that training has shaped, in every part",
                 (f"untouched: {found}" if fresh else f"{total} matrices looked at, in {', '.join(counts)}") + rest,
                 "the backbone was built without its weights (load_vlm_weights: false) and then frozen, or the "
                 "checkpoint was saved before training",
                 "train from lerobot/smolvla_base (--policy.path, not --policy.type), or set load_vlm_weights to true")


def parts(model: SmolVLA) -> dict[str, list[Tensor]]:
    """The matrices that are read, by part; of a long part some, evenly picked."""
    found: dict[str, list[Tensor]] = {part: [] for part in PARTS}
    for name, weight in _read(model):
        part = next((part for part, about in PARTS.items() if re.match(about.names, name)), None)
        known = model.backbone.from_scratch and re.search(r"embed\.|position_embedding", name)
        if part and not known and weight.numel() >= PARTS[part].least:
            found[part].append(weight)
    return {part: _some(matrices) for part, matrices in found.items() if matrices}


def untouched(weight: Tensor) -> bool:
    """Does the matrix look as it was drawn?"""
    matrix = _sample(weight)
    rms = matrix.square().mean().sqrt()
    if rms == 0:
        return True
    matrix = matrix / rms
    return _drawn(matrix) and _even(matrix) and _even(matrix.T) and stands_out(matrix) < STANDS_OUT


def _empty(weight: Tensor) -> bool:
    return not weight.any()


def stands_out(matrix: Tensor) -> float:
    """The largest singular value over that of the same numbers in another order: 1 where the order means nothing."""
    rng = torch.Generator().manual_seed(0)
    order = torch.randperm(matrix.numel(), generator=rng)
    return _largest(matrix, rng) / max(_largest(matrix.flatten()[order].view_as(matrix), rng), 1e-12)


def _drawn(matrix: Tensor) -> bool:
    """Do numbers of rms 1 follow a distribution that networks are drawn from?"""
    kurtosis, most, count = matrix.pow(4).mean().item(), matrix.abs().max().item(), matrix.numel()
    for wanted, end in DRAWN.values():
        # Three standard errors of a kurtosis, which are smaller where the ends are sharp; and the end itself.
        slack = 0.02 + 3 * (24 / count) ** 0.5 * (1.0 if end is None else 0.4)
        if abs(kurtosis - wanted) < slack and (end is None or abs(most / end - 1) < 0.02 + 4 / count ** 0.5):
            return True
    return False


def _even(matrix: Tensor) -> bool:
    """Do the rows differ in size by no more than chance makes of it? In trained matrices some matter, some do not."""
    square = matrix.square()
    by_chance = square.var() / matrix.shape[1]
    return bool(square.mean(dim=1).var() < (1.5 + 6 * len(matrix) ** -0.5) * by_chance)


def _largest(matrix: Tensor, rng: torch.Generator) -> float:
    """The largest singular value, by power iteration with four vectors at once; from below."""
    vectors = torch.randn(matrix.shape[1], min(4, *matrix.shape), generator=rng)
    for _ in range(8):
        vectors, _ = torch.linalg.qr(matrix.T @ (matrix @ vectors))
    return torch.linalg.matrix_norm(matrix @ vectors, 2).item()


def _some(matrices: list[Tensor]) -> list[Tensor]:
    """At most `A_PART` of them, evenly picked, of every kind: no fixed step, which would always meet the same kind."""
    count = min(A_PART, len(matrices))
    return [matrices[round(i * (len(matrices) - 1) / max(count - 1, 1))] for i in range(count)]


def _sample(weight: Tensor) -> Tensor:
    """(rows, columns) float32, at most `LARGEST` of each."""
    matrix = weight.detach().flatten(1)
    return matrix[::-(-matrix.shape[0] // LARGEST), ::-(-matrix.shape[1] // LARGEST)].float().cpu()


def _read(model: SmolVLA) -> Iterator[tuple[str, Tensor]]:
    """Names and weights of the matrices that an answer depends on."""
    last = f"language.layers.{len(model.language.layers) - 1}."
    for name, weight in model.named_parameters():
        unread = name.startswith(last) and not any(part in name for part in READ_OF_THE_LAST)
        if weight.ndim >= 2 and "lora_A" not in name and not unread and not name.startswith("language.head"):
            yield name, weight


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

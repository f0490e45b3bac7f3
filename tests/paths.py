"""Where the tests find data that are not in the repository: golden references and real recordings.

    shared("golden", "so101_fk.json")     # the path, or a skip that says what is missing
    extra_golden()                        # further golden paths, from the variable SMOLKIT_GOLDEN
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
KINDS = ("smolvla", "dataset", "kinematics")


def shared(*parts: str) -> Path:
    """`../shared/<parts>` beside the repository; skips the test, with the reason, where it is absent."""
    path = REPO.parent.joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"shared data not on this machine: {Path('..', 'shared', *parts)}")
    return path


def extra_golden() -> list[Path]:
    """The paths in SMOLKIT_GOLDEN, separated by `os.pathsep` (`:`, on Windows `;`)."""
    return [Path(part) for part in os.environ.get("SMOLKIT_GOLDEN", "").split(os.pathsep) if part]


def golden_kind(path: Path) -> str:
    """ "smolvla", "dataset" or "kinematics", told by content; anything else fails the test."""
    if path.is_dir():
        if all((path / name).is_file() for name in
               ("checkpoint/config.json", "inputs.safetensors", "expected.safetensors")):
            return "smolvla"
        if (path / "meta" / "info.json").is_file() and (path / "expected.json").is_file():
            return "dataset"
    elif path.suffix == ".json" and path.is_file() and _has_cases(path):
        return "kinematics"
    raise AssertionError(f"SMOLKIT_GOLDEN: {path} is no golden data that the tests understand: expected a "
                         "SmolVLA checkpoint (checkpoint/config.json + inputs.safetensors + "
                         "expected.safetensors), a dataset (meta/info.json + expected.json) or a JSON "
                         "file with `cases`; see that the path exists and is complete")


def extra_golden_of(kind: str) -> list[Path]:
    """The further golden paths of one kind; every path's kind is told, so none is overlooked."""
    return [path for path in extra_golden() if golden_kind(path) == kind]


def _has_cases(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        return False
    return isinstance(content, dict) and bool(content.get("cases"))

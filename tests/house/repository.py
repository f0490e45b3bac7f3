"""What the house rules look at: the repository's own files, parsed once."""

from __future__ import annotations

import ast
import json
import subprocess
from functools import cache
from pathlib import Path

from tests.paths import REPO

SKIPPED = {".git", ".venv", "outputs", "build", "dist", "__pycache__", ".hypothesis", ".pytest_cache"}


@cache
def tracked() -> tuple[Path, ...]:
    """The files that git keeps; in a downloaded archive without git, all that is not made by a tool."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True)
    if listing.returncode == 0 and listing.stdout:
        found = [REPO / name for name in listing.stdout.split("\0") if name]
    else:
        found = [path for path in REPO.rglob("*") if not SKIPPED & set(path.relative_to(REPO).parts)]
    return tuple(sorted(path for path in found if path.is_file()))


def with_suffix(*suffixes: str) -> list[Path]:
    return [path for path in tracked() if path.suffix in suffixes]


def package_files() -> list[Path]:
    return [path for path in with_suffix(".py") if path.relative_to(REPO).parts[0] == "smolkit"]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def source(cell: dict) -> str:
    """A cell's text; notebooks keep it as one string or as a list of lines."""
    return "".join(cell["source"])


def at(path: Path, line: int | str = "") -> str:
    """`smolkit/report.py:12`, as a terminal makes it a link."""
    return f"{path.relative_to(REPO)}:{line}" if line else str(path.relative_to(REPO))


def texts() -> list[tuple[Path, str]]:
    """Every prose text: markdown files and the markdown cells of notebooks."""
    found = [(path, path.read_text(encoding="utf-8")) for path in with_suffix(".md")]
    for path in with_suffix(".ipynb"):
        found += [(path, source(cell)) for cell in cells(path) if cell["cell_type"] == "markdown"]
    return found

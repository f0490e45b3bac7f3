"""A bundle for a room without network: datasets, policies, lessons and the wheels of this platform, in one folder.

    pack(Path("/media/stick/room"), [Path("notebooks"), Path("recordings/cube"), Path("outputs/tour/policy")])

    room/datasets/cube/...  room/policies/policy/...  room/notebooks/...     what was asked for
    room/wheels/*.whl       room/wheels/requirements.txt                     smolkit and all that it needs
    room/install.py         room/index.json        room/SHA256SUMS           `python3 install.py FOLDER`, on each laptop
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import smolkit
from smolkit.data import bundle
from smolkit.data.copies import copy_whole
from smolkit.data.hub import dataset_files
from smolkit.data.schema import INFO_PATH
from smolkit.report import SmolkitError

SOURCE = Path(smolkit.__file__).parents[1]                                 # the repository, where smolkit runs from it
_README = """# A room without network

On each laptop, with {computer} (nothing else is needed, no network):

    python3 install.py FOLDER        # on Windows: py install.py FOLDER

Then FOLDER/.venv is the Python environment (FOLDER/.venv/bin/jupyter lab; on Windows FOLDER\\.venv\\Scripts).
Beside it lie: {contents}.
"""


def pack(place: Path, things: Sequence[Path], torch: bool = True, wheels: bool = True) -> Path:
    """Writes the bundle, whole or not at all; what broke off goes on. `torch=False`: where PyTorch is there already.

    A dataset comes with what belongs to it, any other folder as it is without hidden files. Errors: SK499 two things
    of one name, no source of smolkit, pip's own words; SK498 for disks; those of the reader for broken datasets.
    """
    files: dict[str, Path | bytes] = {}
    for thing in things:
        found = {f"{_kind(thing)}{thing.resolve().name}/{name}": path for name, path in _files(thing).items()}
        if not found or files.keys() & found.keys() or next(iter(found)).split("/")[0] in bundle.OURS:
            raise SmolkitError("SK499", f"{thing} to have files, and a name of its own", "nothing, or a name twice",
                               "a typing mistake, or two folders of one name", "rename one of them")
        files |= found
    contents = sorted({f"{_kind(thing)}{thing.resolve().name}" for thing in things})
    with TemporaryDirectory(prefix="smolkit-wheels-") as scratch:
        if wheels:
            files |= {f"wheels/{path.name}": path for path in fetch_wheels(Path(scratch), *_wanted(torch))}
        index = {"format": 1, "smolkit": smolkit.__version__, "torch": torch, "contents": contents,
                 "computer": bundle.computer() if wheels else None}
        about = "Python {python} on {system}".format(**bundle.computer())
        files |= {bundle.INDEX: json.dumps(index, indent=2).encode(),
                  "install.py": Path(bundle.__file__).read_bytes(),
                  "README.md": _README.format(computer=about, contents=", ".join(contents)).encode()}
        return copy_whole(files, place)


def _kind(thing: Path) -> str:
    if (thing / INFO_PATH).is_file():
        return "datasets/"
    return "policies/" if (thing / "config.json").is_file() else ""


def _files(thing: Path) -> dict[str, Path]:
    if (thing / INFO_PATH).is_file():
        return dataset_files(thing)
    found = [path.relative_to(thing) for path in sorted(thing.rglob("*")) if path.is_file()]
    return {name.as_posix(): thing / name for name in found
            if not any(part.startswith(".") or part == "__pycache__" for part in name.parts)}


def _wanted(torch: bool) -> tuple[list[str], list[str]]:
    """What pip has to bring, and its options: smolkit from its source, its libraries as they were tested."""
    from packaging.requirements import Requirement
    if not (SOURCE / "pyproject.toml").is_file():
        raise SmolkitError("SK499", "smolkit's source, to make a wheel of it", f"none in {SOURCE}",
                           "smolkit was installed from a wheel", "pack from a clone of its repository")
    needs = [Requirement(line) for line in metadata.requires("smolkit") or ()]
    names = [f"{need.name}{need.specifier}" for need in needs
             if (need.marker is None or need.marker.evaluate({"extra": "lab"})) and (torch or need.name != "torch")]
    index = os.environ.get("TORCH_INDEX", "")
    more = ["--extra-index-url", index] if index else []
    return [str(SOURCE), *names], ["-c", str(SOURCE / "constraints.txt"), *more]


def fetch_wheels(folder: Path, wanted: Sequence[str], options: Sequence[str] = ()) -> list[Path]:
    """The wheels of `wanted` (the first without what it needs) and a requirements.txt with their exact versions."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--wheel-dir", str(folder)]
    for arguments in ([*pip, "--no-deps", wanted[0]], [*pip, *options, *wanted[1:]]):
        done = subprocess.run(arguments, capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), done.stderr)
            raise SmolkitError("SK499", "all wheels of this platform", said.strip()[:300],
                               "no network, or a package without a wheel for this Python",
                               "connect and run it again: pip keeps what it had")
    found = sorted(folder.glob("*.whl"))
    pins = folder / "requirements.txt"
    pins.write_text("".join("{}=={}\n".format(*path.name.split("-")[:2]) for path in found), encoding="utf-8")
    return [*found, pins]

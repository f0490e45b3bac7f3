"""A bundle for a room without network: datasets, policies, lessons and the wheels of this platform, in one folder.

    pack(Path("/media/stick/room"), [Path("notebooks"), Path("recordings/cube"), Path("outputs/tour/policy")])

    room/datasets/cube/...  room/policies/policy/...  room/notebooks/...     what was asked for
    room/wheels/*.whl       room/wheels/requirements.txt                     smolkit and all that it needs
    room/install.py         room/index.json        room/SHA256SUMS           `python3 install.py FOLDER`, on each laptop
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from smolkit import __version__
from smolkit.data import bundle
from smolkit.data.copies import copy_whole
from smolkit.data.layout import inside
from smolkit.data.push import dataset_files
from smolkit.data.schema import INFO_PATH
from smolkit.report import SmolkitError

SOURCE = Path(__file__).parents[2]                                 # the repository, where smolkit runs from it
_SECRET = re.compile(r"\.env$|^id_(rsa|dsa|ecdsa|ed25519)$|\.(pem|key|p12|pfx)$|secret|password|credential"
                     r"|(?<!special_)(?<!added_)tokens?(?![a-z])", re.I)           # not the files of a tokenizer


def pack(place: Path, things: Sequence[Path], torch: bool = True, wheels: bool = True) -> Path:
    """Writes the bundle, whole or not at all; what broke off goes on. `torch=False`: where PyTorch is there already.

    A dataset comes with what belongs to it, any other folder as it is without hidden files. Errors: SK499 a thing that
    is nothing or shares its name, a name like a secret's, no source of smolkit, pip's own words; SK405 a link that
    leads out of its folder; SK498 for disks; those of the reader.
    """
    files: dict[str, Path | bytes] = {}
    contents: list[str] = []
    for thing in things:
        name, found = _contents(thing)
        if not found or name in bundle.OURS or any(path.startswith(f"{name}/") for path in files):
            raise SmolkitError("SK499", f"{thing} to have files, and a name of its own", "nothing, or a name twice",
                               "a typing mistake, or two folders of one name", "rename one of them")
        files |= {f"{name}/{path}": source for path, source in found.items()}
        contents.append(name)
    index = {"format": 1, "smolkit": __version__, "torch": torch,
             "computer": bundle.computer() if wheels else None, "contents": contents}
    files |= {bundle.INDEX: json.dumps(index, indent=2).encode(), "install.py": Path(bundle.__file__).read_bytes(),
              "README.txt": str(bundle.__doc__).encode()}
    with TemporaryDirectory(prefix="smolkit-wheels-") as scratch:
        found = fetch_wheels(Path(scratch), *_wanted(Path(scratch), torch)) if wheels else []
        return copy_whole({**files, **{f"wheels/{path.name}": path for path in found}}, place)


def _contents(thing: Path) -> tuple[str, dict[str, Path]]:
    """Its name in the bundle, and its files."""
    if (thing / INFO_PATH).is_file():
        return f"datasets/{thing.resolve().name}", dataset_files(thing)
    kind = "policies/" if (thing / "config.json").is_file() else ""
    found = [path.relative_to(thing) for path in sorted(thing.rglob("*")) if path.is_file()]
    names = [path.as_posix() for path in found if not any(
        part.startswith(".") or part == "__pycache__" for part in path.parts)]
    if secret := [name for name in names if _SECRET.search(Path(name).name)]:
        raise SmolkitError("SK499", f"no secrets in {thing}", f"by their names: {', '.join(secret[:5])}",
                           "a key or a password was kept beside the work", "move it elsewhere, or rename what is none")
    return kind + thing.resolve().name, {name: inside(thing, name) for name in names}


def _wanted(scratch: Path, torch: bool) -> tuple[list[str], list[str]]:
    """What pip has to bring, and its options: smolkit from its source, its libraries as they were tested."""
    try:
        project = tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        copy = scratch / "source"                              # a build leaves traces where it is made
        shutil.copytree(SOURCE / "smolkit", copy / "smolkit")
        for name in ("pyproject.toml", project["readme"], *project["license-files"]):
            shutil.copy(SOURCE / name, copy)
    except OSError as error:
        raise SmolkitError("SK499", "smolkit's source, to make a wheel of it", str(error),
                           "it was installed from a wheel", "pack from a clone of its repository") from error
    needs = [*project["dependencies"], *project["optional-dependencies"]["lab"]]
    index = os.environ.get("TORCH_INDEX", "")
    return ([str(copy), *(need for need in needs if torch or not re.match(r"torch\b", need))],
            ["-c", str(SOURCE / "constraints.txt"), *(["--extra-index-url", index] if index else [])])


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
    found, pins = sorted(folder.glob("*.whl")), folder / "requirements.txt"
    pins.write_text("".join("{}=={}\n".format(*path.name.split("-")[:2]) for path in found), encoding="utf-8")
    return [*found, pins]

"""Whole or not: every file of a copy against its SHA256SUMS. This file is install.py of a bundle, too.

    python3 install.py FOLDER              # on Windows: py install.py FOLDER

It needs Python alone and no network: it compares all files, makes FOLDER/.venv with the bundle's wheels, and copies
what else is in the bundle beside it; what is there already stays. The sums find a broken stick and a broken copy. They
cannot tell who made the bundle: take one only from somebody you know.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

SUMS, INDEX = "SHA256SUMS", "index.json"
MOST_BYTES = 100_000_000                                   # of the list: a million files
SYSTEM = ("Thumbs.db", "desktop.ini", ".DS_Store")         # what a look at a folder leaves in it
OURS = ("wheels", "install.py", "README.txt", SUMS, INDEX)


def sha256(path: Path) -> str:
    """The file's digest, in pieces of 1 MiB: a video may be larger than the memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def listed(folder: Path) -> dict[str, str]:
    """Path -> digest, as SHA256SUMS lists them; ValueError for a line that is none."""
    sums, file = {}, folder / SUMS
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"{SUMS} has {file.stat().st_size} bytes")
    for line in file.read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
        if not match:
            raise ValueError(f"{SUMS} has the line {line[:100]!r}")
        sums[match[2]] = match[1]
    return sums


def faults(folder: Path) -> list[str]:
    """What is missing, changed, added or a link; nothing where the folder is as it was made.

    A listed path that leads out of the folder is none of the files found in it: missing.
    """
    try:
        sums = listed(folder)
    except (OSError, ValueError) as error:
        return [str(error)]
    found = [path for path in folder.rglob("*") if not path.relative_to(folder).parts[0].startswith(".")
             and path.name not in SYSTEM]
    links = [path.relative_to(folder).as_posix() for path in found if path.is_symlink()]
    here = {path.relative_to(folder).as_posix() for path in found if path.is_file()} - {SUMS, *links}
    changed = [name for name in sums if name in here and sha256(folder / name) != sums[name]]
    absent = [name for name in sums if name not in {*here, *links}]
    return [*(f"{name}: a link" for name in links), *(f"{name}: missing" for name in absent),
            *(f"{name}: changed" for name in changed), *(f"{name}: not listed" for name in sorted(here - set(sums)))]


def computer() -> dict[str, str]:
    """What a wheel has to fit."""
    return {"python": "{}.{}".format(*sys.version_info), "system": f"{sys.platform} {platform.machine()}"}


def install(bundle: Path, folder: Path) -> None:
    """The environment and the contents of a bundle, into `folder`; SystemExit with one line otherwise."""
    wrong = faults(bundle)
    if wrong:
        raise SystemExit(f"not installed: {len(wrong)} files are not as they were packed: {'; '.join(wrong[:5])}")
    made_for = json.loads((bundle / INDEX).read_text(encoding="utf-8"))["computer"]
    if made_for not in (None, computer()):
        raise SystemExit(f"the wheels are for {made_for}, this is {computer()}: take that Python, or pack anew")
    if made_for:
        python = folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        wheels = str(bundle / "wheels")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
        for command in ([sys.executable, "-m", "venv", str(folder / ".venv")],
                        [*pip, "--find-links", wheels, "--requirement", str(bundle / "wheels" / "requirements.txt")]):
            if subprocess.run(command).returncode:
                raise SystemExit(f"not installed: {' '.join(command[1:4])} says why above; mend it and run this again")
    copy_contents(bundle, folder)


def copy_contents(bundle: Path, folder: Path) -> int:
    """Copies all but the wheels of a bundle without faults; how many files. What is there already stays."""
    wanted = [name for name in listed(bundle) if name.split("/")[0] not in OURS and not (folder / name).exists()]
    for name in wanted:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / name, folder / (name + ".part"))
        os.replace(folder / (name + ".part"), folder / name)
    return len(wanted)


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "smolkit-room").resolve()
    install(Path(__file__).resolve().parent, place)
    sys.stdout.write(f"all is in {place}; next: {place / '.venv'} is its Python environment, start its jupyter lab\n")

"""What a dataset tells about people and places, before others get it: faces, voices, names, serial numbers, places.

    report = private_data(Dataset("recordings/cube"), sheet=Path("look.jpg"))
    print(report.text())                       # what was found, and the sheet of pictures that only you can judge

    >>> found_in("notes", '{"arm_serial": "5A46083", "by": "anna@example.org"}')
    ["notes: serial number '5A46083'", "notes: e-mail address 'anna@example.org'"]

Nothing here recognises a face: a detector that misses one in ten would be believed. It samples pictures over the whole
recording and you look. What is recorded between two samples, nobody has seen.
"""

from __future__ import annotations

import getpass
import re
import socket
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from PIL import Image

from smolkit.data.files import damaged, read_bytes
from smolkit.data.layout import inside
from smolkit.data.reader import Dataset
from smolkit.report import Check, Report

SHEET, TILE_PX = 48, (180, 240)                # pictures of all cameras together, (height, width)
_WORDS = {
    "serial number": re.compile(r'"[^"]*serial[^"]*"\s*:\s*"?(?!null)([^",}\s]+)'
                                r"|(\busb:\w{4,}|/dev/serial/by-id/[\w.:-]+)", re.I),
    "e-mail address": re.compile(r"([\w.+-]+@[\w-]+\.[\w.-]*\w)"),
    "home folder": re.compile(r"((?:/home/|/Users/|/media/|[A-Z]:[\\/]+Users[\\/]+)[\w.-]+)"),
    "token": re.compile(r"\b(hf_\w{20,})"),
}
_ANYBODY = ("root", "user", "localhost")
_PLACE = re.compile("location|gps|iso6709|xyz", re.I)


def private_data(dataset: Dataset, sheet: Path, licence: str | None = None, looked: bool = False) -> Report:
    """All that somebody should have looked at before a dataset leaves; `sheet` is written, a JPEG of its pictures.

    licence: what others may do with it; nobody can choose that for you. looked: the person saw the sheet, and accepts
    what was found. All SK495; SK405 for a link to the outside.
    """
    root = dataset.root
    _draw(dataset, sheet)
    media = [found for file in sorted({span.file for episode in dataset.episodes for span in episode.videos.values()})
             for found in _in_video(root, file)]
    names = [path.relative_to(root).as_posix() for path in [*sorted((root / "meta").glob("*.json*")),
                                                            root / "README.md"] if path.is_file()]
    texts = {name: read_bytes(inside(root, name)).decode("utf-8", errors="replace") for name in names}
    texts["instructions"] = "\n".join(dataset.tasks)
    words = [found for where, text in texts.items() for found in found_in(where, text)]

    def check(name: str, found: list[str], cause: str, next_step: str) -> Check:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        return Check("SK495", name, looked or not found, "none, or a person who accepts it",
                     "; ".join(found[:5]) + more or "none", cause, f"{next_step}; or accept it with --i-looked")

    return Report(f"before others get {root.resolve().name}", (
        Check("SK495", "licence", licence is not None, "one that you chose", licence or "none",
              "without one, nobody may use it", "--license cc-by-4.0 lets all use it who name you; or apache-2.0"),
        check("faces, screens, papers", [f"{SHEET} pictures in {sheet}"], "a camera sees more than its arm",
              "look at them, and drop the episodes that should not leave"),
        check("voices and places in videos", media, "a phone or a webcam wrote them", "encode the videos anew"),
        check("names and numbers", words, "notes keep where they were made", "take them out of the named file")))


def found_in(where: str, text: str) -> list[str]:
    """The private words in a text, each once and with its kind; the names of this computer and its user, too."""
    names = {"this computer's name": socket.gethostname()}
    with suppress(OSError, KeyError, ImportError):                     # no such user: a container
        names["your user name"] = getpass.getuser()
    found = [(kind, next(filter(None, match.groups()))) for kind, one in _WORDS.items() for match in one.finditer(text)]
    found += [(kind, name) for kind, name in names.items() if len(name) > 3 and name not in _ANYBODY
              and re.search(rf"\b{re.escape(name)}\b", text, re.I)]
    return [f"{where}: {kind} {word!r}" for kind, word in dict.fromkeys(found)]


def _in_video(root: Path, file: str) -> list[str]:
    try:
        with av.open(str(inside(root, file))) as container:
            tags = [*container.metadata.items(), *(item for one in container.streams for item in one.metadata.items())]
            sound = [f"{file}: an audio track"] * bool(container.streams.audio)
    except (OSError, ValueError) as error:                             # every av error is one of the two
        raise damaged(root / file, str(error)) from error
    return sound + [f"{file}: {key} {value!r}" for key, value in tags if _PLACE.search(key)]


def _draw(dataset: Dataset, path: Path) -> None:
    """Pictures of all cameras, evenly over the recording, row by row."""
    keys = dataset.camera_keys
    positions = np.unique(np.linspace(0, len(dataset) - 1, SHEET // max(len(keys), 1)).round().astype(int))
    tiles = [tile for key in keys for tile in dataset.frames(key, positions, TILE_PX)]
    sheet = Image.new("RGB", (8 * TILE_PX[1], max(1, -(-len(tiles) // 8)) * TILE_PX[0]))
    for place, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile), (place % 8 * TILE_PX[1], place // 8 * TILE_PX[0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, "JPEG", quality=85)

"""What a dataset tells about people and places, before others get it: faces, voices, names, serial numbers, places.

    report = private_data(Dataset("recordings/cube"), sheet=Path("look.jpg"))
    print(report.text())                       # what was found, and the sheet of pictures that only you can judge

    >>> found_in("notes", '{"arm_serial": "5A46083", "by": "anna@example.org", "file": "/home/anna/arm.json"}')
    ["notes: serial number '5A46083'", "notes: e-mail address 'anna@example.org'", "notes: a home folder '/home/anna'"]

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
from smolkit.data.reader import Dataset
from smolkit.report import Check, Report

SHEET = 48                         # pictures on it, of all cameras together
_COLUMNS, _TILE_PX = 8, (180, 240)                                                  # (height, width)
_WORDS = {
    "serial number": re.compile(r'"[^"]*serial[^"]*"\s*:\s*"?(?!null)([^",}\s]+)'
                                r"|(\busb:\w{4,}|/dev/serial/by-id/[\w.:-]+)", re.I),
    "e-mail address": re.compile(r"([\w.+-]+@[\w-]+\.[\w.-]*\w)"),
    "a home folder": re.compile(r"((?:/home/|/Users/|[A-Z]:[\\/]+Users[\\/]+)[\w.-]+)"),
    "a token": re.compile(r"\b(hf_\w{20,})"),
}
_PLACE = ("location", "gps", "iso6709", "xyz")


def private_data(dataset: Dataset, sheet: Path, licence: str | None = None, looked: bool = False) -> Report:
    """All that somebody should have looked at before a dataset leaves; `sheet` is written, a JPEG of its pictures.

    licence: what others may do with it; nobody can choose that for you. looked: the person saw the sheet, and accepts
    what was found. All SK495.
    """
    root = dataset.root
    _sheet(dataset, sheet)
    videos = sorted({span.file for episode in dataset.episodes for span in episode.videos.values()})
    media = [found for file in videos for found in _in_video(root, file)]
    texts = [*_in_texts(root), *(found for task in dataset.tasks for found in found_in("the instructions", task))]
    voices = [found for found in media if "audio" in found]
    return Report(f"before others get {root.resolve().name}", (
        _check("licence", licence is not None, "one that you chose", licence or "none",
               "without one, nobody may use it", "--license cc-by-4.0 lets all use it who name you; or apache-2.0"),
        _check("faces, screens, papers", looked, "a person who looked at the pictures",
               f"{sheet.name}, {'looked at' if looked else 'not yet looked at'}",
               "a camera sees more than its arm", f"open {sheet}; repeat with --i-looked, or drop those episodes"),
        _listed("voices", voices, looked, "a phone or a webcam recorded sound", "encode the videos anew"),
        _listed("names and numbers", texts, looked, "notes and calibrations keep where they were made",
                "take them out of the named file"),
        _listed("places", [found for found in media if found not in voices], looked, "a phone writes them into videos",
                "encode the videos anew")))


def found_in(where: str, text: str) -> list[str]:
    """The private words in a text, each once and with its kind."""
    found = [f"{where}: {kind} {next(filter(None, match.groups()))!r}"
             for kind, pattern in _WORDS.items() for match in pattern.finditer(text)]
    return list(dict.fromkeys([*found, *(f"{where}: {kind} {name!r}" for kind, name in _this_computer().items()
                                         if re.search(rf"\b{re.escape(name)}\b", text, re.I))]))


def _this_computer() -> dict[str, str]:
    """The names of its user and of itself, where they are no words that anybody has."""
    names = {"this computer's name": socket.gethostname()}
    with suppress(OSError, KeyError, ImportError):                     # no such user: a container
        names["your user name"] = getpass.getuser()
    return {kind: name for kind, name in names.items() if len(name) > 3 and name not in ("root", "user", "localhost")}


def _in_texts(root: Path) -> list[str]:
    files = [path for path in [*sorted((root / "meta").glob("*.json*")), root / "README.md"] if path.is_file()]
    return [found for path in files for found in
            found_in(path.relative_to(root).as_posix(), read_bytes(path).decode("utf-8", errors="replace"))]


def _in_video(root: Path, file: str) -> list[str]:
    try:
        with av.open(str(root / file)) as container:
            tags = {**container.metadata, **{f"{stream.index} {key}": value for stream in container.streams
                                             for key, value in stream.metadata.items()}}
            sound = [f"{file}: an audio track"] * bool(container.streams.audio)
    except (OSError, ValueError) as error:                             # every av error is one of the two
        raise damaged(root / file, str(error)) from error
    return sound + [f"{file}: {key} {value!r}" for key, value in tags.items()
                    if any(word in key.lower() for word in _PLACE)]


def _sheet(dataset: Dataset, path: Path) -> None:
    """Pictures of all cameras, evenly over the recording, row by row."""
    keys = dataset.camera_keys
    positions = np.unique(np.linspace(0, len(dataset) - 1, SHEET // max(len(keys), 1)).round().astype(int))
    tiles = [tile for key in keys for tile in dataset.frames(key, positions, _TILE_PX)]
    height, width = _TILE_PX
    sheet = Image.new("RGB", (_COLUMNS * width, max(-(-len(tiles) // _COLUMNS), 1) * height))
    for place, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile), (place % _COLUMNS * width, place // _COLUMNS * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=85)


def _listed(name: str, found: list[str], looked: bool, cause: str, next_step: str) -> Check:
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return _check(name, looked or not found, "none", "; ".join(found[:5]) + more or "none", cause,
                  f"{next_step}; or accept it with --i-looked")


def _check(name: str, ok: bool, expected: str, found: str, cause: str, next_step: str) -> Check:
    return Check("SK495", name, ok, expected, found, cause, next_step)

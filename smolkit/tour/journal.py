"""The tour's memory: which stages are done, what they found, how long they took.

    journal = Journal.open(Path("outputs/tour"), settings)
    record = journal.stage("record", lambda: {"episodes": 150})

Each finished stage is written at once (temporary file, then rename), so that Ctrl-C or a power cut
costs at most the running stage, and stages that keep their own progress (recording, training,
trials) go on where they stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from smolkit.report import SmolkitError
from smolkit.tour.settings import TourSettings

FILE, DRAFT = "tour.json", "draft.tmp"


class Journal:
    """The stages of one tour in one folder."""

    def __init__(self, folder: Path, settings: TourSettings, stages: dict[str, dict]):
        self.folder, self.settings = folder, settings
        self._stages = stages

    @classmethod
    def open(cls, folder: Path, settings: TourSettings, keep_finished: bool = False) -> Journal:
        """Continues an unfinished tour with the same settings; anything else starts a new one.

        `keep_finished` takes up a finished tour, too. An earlier tour is moved aside, never deleted; a
        folder with anything else in it is refused (SK803).
        """
        saved, wanted = _read(folder / FILE), _compared(asdict(settings))
        unfinished = saved is not None and "report" not in saved["stages"]
        if saved is not None and _compared(saved["settings"]) == wanted and (keep_finished or unfinished):
            return cls(folder, settings, saved["stages"])
        if (folder / FILE).exists():
            folder.rename(_free_name(folder.resolve()))
        elif folder.exists() and any(path.name != DRAFT for path in folder.iterdir()):
            raise SmolkitError("SK803", f"an empty folder, or one with an earlier tour, at {folder}", "other files",
                               "the folder belongs to something else", "choose another folder with --out")
        folder.mkdir(parents=True, exist_ok=True)
        journal = cls(folder, settings, {})
        journal._write()
        return journal

    def done(self, name: str) -> bool:
        return name in self._stages

    def result(self, name: str) -> dict:
        """What a finished stage found."""
        return self._stages[name]["result"]

    def stages(self) -> list[dict]:
        """Name, seconds and verdict of every finished stage, in order."""
        return [{"name": name, "seconds": round(s["seconds"], 2), "ok": s["ok"]}
                for name, s in self._stages.items()]

    def stage(self, name: str, work: Callable[[], dict]) -> dict:
        """Runs a stage once. `work` returns what it found; its key "ok" (default True) is the verdict.

        Time is counted over all sittings of the stage: an interrupted one leaves its seconds behind.
        """
        if self.done(name):
            return self.result(name)
        spent_file = self.folder / f".{name}.seconds"
        spent_s = _seconds(spent_file)
        start_s = time.monotonic()
        try:
            result = work()
        except BaseException:
            with suppress(OSError):                     # the disk may be what failed
                spent_file.write_text(str(spent_s + time.monotonic() - start_s))
            raise
        seconds = spent_s + time.monotonic() - start_s
        self._stages[name] = {"seconds": seconds, "ok": bool(result.get("ok", True)), "result": result}
        self._write()
        spent_file.unlink(missing_ok=True)
        return result

    def _write(self) -> None:
        write_json(self.folder / FILE, {"settings": asdict(self.settings), "stages": self._stages})


def write_json(path: Path, content: dict) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(DRAFT)
    temporary.write_text(json.dumps(content, indent=2))
    temporary.replace(path)


def _compared(settings: dict) -> dict:
    """What makes a tour the same tour: everything but how many processes work on it."""
    return {name: value for name, value in settings.items() if name != "workers"}


def _seconds(path: Path) -> float:
    """Time noted by an interrupted sitting; a note that a full disk cut off counts as none."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0


def _read(path: Path) -> dict | None:
    """The journal, or None where there is none or it cannot be understood (then a new tour starts)."""
    try:
        saved = json.loads(path.read_text())
        return saved if {"settings", "stages"} <= set(saved) else None
    except (OSError, ValueError, TypeError):
        return None


def _free_name(folder: Path) -> Path:
    number = 1
    while (candidate := folder.with_name(f"{folder.name}-before-{number}")).exists():
        number += 1
    return candidate

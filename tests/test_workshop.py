"""The list of arms: what happened stays written down, in order, whatever else is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from smolkit import workshop
from smolkit.arm import fake
from smolkit.cli import app
from smolkit.report import SmolkitError
from tests.paths import REPO

MONDAY = datetime(2026, 3, 2, 9, 30)


def bench(*words: str, folder: Path, exit_code: int = 0) -> str:
    done = CliRunner().invoke(app, ["bench", *words, "--folder", str(folder)])
    assert done.exit_code == exit_code, done.output
    return done.output


def test_an_arm_goes_out_and_comes_back(tmp_path: Path) -> None:
    bench("add", "blue", "--type", "7.4V", "--usb-serial", "5A46", folder=tmp_path)
    assert "lent to team 3" in bench("lend", "blue", "team 3", folder=tmp_path)
    assert "team 3" in bench("list", folder=tmp_path)
    bench("incident", "blue", "a tooth of the gripper's gear is gone", folder=tmp_path)
    bench("return", "blue", "--note", "one screw missing", folder=tmp_path)
    lines = bench("history", "blue", "--folder", str(tmp_path), folder=tmp_path).splitlines()
    assert [line[18:] for line in lines] == [
        "added", "lent to team 3", "incident: a tooth of the gripper's gear is gone",
        "returned by team 3: one screw missing"]
    assert "on the shelf" in bench("list", folder=tmp_path)


def test_the_date_of_an_event_can_be_told_afterwards(tmp_path: Path) -> None:
    bench("add", "blue", "--type", "12V", "--when", "2026-03-02T09:30:00", folder=tmp_path)
    assert bench("history", "blue", folder=tmp_path) == "2026-03-02 09:30  added\n"


def test_an_empty_room_says_how_to_begin(tmp_path: Path) -> None:
    assert "smolkit bench add" in bench("list", folder=tmp_path / "not" / "there")


@pytest.mark.parametrize(("words", "code"), [
    (("lend", "red", "ada"), "SK820"), (("history", "red"), "SK820"), (("return", "blue"), "SK822"),
    (("add", "blue", "--type", "7.4V"), "SK822"), (("add", "red", "--type", "9V"), "SK118"),
    (("add", "../red", "--type", "7.4V"), "SK822"), (("incident", "../../red", "x"), "SK822"),
    (("add", "red", "--type", "7.4V", "--usb-serial", "5A46"), "SK822"), (("lend", "blue", "  "), "SK822"),
    (("add", "red", "--type", "7.4V", "--calibration", "nowhere.json"), "SK120"),
    (("incident", "blue", ""), "SK822")])
def test_what_cannot_be_is_refused_and_changes_nothing(tmp_path: Path, words: tuple[str, ...], code: str) -> None:
    workshop.add("blue", "7.4V", usb_serial="5A46", folder=tmp_path, when=MONDAY)
    before = {path: path.read_bytes() for path in tmp_path.parent.rglob("*") if path.is_file()}
    done = CliRunner().invoke(app, ["bench", *words, "--folder", str(tmp_path)])
    assert done.exit_code == 2 and code in done.output
    assert {path: path.read_bytes() for path in tmp_path.parent.rglob("*") if path.is_file()} == before


def test_an_arm_is_lent_once(tmp_path: Path) -> None:
    workshop.add("blue", "7.4V", folder=tmp_path)
    workshop.lend("blue", "ada", folder=tmp_path)
    with pytest.raises(SmolkitError, match="it is with ada"):
        workshop.lend("blue", "ben", folder=tmp_path)
    assert workshop.arm("blue", tmp_path).holder == "ada"


def test_a_calibration_that_changed_on_loan_is_seen(tmp_path: Path) -> None:
    file, room = tmp_path / "blue.json", tmp_path / "room"
    taught = fake.calibrated(fake.servos())
    workshop.add("blue", "7.4V", calibration=str(taught.save(file)), folder=room)
    assert "as registered" in workshop.table(room)
    assert workshop.arm("blue", room).fingerprint == taught.fingerprint
    workshop.lend("blue", "ada", folder=room)
    replace(taught, motors=(replace(taught.motors[0], homing_offset=9), *taught.motors[1:])).save(file)
    assert "CHANGED" in workshop.table(room)
    assert "calibration changed" in workshop.take_back("blue", folder=room).history[-1]
    assert "as registered" in workshop.table(room)
    file.write_text("{")
    assert "UNREADABLE" in workshop.table(room)


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"5", b"null", b"\xff\xfe", b"{}", b'{"name": "blue"}', "history is text", "a number",
    "another name", "one key more", "a line that is no text"])
def test_a_damaged_record_is_named_kept_and_hides_no_other(tmp_path: Path, content: bytes | str) -> None:
    for name in ("blue", "red"):
        workshop.add(name, "7.4V", folder=tmp_path)
    path = tmp_path / "blue.json"
    good = json.loads(path.read_text())
    bad = {"history is text": good | {"history": "long"}, "a number": good | {"holder": 3},
           "another name": good | {"name": "green"}, "one key more": good | {"colour": "blue"},
           "a line that is no text": good | {"history": [1]}}
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(bad[content]).encode())
    damaged = path.read_bytes()
    for attempt in (workshop.lend, workshop.incident):
        with pytest.raises(SmolkitError, match="SK821"):
            attempt("blue", "words", folder=tmp_path)
    assert path.read_bytes() == damaged
    assert "SK821" in bench("list", folder=tmp_path) and "on the shelf" in bench("list", folder=tmp_path)
    workshop.lend("red", "ada", folder=tmp_path)


words = st.text(min_size=1).filter(lambda text: text.encode("utf-8", "replace").decode().split())
events = st.lists(st.tuples(st.sampled_from(("lend", "return", "incident")), words), max_size=12)


@settings(max_examples=40, deadline=None)
@given(events)
def test_the_history_is_what_happened(steps: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        room, holder, expected = Path(name), "", ["2026-03-02 09:30  added"]
        workshop.add("blue", "7.4V", folder=room, when=MONDAY)
        for minute, (verb, text) in enumerate(steps, 1):
            when = MONDAY + timedelta(minutes=minute)
            said = " ".join(text.encode("utf-8", "replace").decode().split())
            may = {"lend": not holder, "return": bool(holder), "incident": True}[verb]
            work = {"lend": workshop.lend, "return": workshop.take_back, "incident": workshop.incident}[verb]
            if not may:
                with pytest.raises(SmolkitError, match="SK822"):
                    work("blue", text, folder=room, when=when)
                continue
            saved = work("blue", text, folder=room, when=when)
            what = {"lend": f"lent to {said}", "return": f"returned by {holder}: {said}",
                    "incident": f"incident: {said}"}
            holder = {"lend": said, "return": "", "incident": holder}[verb]
            expected.append(f"{when:%Y-%m-%d %H:%M}  {what[verb]}")
            assert saved == workshop.arm("blue", room)
        assert list(workshop.arm("blue", room).history) == expected and workshop.arm("blue", room).holder == holder


def test_three_programs_write_and_no_line_is_lost(tmp_path: Path) -> None:
    workshop.add("blue", "7.4V", folder=tmp_path)
    code = ("import sys; from pathlib import Path; from smolkit.workshop import incident\n"
            "for i in range(15): incident('blue', f'{sys.argv[2]} {i}', folder=Path(sys.argv[1]))")
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), who], cwd=REPO) for who in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    said = [line.split("incident: ")[1] for line in workshop.arm("blue", tmp_path).history[1:]]
    assert sorted(said) == sorted(f"{who} {i}" for who in "abc" for i in range(15))


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SmolkitError, match="SK407"):
        workshop.add("blue", "7.4V", folder=tmp_path / "file")

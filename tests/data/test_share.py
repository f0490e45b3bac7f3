"""Copies on sticks, bundles for a room without network, and what should not leave with them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from smolkit.data import bundle
from smolkit.data.copies import copy_whole, verify
from smolkit.data.pack import fetch_wheels, pack
from smolkit.data.privacy import found_in, private_data
from smolkit.data.push import dataset_files
from smolkit.data.reader import Dataset
from smolkit.data.writer import DatasetWriter
from smolkit.report import SmolkitError
from tests.data.recording import FPS, ROLES, new, record

FACES, MEDIA = "faces, screens, papers", "voices and places in videos"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return new(tmp_path_factory.mktemp("made") / "cube", [3, 4])


def test_a_copy_is_whole_and_compared(made, tmp_path):
    files = dataset_files(made)
    copy = copy_whole(files, tmp_path / "stick" / "cube")
    assert verify(copy).ok and set(bundle.listed(copy)) == set(files)
    assert len(Dataset(copy)) == 7
    subprocess.run(["sha256sum", "--check", "--quiet", bundle.SUMS], cwd=copy, check=True)
    assert copy_whole(files, copy) == copy                     # once more: all is there
    back = copy_whole(dataset_files(copy), tmp_path / "back", sums=False)
    assert len(Dataset(back)) == 7 and not (back / bundle.SUMS).exists()


def test_only_what_the_format_knows_leaves_and_the_rest_is_named(made, tmp_path):
    root = shutil.copytree(made, tmp_path / "cube")
    for name in ("meta/secret.json", "meta/notes.md", "meta/episodes/mine.parquet"):
        (root / name).write_text("x")
    for name in ("README.md", "meta/edits.json", "meta/tasks.jsonl"):
        (root / name).write_text("{}")
    with pytest.warns(UserWarning, match=r"\(3\): meta/episodes/mine.parquet, meta/notes.md, meta/secret.json"):
        files = dataset_files(root)
    assert set(files) == {*dataset_files(made), "README.md", "meta/edits.json", "meta/tasks.jsonl"}


@pytest.mark.parametrize("name", ["README.md", "data/chunk-000/file-000.parquet"])
def test_no_link_takes_a_file_of_yours_along(made, tmp_path, name):
    root = shutil.copytree(made, tmp_path / "cube")
    dataset = Dataset(root)
    (tmp_path / "mine.txt").write_text("by anna@example.org")
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to(tmp_path / "mine.txt")
    with pytest.raises(SmolkitError, match="SK405"):
        dataset_files(root)
    if name == "README.md":
        with pytest.raises(SmolkitError, match="SK405"):
            private_data(dataset, tmp_path / "look.jpg")


def test_a_copy_that_broke_off_has_no_name_and_goes_on(made, tmp_path):
    files, place = dataset_files(made), tmp_path / "cube"
    with pytest.raises(SmolkitError, match=r"SK498(.|\n)*what arrived is kept"):
        copy_whole({**files, [*files][1]: Path("/nowhere/unplugged")}, place)
    first = tmp_path / ".cube.part" / next(iter(files))
    assert not place.exists() and first.is_file()
    before = first.stat().st_mtime_ns
    (tmp_path / ".cube.part" / "stale.parquet").write_bytes(b"of an earlier try")
    copy_whole(files, place)
    assert verify(place).ok and not (tmp_path / ".cube.part").exists()
    assert (place / next(iter(files))).stat().st_mtime_ns == before


def test_a_file_that_changes_while_it_is_copied_is_told(tmp_path):
    other_each_time = Path("/proc/sys/kernel/random/uuid")
    if not other_each_time.exists():
        pytest.skip("only Linux has such a file")
    with pytest.raises(SmolkitError, match=r"SK498(.|\n)*other bytes"):
        copy_whole({"uuid": other_each_time}, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_what_is_there_is_not_overwritten(made, tmp_path):
    (tmp_path / "cube").mkdir()
    (tmp_path / "cube" / "mine.txt").write_text("x")
    with pytest.raises(SmolkitError, match=r"SK498(.|\n)*nothing yet"):
        copy_whole(dataset_files(made), tmp_path / "cube")
    assert (tmp_path / "cube" / "mine.txt").read_text() == "x"


def spoil(copy: Path, how: str) -> None:
    if how == "changed":
        (copy / "meta/info.json").write_bytes(b"{}")
    elif how == "missing":
        (copy / "meta/stats.json").unlink()
    elif how == "not listed":
        (copy / "meta/more.json").write_text("{}")
    elif how == "a link":
        (copy / "meta/stats.json").rename(copy / ".stats")
        (copy / "meta/stats.json").symlink_to(copy / ".stats")
    else:
        with open(copy / bundle.SUMS, "a") as sums:
            sums.write(f"{'0' * 64}  {how}\n")


@pytest.mark.parametrize("how", ["changed", "missing", "not listed", "a link", "../evil", "/etc/evil", "C:/evil",
                                 "a\\..\\b", "a/../../evil"])
def test_a_copy_that_is_not_as_it_was_made_is_red(made, tmp_path, how):
    copy = copy_whole(dataset_files(made), tmp_path / "cube")
    spoil(copy, how)
    check, = verify(copy).red()
    assert check.code == "SK498" and how in check.found
    with pytest.raises(SystemExit, match="not installed"):
        bundle.install(copy, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def wheel(folder: Path, name: str, needs: str = "") -> Path:
    """A wheel of a few bytes."""
    path, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + (f"Requires-Dist: {needs}\n" if needs else "")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", "answer = 42\n")
        file.writestr(f"{info}/METADATA", about)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.slow
def test_wheels_come_with_what_they_need_and_pins(tmp_path, monkeypatch):
    (tmp_path / "index").mkdir()
    ours = wheel(tmp_path, "ours", "absent")                   # what it needs is asked for by name, never resolved
    for name, needs in (("one", "two"), ("two", ""), ("three", "")):
        wheel(tmp_path / "index", name, needs)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    found = fetch_wheels(tmp_path / "wheels", [str(ours), "one"])
    assert [path.name.split("-")[0] for path in found] == ["one", "ours", "two", "requirements.txt"]
    assert found[-1].read_text().split() == ["one==1.0", "ours==1.0", "two==1.0"]
    with pytest.raises(SmolkitError, match=r"SK499(.|\n)*nowhere"):
        fetch_wheels(tmp_path / "more", [str(ours), "nowhere"])


def test_a_bundle_of_data_is_whole_and_copied_beside_what_is_there(made, tmp_path):
    lessons = tmp_path / "notebooks"
    (lessons / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("01.ipynb", "02.ipynb", ".ipynb_checkpoints/01.ipynb"):
        (lessons / name).write_text("{}")
    room = pack(tmp_path / "room", [made, lessons], wheels=False)
    index = json.loads((room / "index.json").read_text())
    assert verify(room).ok and index["contents"] == ["datasets/cube", "notebooks"]
    mine = tmp_path / "mine"
    (mine / "notebooks").mkdir(parents=True)
    (mine / "notebooks" / "01.ipynb").write_text("my work")
    subprocess.run([sys.executable, str(room / "install.py"), str(mine)], check=True, capture_output=True)
    assert (mine / "notebooks/01.ipynb").read_text() == "my work" and (mine / "notebooks/02.ipynb").is_file()
    assert len(Dataset(mine / "datasets/cube")) == 7
    assert {path.name for path in mine.iterdir()} == {"notebooks", "datasets"}
    with pytest.raises(SmolkitError, match="SK499"):
        pack(tmp_path / "other", [made, shutil.copytree(made, tmp_path / "again" / "cube")], wheels=False)


def test_a_bundle_takes_no_file_from_outside_by_a_link(tmp_path):
    lessons = tmp_path / "notebooks"
    lessons.mkdir()
    (lessons / "01.ipynb").write_text("{}")
    (lessons / "same.ipynb").symlink_to("01.ipynb")
    assert (pack(tmp_path / "room", [lessons], wheels=False) / "notebooks/same.ipynb").is_file()
    (lessons / "02.ipynb").symlink_to("/etc/passwd")
    with pytest.raises(SmolkitError, match=r"SK405(.|\n)*02\.ipynb"):
        pack(tmp_path / "other", [lessons], wheels=False)


@pytest.mark.parametrize("name, secret", [
    ("prod.env", True), ("id_rsa", True), ("hf_token", True), ("TOKENS.txt", True), ("key.pem", True),
    ("client_secret.json", True), ("keys/id_ed25519", True), ("passwords.csv", True),
    ("tokenizer_config.json", False), ("special_tokens_map.json", False), ("added_tokens.json", False),
    ("environment.yml", False), ("keyframes.csv", False), ("tokenize.py", False)])
def test_a_bundle_takes_no_secrets(tmp_path, name, secret):
    path = tmp_path / "things" / name
    path.parent.mkdir(parents=True)
    path.write_text("x")
    if secret:
        with pytest.raises(SmolkitError, match=rf"SK499(.|\n)*{name}"):
            pack(tmp_path / "room", [tmp_path / "things"], wheels=False)
    else:
        assert (pack(tmp_path / "room", [tmp_path / "things"], wheels=False) / "things" / name).is_file()


def test_a_bundle_for_another_computer_says_so(made, tmp_path):
    room = pack(tmp_path / "room", [made], wheels=False)
    index = json.loads((room / "index.json").read_text())
    other = json.dumps({**index, "computer": {"python": "3.99", "system": "cp/m"}}).encode()
    before = bundle.sha256(room / "index.json")
    (room / "index.json").write_bytes(other)
    sums = (room / bundle.SUMS).read_text().replace(before, bundle.sha256(room / "index.json"))
    (room / bundle.SUMS).write_text(sums)
    with pytest.raises(SystemExit, match=r"3\.99"):
        bundle.install(room, tmp_path / "there")


@pytest.mark.parametrize("text, kind", [
    ('{"serial": "5A46083014"}', "serial number"), ('{"usb_serial_number":"5A46"}', "serial number"),
    ('{"port": "usb:5A46083014"}', "serial number"), ("/dev/serial/by-id/usb-1a86_USB_5A46-if00", "serial number"),
    ("by anna.b+lab@mail.example.org", "e-mail"), ("/ho" "me/anna/x", "home"), ("/Us" "ers/anna/x", "home"),
    ('{"file": "C:\\\\Users\\\\anna\\\\x"}', "home"), ("hf_" + "a" * 30, "token")])
def test_private_words_are_found(text, kind):
    assert kind in found_in("notes", text)[0]


@pytest.mark.parametrize("text", ['{"serial": null}', "put the cube into the box at home", "a@b", "1.5/home", "hf_hub"])
def test_harmless_words_are_not(text):
    assert found_in("notes", text) == []


def test_this_computers_own_names_are_found(monkeypatch):
    monkeypatch.setenv("LOGNAME", "annabell")
    assert "your user name 'annabell'" in found_in("notes", "recorded by Annabell, twice")[0]


def with_sound_and_place(video: Path) -> None:
    """The same film, as a phone would have written it."""
    old = video.rename(video.with_suffix(".old"))
    with av.open(str(old)) as source, av.open(str(video), "w", options={"movflags": "use_metadata_tags"}) as film:
        film.metadata["com.apple.quicktime.location.ISO6709"] = "+48.1374+011.5755/"
        stream, sound = film.add_stream_from_template(source.streams.video[0]), film.add_stream("aac", rate=8000)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                film.mux(packet)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        film.mux([*sound.encode(silence), *sound.encode(None)])
    old.unlink()


def test_a_dataset_that_tells_too_much_is_red_until_a_person_accepts_it(made, tmp_path):
    root = shutil.copytree(made, tmp_path / "cube")
    with_sound_and_place(next(root.glob("videos/*front/*/*.mp4")))
    notes = json.loads((root / "meta/smolkit.json").read_text())
    (root / "meta/smolkit.json").write_text(json.dumps({**notes, "notes": {"by": "anna@example.org"}}))
    report = private_data(Dataset(root), tmp_path / "look.jpg")
    assert [check.name for check in report.red()] == ["licence", FACES, MEDIA, "names and numbers"]
    found = {check.name: check.found for check in report.checks}
    assert "meta/smolkit.json: e-mail address 'anna@example.org'" in found["names and numbers"]
    assert "+48.1374" in found[MEDIA] and "an audio track" in found[MEDIA]
    assert private_data(Dataset(root), tmp_path / "look.jpg", "cc-by-4.0", looked=True).ok
    assert [check.name for check in private_data(Dataset(made), tmp_path / "look.jpg", "cc0-1.0").red()] == [FACES]


def test_what_is_said_in_the_instructions_is_seen(tmp_path):
    with DatasetWriter.create(tmp_path / "cube", FPS, ROLES) as writer:
        record(writer, [2], tasks=["hand it to bob@example.org"])
    *_, words = private_data(Dataset(tmp_path / "cube"), tmp_path / "look.jpg").checks
    assert words.found == "instructions: e-mail address 'bob@example.org'"

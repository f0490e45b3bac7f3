"""`smolkit push | pull | pack | unpack | verify` as a person types them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smolkit.cli import app
from smolkit.data.reader import Dataset
from tests.data.recording import new


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return new(tmp_path_factory.mktemp("made") / "cube", [3])


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def typed(*arguments) -> tuple[int, str]:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    return typed


def test_a_push_waits_for_a_look_and_a_licence(hub, run, made):
    status, said = run("push", made, "robots/cube")
    assert status == 1 and "2 of 4 red" in said and "--license" in said and "--i-looked" in said and not hub.requests
    assert Path("outputs/cube-pictures.jpg").is_file()
    status, said = run("push", made, "robots/cube", "--license", "cc-by-4.0", "--i-looked", "--public")
    assert status == 0 and "/datasets/robots/cube/commit/" in said and not hub.repositories["robots/cube"].private
    status, said = run("pull", "robots/cube", "mine")
    assert status == 0 and len(Dataset("mine")) == 3
    status, said = run("push", made, "robots/cube", "--license", "cc-by-4.0", "--i-looked")
    assert status == 2 and "SK496" in said and "--update" in said


def test_a_stick_is_a_folder_whose_parent_is_there(run, made):
    Path("stick").mkdir()
    status, said = run("push", made, "stick/cube")
    assert status == 0 and run("verify", "stick/cube")[0] == 0
    assert run("pull", "stick/cube", "mine")[0] == 0 and len(Dataset("mine")) == 3
    (Path("stick/cube") / "meta/stats.json").write_text("{}")
    status, said = run("verify", "stick/cube")
    assert status == 1 and "meta/stats.json: changed" in said
    status, said = run("pull", "stick/cube", "again")
    assert status == 2 and "SK498" in said and not Path("again").exists()


def test_a_bundle_is_packed_compared_and_unpacked(run, made):
    shutil.copytree(made, "cube")
    status, said = run("pack", "room", "cube", "--no-wheels")
    assert status == 0 and "install.py" in said
    assert run("unpack", "room", "desk")[0] == 0 and len(Dataset("desk/datasets/cube")) == 3
    (Path("room") / "more.whl").write_text("x")
    status, said = run("unpack", "room", "other")
    assert status == 2 and "more.whl: not listed" in said and not Path("other").exists()


def test_what_is_not_there_is_told(run):
    for command in (("push", "nowhere", "copies"), ("pull", "nowhere", "mine"), ("pack", "room", "nowhere"),
                    ("unpack", "nowhere", "mine")):
        status, said = run(*command)
        assert status == 2 and "SK4" in said and not Path("mine").exists(), command
    assert run("verify", "nowhere")[0] == 1

"""A push to a Hub of our own over HTTP: one commit or none, whatever happens on the way."""

from __future__ import annotations

import re

import pytest

from smolkit import hub as room
from smolkit.report import SmolkitError
from tests.hub_server import TOKEN

NAME, FILES = "robots/cube", {"meta/info.json": b"{}", "data/1.parquet": b"rows", "videos/1.mp4": b"film"}
STEPS = ["POST .*/preupload/", "POST .*/objects/batch", "PUT /stored/", "POST .*/commit/", "DELETE .*/tag/",
         "POST .*/tag/"]


def push(name: str = NAME, files: dict = FILES, **options) -> str:
    return room.push(name, files, "v3.0", **options)


@pytest.mark.parametrize("step", STEPS)
def test_a_push_that_broke_off_goes_on_where_it_was(hub, step):
    hub.fail = [(step, 403)]
    with pytest.raises(SmolkitError, match="SK496"):
        push()
    there = hub.repositories[NAME]
    assert "v3.0" not in there.tags and not hub.fail           # nobody takes the half for the whole
    push()
    assert there.tags == {"v3.0": there.find("main")} and there.files().items() >= FILES.items()
    sent = [line for line in hub.requests if line.startswith("PUT /stored/")]
    assert len(set(sent)) == 2 and len(sent) <= 2 + (step == "PUT /stored/")             # only the spoiled one again
    assert len(there.commits) == 2 and there.private


@pytest.mark.parametrize("status, match", [(401, "hf auth login"), (403, "write permission"), (429, "too many"),
                                           (500, "fault of its own"), (503, "fault of its own"),
                                           (0, "no network, or the Hub is down")])
@pytest.mark.parametrize("step", ["POST /api/repos/create", "POST .*/commit/"])
def test_what_went_wrong_is_told_with_a_way_out(hub, status, match, step):
    hub.fail = [(step, status)]
    with pytest.raises(SmolkitError, match=rf"SK496(.|\n)*{match}(.|\n)*smolkit push FOLDER PATH"):
        push()


@pytest.mark.parametrize("token, name, match", [
    ("", NAME, "hf auth login"), ("hf_old", NAME, "hf auth login"), (TOKEN, "others/cube", "write permission"),
    (TOKEN, "robots/a--b", "typing mistake")])
def test_who_may_not_push_is_told_why(hub, monkeypatch, token, name, match):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SmolkitError, match=rf"SK496(.|\n)*{match}"):
        push(name)
    assert not hub.repositories


def test_a_name_that_is_taken_stays(hub):
    push()
    with pytest.raises(SmolkitError, match=r"SK496(.|\n)*the name is taken(.|\n)*--update"):
        push()
    push(files={"meta/info.json": b"new"}, update=True)
    there = hub.repositories[NAME]
    assert there.files()["meta/info.json"] == b"new" and there.tags["v3.0"] == there.find("main")
    with pytest.raises(SmolkitError, match=r"SK496(.|\n)*it is private(.|\n)*--private"):
        push(private=False, update=True)
    assert len(there.commits) == 3


def test_somebody_elses_files_are_no_broken_push(hub, tmp_path):
    (tmp_path / "poems.txt").write_text("x")
    hub.add(NAME, tmp_path, private=True)
    with pytest.raises(SmolkitError, match=r"SK496(.|\n)*the name is taken"):
        push()


def test_what_is_gone_here_goes_there(hub):
    push(files={**FILES, "data/2.parquet": b"more", "notes/mine.txt": b"x"})
    push(files=FILES, update=True)
    assert set(hub.repositories[NAME].files()) == {*FILES, "notes/mine.txt", ".gitattributes"}       # of our folders


def test_of_two_pushes_at_once_the_second_is_told(hub):
    push()
    there, answer = hub.repositories[NAME], hub.answer

    def meanwhile(method: str, path: str, *rest):
        if re.search("/preupload/", path) and len(there.commits) == 2:
            there.commit({**there.files(), "theirs": b"x"})    # between our look and our commit
        return answer(method, path, *rest)

    hub.answer = meanwhile
    with pytest.raises(SmolkitError, match=r"SK496(.|\n)*somebody else pushed"):
        push(files={"meta/info.json": b"ours"}, update=True)
    assert there.files()["theirs"] == b"x" and there.files()["meta/info.json"] == b"{}"

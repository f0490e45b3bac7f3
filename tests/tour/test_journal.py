import json

import pytest

from smolkit.report import SmolkitError
from smolkit.tour.journal import Journal
from smolkit.tour.settings import TourSettings, quick


def test_a_finished_stage_is_not_run_again(tmp_path):
    folder = tmp_path / "tour"
    first = Journal.open(folder, TourSettings()).stage("check", lambda: {"ok": False, "servos": 6})
    again = Journal.open(folder, TourSettings()).stage("check", lambda: pytest.fail("ran twice"))
    assert first == again == {"ok": False, "servos": 6}
    assert Journal.open(folder, TourSettings()).stages()[0]["ok"] is False


def test_an_interrupted_stage_runs_again_and_its_time_is_not_lost(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    journal = Journal.open(tmp_path / "tour", TourSettings())
    with pytest.raises(KeyboardInterrupt):
        journal.stage("record", interrupted)
    (tmp_path / "tour" / ".record.seconds").write_text("100.0")
    journal = Journal.open(tmp_path / "tour", TourSettings())
    journal.stage("record", dict)
    assert journal.stages()[0]["seconds"] >= 100


def test_what_a_full_disk_cut_off_does_not_stop_the_next_sitting(tmp_path):
    folder = tmp_path / "tour"
    folder.mkdir()
    (folder / "draft.tmp").write_text("{")                             # the journal's first write failed
    journal = Journal.open(folder, TourSettings())
    (folder / ".record.seconds").write_text("")                        # and later the note of the time
    journal.stage("record", dict)
    assert 0 <= journal.stages()[0]["seconds"] < 10


def test_another_number_of_cores_continues_the_same_tour(tmp_path):
    Journal.open(tmp_path / "tour", TourSettings(workers=2)).stage("check", dict)
    assert Journal.open(tmp_path / "tour", TourSettings(workers=7)).done("check")


def test_other_settings_and_finished_tours_are_moved_aside(tmp_path):
    folder = tmp_path / "tour"
    Journal.open(folder, TourSettings()).stage("report", lambda: {"mark": 1})
    assert Journal.open(folder, TourSettings(), keep_finished=True).result("report") == {"mark": 1}
    assert not Journal.open(folder, TourSettings()).done("report")
    assert not Journal.open(folder, quick()).done("report")
    kept = json.loads((tmp_path / "tour-before-1" / "tour.json").read_text())
    assert kept["stages"]["report"]["result"] == {"mark": 1}
    assert (tmp_path / "tour-before-2").exists()


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SmolkitError, match="SK803"):
        Journal.open(tmp_path, TourSettings())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_mangled_journal_starts_a_new_tour_and_keeps_the_old_folder(tmp_path):
    folder = tmp_path / "tour"
    folder.mkdir()
    (folder / "tour.json").write_text("{half a jour")
    assert Journal.open(folder, TourSettings()).stages() == []
    assert (tmp_path / "tour-before-1" / "tour.json").read_text() == "{half a jour"

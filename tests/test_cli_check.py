"""`smolkit check`: what it says, what it writes, and exit codes that mean what they say."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from smolkit.cli import app
from smolkit.report import Check, Report
from smolkit.smolvla.checkpoint import save_checkpoint
from smolkit.smolvla.fake import tiny_policy
from smolkit.smolvla.sick import plant
from tests.smolvla.make_listener import LISTENER


def run(*arguments) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_healthy_policy_ends_with_0_and_a_report_for_programs(tmp_path):
    status, said = run("check", "policy", LISTENER, "--json", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert status == 0 and "all green" in said and str(LISTENER.parent) not in said
    assert report["ok"] is True
    again = Report(report["title"], tuple(Check(**check) for check in report["checks"]))
    assert again.as_dict() == report and len(again.checks) > 12


def test_a_sick_one_ends_with_1_a_cause_and_a_next_step(tmp_path):
    status, said = run("check", "policy", plant("dead normaliser", LISTENER, tmp_path / "sick"))
    assert status == 1 and "✗ SK574 normaliser alive" in said and "likely cause" in said and "next: " in said
    assert "1 of " in said


def test_an_unreadable_one_ends_with_2(tmp_path):
    for folder in (tmp_path / "nowhere", plant("cut off", LISTENER, tmp_path / "sick")):
        status, said = run("check", "policy", folder)
        assert status == 2 and "SK5" in said and "Traceback" not in said


def test_a_refusal_while_asking_ends_with_1(tmp_path):
    folder = save_checkpoint(tmp_path / "policy", tiny_policy())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "resize_imgs_with_padding": [40, 40]}))
    status, said = run("check", "policy", folder, "--json", tmp_path / "report.json")
    assert status == 1 and "SK503" in said
    assert json.loads((tmp_path / "report.json").read_text())["checks"][-1]["code"] == "SK503"


def test_what_nobody_foresaw_ends_with_2_and_says_so(tmp_path):
    status, said = run("check", "policy", "a" * 300, "--json", tmp_path / "report.json")        # no file system's name
    assert status == 2 and "SK5" in said and "aaa" in said and "Traceback" not in said
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["ok"] is False


def test_a_report_that_cannot_be_written_ends_with_2(tmp_path):
    status, said = run("check", "policy", LISTENER, "--json", tmp_path / "nowhere" / "report.json")
    assert status == 2 and "SK589" in said and "nowhere" in said


def test_an_older_green_report_does_not_outlive_an_unreadable_policy(tmp_path):
    file = tmp_path / "report.json"
    file.write_text('{"ok": true}', encoding="utf-8")
    status, _ = run("check", "policy", plant("cut off", LISTENER, tmp_path / "sick"), "--json", file)
    report = json.loads(file.read_text(encoding="utf-8"))
    assert status == 2 and report["ok"] is False and report["error"]["code"] == "SK510" and report["checks"] == []

"""`smolkit check`: what it says, what it writes, and exit codes that mean what they say."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from smolkit.cli import app
from smolkit.report import Check, Report
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

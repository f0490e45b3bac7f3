import subprocess
import sys

import pytest


def smolkit(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "smolkit", *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("arguments", "status", "text"), [
    (("doctor", "/dev/no-such-port"), 1, "SK102"),
    (("tuor",), 2, "No such command"),
    (("doctor", "/dev/x", "--calibration", "nowhere.json"), 2, "SK120"),
    (("--help",), 0, "tour"),
])
def test_exit_codes_mean_what_they_say(arguments, status, text):
    done = smolkit(*arguments)
    assert done.returncode == status and text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_tour_does_not_move_into_somebody_elses_folder(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    done = smolkit("tour", "--out", str(tmp_path))
    assert done.returncode == 2 and "SK803" in done.stderr

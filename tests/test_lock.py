"""A file's lock is one person's at a time, ends with its process, and says who holds it."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys

import pytest

from smolkit.arm.port import SafePort
from smolkit.data.claim import Claim
from smolkit.lock import locked, owner, signed
from smolkit.report import SmolkitError

HOLDER = """
import sys, time
from pathlib import Path
from smolkit.lock import locked, signed
file = signed(locked(Path(sys.argv[1])))
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "door.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert locked(path) is None and owner(path) == str(other.pid)
        other.kill()
    with locked(path) as file:
        assert owner(path) == str(other.pid) and signed(file) is file
        assert owner(path) == str(os.getpid())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_followed_nowhere(tmp_path):
    (tmp_path / "link.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="link"):
        locked(tmp_path / "link.lock")
    assert not (tmp_path / "precious").exists()


def test_a_drive_without_locks_is_told_and_lets_nobody_in(tmp_path, monkeypatch):
    """A network drive, as the system tells of it."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(95, "Operation not supported")))
    with pytest.raises(SmolkitError, match=r"(?s)SK407.*without file locks"):
        Claim(tmp_path)
    with pytest.raises(SmolkitError, match="SK102"):
        SafePort("/dev/pts/no-such-port").setupPort(1_000_000)

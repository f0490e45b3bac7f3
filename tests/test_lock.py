"""A file's lock is one person's at a time, ends with its process, and says who holds it."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from smolkit.arm.port import SafePort, claim
from smolkit.data.claim import Claim
from smolkit.lock import locked, owner, signed
from smolkit.report import SmolkitError
from smolkit.session import shared_folder

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


@pytest.mark.fault(28)
def test_a_ports_lock_is_out_of_other_users_reach_and_one_for_all_sessions(monkeypatch, tmp_path):
    name, plain = f"/dev/ttyTEST{os.getpid()}", f"dev-ttyTEST{os.getpid()}"
    victim = tmp_path / "work.txt"
    victim.write_text("three weeks of it")
    trap = Path(tempfile.gettempdir(), f"smolkit-{os.getuid()}-{plain}.lock")
    trap.symlink_to(victim)                        # anybody may lay one in /tmp
    try:
        with claim(name):
            assert [path.name for path in shared_folder().glob(f"*{plain}*")] == [f"port-{plain}.lock"]
            monkeypatch.setenv("SMOLKIT_SESSIONS", str(tmp_path))
            with pytest.raises(SmolkitError, match=f"(?s)SK103.*process {os.getpid()}"):
                claim(name)
        assert victim.read_text() == "three weeks of it"
    finally:
        trap.unlink()


def test_a_drive_without_locks_is_told_and_lets_nobody_in(tmp_path, monkeypatch):
    """A network drive, as the system tells of it."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(95, "Operation not supported")))
    with pytest.raises(SmolkitError, match=r"(?s)SK407.*without file locks"):
        Claim(tmp_path)
    with pytest.raises(SmolkitError, match="SK102"):
        SafePort("/dev/pts/no-such-port").setupPort(1_000_000)

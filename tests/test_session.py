"""Session files: private, inside their folder, one server a name, and nothing left by a killed process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smolkit import session
from smolkit.report import SmolkitError
from smolkit.session import Claim, Endpoint, running
from tests.paths import REPO

ADDRESS = "tcp://127.0.0.1:5555"
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows keeps LOCALAPPDATA private by itself")
HOLD = f"""
import time
from smolkit.session import Claim
claim = Claim("arm")
claim.publish("{ADDRESS}")
print(1, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SMOLKIT_SESSIONS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    return tmp_path / "smolkit"


def other_process() -> subprocess.Popen:
    """Another process that serves "arm"."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], cwd=REPO, stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"1"
    return process


@POSIX
def test_only_the_user_can_read_the_secret(folder):
    old = os.umask(0)
    try:
        with Claim("arm") as claim:
            endpoint = claim.publish(ADDRESS)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and len(modes) == 2 and set(modes.values()) == {0o600}
    assert len(endpoint.secret) == 64 and endpoint.secret not in repr(endpoint)


@POSIX
@pytest.mark.parametrize("spoil", [
    lambda folder: folder.mkdir(mode=0o755), lambda folder: folder.write_text("a file"),
    lambda folder: folder.symlink_to(folder.parent, target_is_directory=True),
    lambda folder: folder.symlink_to(folder.parent / "nowhere")])
def test_a_folder_that_others_might_enter_is_refused(folder, spoil):
    spoil(folder)
    with pytest.raises(SmolkitError, match="SK810"):
        Claim("arm")
    assert not any(endpoint.name == "arm" for endpoint in running())


@POSIX
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder_is_refused(folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(SmolkitError, match="SK810"):
        Claim("arm")


@POSIX
def test_without_a_runtime_folder_each_user_has_one_among_the_temporary(monkeypatch, tmp_path):
    monkeypatch.delenv("SMOLKIT_SESSIONS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(session.tempfile, "gettempdir", lambda: str(tmp_path))
    assert list(session._folders())[-1] == tmp_path / f"smolkit-{os.getuid()}"


@POSIX
def test_a_server_is_found_whoever_set_the_runtime_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(session.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("SMOLKIT_SESSIONS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "not there"))
    with Claim("a service's arm") as claim:
        endpoint = claim.publish(ADDRESS)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert Endpoint.load("a service's arm") == endpoint


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=300) | st.sampled_from(["../../etc/passwd", "/dev/ttyACM0", "COM3", "..", "", "a\0b"]))
def test_any_name_stays_inside_the_folder(folder, name):
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    with Claim(name) as claim:
        endpoint = claim.publish(ADDRESS)
        assert Endpoint.load(name) == endpoint
        assert claim._path.parent == folder and claim._path.exists()
    assert not list(folder.glob("*.json"))


def test_names_that_look_alike_are_two():
    with Claim("a/b"), Claim("a-b"):
        pass


def test_the_second_of_a_name_is_told_the_first_ones_process():
    with Claim("arm") as claim:
        claim.publish(ADDRESS)
        with pytest.raises(SmolkitError, match="SK812") as error:
            Claim("arm")
    assert str(os.getpid()) in error.value.found
    Claim("arm").release()


def test_another_process_holds_its_name_until_it_is_killed():
    with other_process() as process:
        try:
            assert Endpoint.load("arm").pid == process.pid
            with pytest.raises(SmolkitError, match=str(process.pid)):
                Claim("arm")
        finally:
            process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    with pytest.raises(SmolkitError, match="SK811"):
        Endpoint.load("arm")                             # its file is still there
    with Claim("arm") as claim:
        assert claim.publish(ADDRESS).alive


@pytest.mark.fault(23)
@pytest.mark.parametrize("lost", ["*", "*.json", "*.lock"])
def test_what_was_wiped_away_is_published_again_and_stays_locked(folder, lost):
    with Claim("arm") as claim:
        endpoint = claim.publish(ADDRESS)
        for file in folder.glob(lost):
            file.unlink()
        assert not endpoint.alive
        claim.renew()
        claim.renew()
        assert endpoint.alive and Endpoint.load("arm") == endpoint
        with pytest.raises(SmolkitError, match="SK812"):
            Claim("arm")
        modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        assert os.name == "nt" or modes == {0o600}
    claim.renew()
    assert not endpoint.alive and not list(folder.glob("*.json"))


@POSIX
@pytest.mark.fault(23)
def test_a_server_outlives_its_users_runtime_folder(folder, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr(session.tempfile, "gettempdir", lambda: str(elsewhere))
    with Claim("arm") as claim:
        endpoint = claim.publish(ADDRESS)
        shutil.rmtree(folder)
        folder.symlink_to(elsewhere)                     # no place for secrets
        claim.renew()
        assert not endpoint.alive and not list(elsewhere.iterdir())
        folder.unlink()
        shutil.rmtree(folder.parent)                     # the logout
        claim.renew()
        assert endpoint.alive


@pytest.mark.fault(23)
def test_a_server_that_waits_its_turn_publishes_nothing_over_another(folder):
    with Claim("arm") as claim:
        endpoint = claim.publish(ADDRESS)
        shutil.rmtree(folder)
        with other_process() as process:
            try:
                claim.renew()
                assert Endpoint.load("arm").pid == process.pid and not endpoint.alive
            finally:
                process.kill()
        claim.renew()
        assert endpoint.alive


@POSIX
@pytest.mark.fault(28)
def test_the_users_folder_is_one_for_all_of_the_users_programs(monkeypatch, tmp_path):
    monkeypatch.setattr(session.tempfile, "gettempdir", lambda: str(tmp_path))
    seen = {session.shared_folder()}
    for name in ("SMOLKIT_SESSIONS", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
        seen.add(session.shared_folder())
    assert seen == {tmp_path / f"smolkit-{os.getuid()}"}
    (found := seen.pop()).chmod(0o755)
    with pytest.raises(SmolkitError, match="SK810"):
        session.shared_folder()
    found.chmod(0o700)


def test_a_new_server_of_the_name_is_another_endpoint():
    with Claim("arm") as claim:
        old = claim.publish(ADDRESS)
    with Claim("arm") as claim:
        new = claim.publish(ADDRESS)
        assert new.alive and not old.alive and old.secret != new.secret


@pytest.mark.parametrize("change", [
    {"address": "tcp://10.0.0.1:5555"}, {"address": "ipc:///tmp/x"}, {"secret": "short"}, {"pid": "x"}, {"more": 1}])
def test_a_damaged_session_file_is_no_server(folder, change):
    with Claim("arm") as claim:
        claim.publish(ADDRESS)
        file = next(folder.glob("*.json"))
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        assert not running() or all(endpoint.name != "arm" for endpoint in running())
        file.write_text("{")
        with pytest.raises(SmolkitError, match="SK811"):
            Endpoint.load("arm")

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.paths import REPO

# A program of its own: it tells its workers' numbers and then works on, until somebody kills it.
PARENT = """
import os, sys, time
from smolkit.evaluation.parallel import ordered_map

def wait(item):
    time.sleep(0.2)
    return os.getpid(), "torch" in sys.modules, os.environ["OMP_NUM_THREADS"]

if __name__ == "__main__":
    for _, told in ordered_map(wait, range(1000), workers=2):
        print(*told, flush=True)
"""


def program(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    return subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(REPO)})


def alive(pid: int) -> bool:
    """A process that ended but that nobody has asked about yet (a zombie) is not alive."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip() [:1] not in ("", "Z")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals and ps")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_a_killed_parent(tmp_path, how):
    with program(tmp_path) as parent:
        workers = {int(parent.stdout.readline().split()[0]) for _ in range(6)}
        assert all(alive(pid) for pid in workers)
        parent.send_signal(how)
    patience_s, begin_s = 20, time.monotonic()
    while any(alive(pid) for pid in workers) and time.monotonic() - begin_s < patience_s:
        time.sleep(0.05)
    left = [pid for pid in workers if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def test_workers_have_one_thread_and_no_torch_unless_their_work_needs_it(tmp_path):
    with program(tmp_path) as parent:
        told = parent.stdout.readline().split()[1:]
        parent.kill()
    assert told == ["False", "1"]

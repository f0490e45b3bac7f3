"""Makes `.venv` and installs smolkit into it, once: later calls see the stamp and cost nothing.

    python3 -m scripts.bootstrap          # on Windows: py -m scripts.bootstrap

PyTorch comes first, alone: it is the largest download and the one whose index you may want to choose
(TORCH_INDEX=https://download.pytorch.org/whl/cpu). Standard library only; see scripts/system.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from scripts import system

REPO = Path(__file__).resolve().parents[1]
VENV = REPO / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP, LOG = VENV / "smolkit-installed", VENV / "smolkit-install.log"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def stop(line: str) -> None:
    """Ends with exactly one line: what is missing, and the command that brings it."""
    raise SystemExit(f"smolkit: {line}")


def say(line: str) -> None:
    print(f"smolkit: {line}", flush=True)


def ensure() -> Path:
    """The environment's Python, after installing whatever is not there yet."""
    python = _right_python()
    check_system_libraries()
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == fingerprint() and _runs(PYTHON):
        return PYTHON
    started_s = time.monotonic()
    _make_venv(python)
    _pip("2/3", "PyTorch: up to 200 MB (2.5 GB with an NVIDIA card), 1 to 5 minutes",
         ["-c", "constraints.txt", *_torch_index(), "torch"])
    _pip("3/3", "smolkit and its libraries: about 400 MB, 1 to 4 minutes",
         ["-c", "constraints.txt", "-e", ".[lab,dev]"])
    STAMP.write_text(fingerprint(), encoding="utf-8")
    say(f"installed in {time.monotonic() - started_s:.0f} s")
    return PYTHON


def fingerprint() -> str:
    """Changes when an installation would: dependencies, pins, the place, the index."""
    project = (REPO / "pyproject.toml").read_text(encoding="utf-8").split("[tool.pytest", 1)[0]
    pins = (REPO / "constraints.txt").read_text(encoding="utf-8")
    parts = (project, pins, str(REPO), os.environ.get("TORCH_INDEX", ""))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def check_system_libraries() -> None:
    """Stops, with one line, where nothing can draw and you can mend it; goes on with a warning otherwise.

    OpenCV's libraries alone never stop anybody: only USB cameras need them. SMOLKIT_RENDERER=software says
    that you want to go on without GL.
    """
    needs = system.missing_libraries()
    if not needs:
        return
    command = system.install_command(needs)
    if system.RENDERING in needs and system.can_become_root():
        stop(f"no system library for {' and '.join(needs)}: {command}   "
             "(or go on without: SMOLKIT_RENDERER=software)")
    losses = {system.RENDERING: "pictures come from the slow software renderer",
              system.OPENCV: "USB cameras will not open"}
    say(f"WARNING {' and '.join(losses[need] for need in needs)}; what would mend it: {command}")
    if system.RENDERING in needs:
        os.environ["SMOLKIT_RENDERER"] = "software"


def _right_python() -> str:
    python = system.find_python()
    if python is None:
        found = ".".join(str(part) for part in sys.version_info[:3])
        stop(f"Python 3.11, 3.12 or 3.13 is needed, this is {found}: {system.install_command(['python'])}")
    if subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True).returncode:
        stop(f"Python's venv module is missing: {system.install_command(['venv'])}")
    return python


def _runs(python: Path) -> bool:
    """False for an environment whose Python was moved, upgraded away or is of the wrong age."""
    code = f"import sys; sys.exit(not {system.PYTHON_MIN} <= sys.version_info[:2] < {system.PYTHON_END})"
    if not os.path.isfile(python):              # also False where we may not look
        return False
    return subprocess.run([str(python), "-c", code], capture_output=True).returncode == 0


def _make_venv(python: str) -> None:
    if _runs(PYTHON):
        return
    say("1/3 a Python environment in .venv (10 s)")
    done = subprocess.run([python, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
    if done.returncode:
        stop(f"no environment in .venv ({_last_line(done.stdout + done.stderr)}): "
             "may you write into this folder, and is the disk full?")


def _pip(step: str, what: str, arguments: list) -> None:
    """Runs pip quietly: one line of what happens and, on a terminal, pip's latest line below it."""
    say(f"{step} {what}")
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
               "--progress-bar", "off", *arguments]
    with open(LOG, "a", encoding="utf-8") as log, subprocess.Popen(
            command, cwd=REPO, text=True, errors="replace", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT) as pip:
        for line in pip.stdout:
            log.write(line)
            _show(line.strip())
    _show("")
    if pip.returncode:
        stop(f"{_cause(LOG.read_text(encoding='utf-8'))} (everything pip said: {LOG.relative_to(REPO)})")


def _show(line: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\033[K{line[:100]}", end="", flush=True)


def _cause(log: str) -> str:
    """The likeliest cause of a failed installation and what to do, in one line."""
    tail = log[-8000:]
    if "No space left" in tail:
        return "the disk is full: free 6 GB and run the same command again"
    if re.search(r"NewConnectionError|NameResolutionError|Temporary failure|timed out", tail):
        return "no connection to the package index: check the network (or PIP_INDEX_URL), run it again"
    errors = [line for line in tail.splitlines() if line.startswith("ERROR")]
    return f"pip failed: {(errors or [_last_line(tail)])[0]}; run the same command again"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def _torch_index() -> list:
    """TORCH_INDEX, or PyTorch's CPU index on a Linux without an NVIDIA card, where that can be reached.

    PyPI's PyTorch for Linux brings 2.5 GB of CUDA libraries that such a computer cannot use.
    """
    index = os.environ.get("TORCH_INDEX", "auto")
    if index == "auto":
        without_gpu = sys.platform.startswith("linux") and not Path("/dev/nvidiactl").exists()
        index = CPU_INDEX if without_gpu and _reachable(CPU_INDEX) else ""
    return ["--extra-index-url", index] if index else []


def _reachable(url: str) -> bool:
    """Asked first, since pip would try an unreachable index again and again for each package."""
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url}/torch/", timeout=5) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    ensure()

"""Set before anything heavy is imported: no network, one thread a worker, no window."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

# A shell's background job (`make test &`) begins with Ctrl-C ignored, and so would every process tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The suite runs in parallel processes: threads on top of them would only fight for the cores.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())       # where `tmp_path` lies, and stays
OURS = tempfile.TemporaryDirectory(prefix="smolkit-tests-", ignore_cleanup_errors=True)
os.environ["SMOLKIT_SESSIONS"] = OURS.name           # no test meets a bench in use, or stops its arm
os.environ["TMPDIR"] = os.environ["TEMP"] = os.environ["TMP"] = tempfile.tempdir = OURS.name     # what is left, goes
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

from hypothesis import settings  # noqa: E402

from tests.hub_server import Hub, serve  # noqa: E402
from tests.paths import REPO  # noqa: E402

# The same examples every time, and no deadline: a slow machine is not a wrong program.
settings.register_profile("smolkit", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("smolkit")

OPEN = ("prediction =", "diagnosis =", "found =", "my_file =", "my_dataset =")       # what a learner fills in


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A Hugging Face Hub on this computer, and nothing else to talk to."""
    with serve(tmp_path / "hub-cache") as there:
        yield there


@pytest.fixture(scope="module")
def solutions(request: pytest.FixtureRequest) -> ModuleType:
    """The course's solutions of the test module's LESSON, as "camera_setup_02"."""
    name = request.module.LESSON
    spec = importlib.util.spec_from_file_location(name, REPO / "course" / "solutions" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stubs(request: pytest.FixtureRequest) -> dict:
    """The exercise cells of that lesson's notebook, run as a learner finds them."""
    import numpy
    name, number = request.module.LESSON.rsplit("_", 1)
    cells = json.loads((REPO / "notebooks" / f"{number}_{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    space: dict = {"np": numpy}
    for source in ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"):
        if source.startswith(OPEN) and "None" in source or "    return None" in source:
            exec(compile(source, "cell", "exec"), space)
    return space

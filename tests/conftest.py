"""Set before anything heavy is imported: no network, one thread a worker, no window."""

from __future__ import annotations

import os
import signal
import tempfile

# A shell's background job (`make test &`) begins with Ctrl-C ignored, and so would every process tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The suite runs in parallel processes: threads on top of them would only fight for the cores.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
SESSIONS = tempfile.TemporaryDirectory(prefix="smolkit-tests-")
os.environ["SMOLKIT_SESSIONS"] = SESSIONS.name       # no test meets a bench in use, or stops its arm
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

from hypothesis import settings  # noqa: E402

# The same examples every time, and no deadline: a slow machine is not a wrong program.
settings.register_profile("smolkit", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("smolkit")

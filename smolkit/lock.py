"""A lock on a file, between processes: it ends with its process, however that ends.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "door.lock")
    >>> with locked(path) as file:
    ...     print(locked(path))
    None
    >>> locked(path).close()                               # free again

The operating system keeps it: what a killed process leaves behind locks nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

try:
    import fcntl
except ImportError:                                # Windows
    fcntl = None
    import msvcrt

FAR = 1 << 20                                      # Windows locks bytes against readers, too: one behind the text


def locked(path: Path) -> TextIOWrapper | None:
    """The file, open and locked until it is closed, or None where somebody else has the lock.

    Errors: OSError where it cannot be opened, or lies on a drive that knows no locks.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)   # /tmp is everybody's
    file = os.fdopen(handle, "r+", encoding="ascii", errors="replace")
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
    except (BlockingIOError, PermissionError):     # Linux, macOS; Windows
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file


def still_there(file: TextIOWrapper, path: Path) -> bool:
    """Is the locked file the one that others find under its name, or was that removed or replaced?"""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


def owner(path: Path) -> str:
    """The process id that the holder of a lock `signed` it with; "unknown" where there is none."""
    with suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").strip() or "unknown"
    return "unknown"


def signed(file: TextIOWrapper) -> TextIOWrapper:
    """Writes this process's id into a locked file, for those who find it locked."""
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file

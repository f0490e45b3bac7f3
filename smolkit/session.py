"""Who serves what on this computer: session files that only their user can read, and one server a name.

    >>> with Claim("doctest session") as claim:
    ...     endpoint = claim.publish("tcp://127.0.0.1:5555")
    ...     Endpoint.load("doctest session") == endpoint, endpoint.alive
    (True, True)
    >>> endpoint.alive
    False

A claim is a lock of the operating system: it ends with its process, however that ends, so a file that a
killed process left behind is never taken for a server. Files lie in a private folder of the user
(XDG_RUNTIME_DIR/smolkit, else the temporary folder's smolkit-UID; %LOCALAPPDATA%\\smolkit on Windows):
several people on one computer do not meet.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from smolkit.lock import locked, still_there
from smolkit.report import SmolkitError

SOUND = re.compile(r"tcp://127\.0\.0\.1:\d{1,5} [0-9a-f]{64} \d{1,9}")
TRIES, PAUSE_S = 10, 0.02                          # who looks whether we live holds our lock for a moment


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens and what its messages are signed with; its session file says the same."""

    name: str
    address: str                                   # tcp://127.0.0.1:PORT
    secret: str = field(repr=False)                # 32 random bytes in hex; never shown
    pid: int

    @staticmethod
    def load(name: str) -> Endpoint:
        """The running server of that name; raises SK811 where none runs."""
        for endpoint in running():
            if endpoint.name == name:
                return endpoint
        raise SmolkitError("SK811", f"a running server named {name!r}", "none of this user's",
                           "it was never started here, it has ended, or another user started it",
                           "start it again, as the same user")

    @property
    def alive(self) -> bool:
        """Whether the process that wrote this endpoint still serves it."""
        return self in running()


def running() -> tuple[Endpoint, ...]:
    """All servers of this user that are alive; files that a killed process left are passed over."""
    files = [path for folder in _folders() if _ours(folder) for path in sorted(folder.glob("session-*.json"))]
    return tuple(endpoint for path in files if (endpoint := _read(path)) and _held(path.with_suffix(".lock")))


def _folders() -> Iterator[Path]:
    """Where session files may lie, best first: a service and a terminal often disagree about the first.

    SMOLKIT_SESSIONS names the only one, so that a test that stops all arms stops none of a real bench's.
    """
    if alone := os.environ.get("SMOLKIT_SESSIONS"):
        yield Path(alone)
        return
    if os.name == "nt":
        yield Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "smolkit"
        return
    for runtime in dict.fromkeys((os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{os.getuid()}")):
        if runtime and os.path.isdir(runtime) and os.stat(runtime).st_uid == os.getuid():
            yield Path(runtime) / "smolkit"
    yield _temporary()


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"smolkit-{os.getuid()}"


def shared_folder() -> Path:
    """A private folder that all programs of this user agree on, whatever their environment says (not on Windows)."""
    return _private(_temporary())


def _ours(folder: Path) -> bool:
    """True for a real folder of this user that nobody else may enter."""
    if os.name == "nt":                            # %LOCALAPPDATA% is private by itself
        return folder.is_dir()
    status = os.lstat(folder) if os.path.lexists(folder) else None
    return status is not None and status.st_uid == os.getuid() and status.st_mode & 0o170077 == 0o040000


def _private(folder: Path) -> Path:
    """The folder, made where it is missing; raises SK810 where others might enter it."""
    try:
        folder.mkdir(mode=0o700, parents=os.name == "nt", exist_ok=True)
        found = "a link, somebody else's, or open to others"
    except OSError as error:
        found = f"{type(error).__name__}: {error}"
    if not _ours(folder):
        raise SmolkitError("SK810", f"a private folder of yours at {folder}", found,
                           "another user made it first, or its permissions were changed",
                           f"remove it, or run: chmod 700 {folder}")
    return folder


def _read(path: Path) -> Endpoint | None:
    """The endpoint in a session file; None where it is gone or is none."""
    try:
        endpoint = Endpoint(**json.loads(path.read_text(encoding="utf-8")))
        return endpoint if SOUND.fullmatch(f"{endpoint.address} {endpoint.secret} {endpoint.pid}") else None
    except (OSError, ValueError, TypeError):
        return None


class Claim:
    """The right to serve under a name, until `release` or the process's end; SK812 names who has it already."""

    def __init__(self, name: str):
        self.name = name
        # Inside the folder whatever the name holds; the digest keeps a/b and a-b apart.
        plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        self._endpoint: Endpoint | None = None
        self._path = _private(next(_folders())) / f"session-{plain}-{digest}.json"
        for _ in range(TRIES):
            self._lock = locked(self._path.with_suffix(".lock"))
            if self._lock is not None:
                return
            time.sleep(PAUSE_S)
        owner = _read(self._path)
        raise SmolkitError("SK812", f"nobody else serving {name!r}",
                           f"process {owner.pid} does" if owner else "a process that is just starting does",
                           "another notebook, terminal or program holds the same arm",
                           "use that one, or end it (in Jupyter: Kernel > Shut Down), then try again")

    def publish(self, address: str) -> Endpoint:
        """Draws the secret and writes the session file, all or nothing."""
        self._endpoint = Endpoint(self.name, address, secrets.token_hex(32), os.getpid())
        self._write()
        return self._endpoint

    def _write(self) -> None:
        draft = self._path.with_suffix(".part")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(self._endpoint), file)
        os.replace(draft, self._path)

    def renew(self) -> None:
        """Publishes the same again where it is gone: a logout empties the runtime folder, and servers live on."""
        if self._lock is None or self._endpoint is None:
            return
        with suppress(OSError, SmolkitError):      # no place for it now: the next time, perhaps
            if (locks := still_there(self._lock, self._path.with_suffix(".lock"))) and self._path.exists():
                return
            if not locks:
                path = _private(next(_folders())) / self._path.name
                if (lock := locked(path.with_suffix(".lock"))) is None:
                    return                         # somebody looks whether we live, or tries to serve this name
                self._lock.close()
                self._lock, self._path = lock, path
            self._write()

    def release(self) -> None:
        """Removes the session file and frees the name; releasing twice is fine."""
        if self._lock is not None:
            self._path.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _held(path: Path) -> bool:
    with suppress(OSError):                        # the folder vanished meanwhile
        if (file := locked(path)) is None:
            return True
        file.close()
    return False

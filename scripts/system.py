"""What the computer itself must bring: a Python of the right age and, for pictures, a GL library.

Everything that is missing is named with the command that installs it. Standard library only, and old
syntax, because it runs before anything is installed and perhaps on a Python that is too old.

Which packages: MuJoCo draws without a screen through EGL (Mesa's software driver is enough) or OSMesa;
opencv-python's wheel links libGL and GLib (ldd of 5.0.0, Debian 12).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys

PYTHON_MIN, PYTHON_END = (3, 11), (3, 14)       # requires-python in pyproject.toml; a test holds them equal
RENDERING, OPENCV = "rendering without a screen", "OpenCV, for USB cameras"

# manager -> (install command, package for each need); {python} becomes "python3.12"
MANAGERS = {
    "apt-get": ("apt-get install -y", {RENDERING: "libegl1 libgl1-mesa-dri", OPENCV: "libgl1 libglib2.0-0",
                                       "venv": "{python}-venv", "python": "{python} {python}-venv"}),
    "dnf": ("dnf install -y", {RENDERING: "mesa-libEGL mesa-dri-drivers", OPENCV: "mesa-libGL glib2",
                               "venv": "python3", "python": "python3.12"}),
    "pacman": ("pacman -S --noconfirm", {RENDERING: "libglvnd mesa", OPENCV: "libglvnd glib2",
                                         "venv": "python", "python": "python"}),
    "zypper": ("zypper install -y", {RENDERING: "Mesa-libEGL1 Mesa-dri", OPENCV: "Mesa-libGL1 libglib-2_0-0",
                                     "venv": "python312", "python": "python312"}),
    "brew": ("brew install", {"venv": "python@3.12", "python": "python@3.12"}),
    "winget": ("winget install", {"venv": "Python.Python.3.12", "python": "Python.Python.3.12"}),
}


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def can_become_root() -> bool:
    """Root already, or a member of a group that sudo trusts."""
    if is_root():
        return True
    if not shutil.which("sudo") or not hasattr(os, "getgroups"):
        return False
    import grp  # not on Windows

    names = {entry.gr_name for entry in grp.getgrall() if entry.gr_gid in os.getgroups()}
    return bool(names & {"sudo", "wheel", "admin"})


def install_command(needs: list) -> str:
    """The one command that installs what is missing: `sudo apt-get install -y libegl1 ...`."""
    python = _packaged_python() if "python" in needs else f"python3.{sys.version_info[1]}"
    for manager, (command, packages) in MANAGERS.items():
        if python and shutil.which(manager):
            names = " ".join(packages[need].format(python=python) for need in needs if need in packages)
            sudo = "" if is_root() or manager in ("brew", "winget") else "sudo "
            update = f"{sudo}apt-get update && " if manager == "apt-get" else ""
            return f"{update}{sudo}{command} {names}"
    if "python" in needs or "venv" in needs:
        return "conda env create -f environment.yml, or Python 3.12 from https://www.python.org/downloads/"
    return "install Mesa's EGL and GL libraries with your system's package manager"


def _packaged_python() -> str | None:
    """The newest right Python that this system's apt offers; elsewhere the name that is common there."""
    if not shutil.which("apt-cache"):
        return "python3.12"
    names = [f"python3.{minor}" for minor in range(PYTHON_END[1] - 1, PYTHON_MIN[1] - 1, -1)]
    shown = (subprocess.run(["apt-cache", "show", name + "-venv"], capture_output=True) for name in names)
    return next((name for name, done in zip(names, shown) if done.returncode == 0), None)


def supported(version: tuple) -> bool:
    return PYTHON_MIN <= tuple(version[:2]) < PYTHON_END


def find_python() -> str | None:
    """This Python when it is of the right age, or the newest right one on the PATH."""
    if supported(sys.version_info):
        return sys.executable
    for minor in range(PYTHON_END[1] - 1, PYTHON_MIN[1] - 1, -1):
        path = shutil.which(f"python3.{minor}")
        # pyenv leaves shims for versions that are not switched on: only one that runs counts.
        if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return path
    return None


def missing_libraries() -> list:
    """The needs of this computer that no library fills, in a fixed order; [] on macOS and Windows."""
    if not sys.platform.startswith("linux"):
        return []
    chosen = os.environ.get("SMOLKIT_RENDERER", "auto")
    needs = []
    if chosen != "software" and not (_egl_works() or loads("libOSMesa.so.8") or loads("libOSMesa.so")):
        needs.append(RENDERING)
    if not (loads("libGL.so.1") and loads("libgthread-2.0.so.0")):
        needs.append(OPENCV)
    return needs


def loads(library: str) -> bool:
    """True when the system's loader finds the library and all that it needs."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _egl_works() -> bool:
    """Asks EGL in a process of its own: a broken driver can end the process that asks."""
    if not loads("libEGL.so.1"):
        return False
    return subprocess.run([sys.executable, os.path.abspath(__file__), "probe-egl"],
                          capture_output=True, timeout=60).returncode == 0


def probe_egl() -> bool:
    """True when an EGL device can be initialised, found the way MuJoCo finds it (device platform)."""
    egl = ctypes.CDLL("libEGL.so.1")
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    addresses = [egl.eglGetProcAddress(name) for name in (b"eglQueryDevicesEXT", b"eglGetPlatformDisplayEXT")]
    if not all(addresses):
        return False
    pointer = ctypes.c_void_p
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, pointer, pointer)(addresses[0])
    display_of = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(addresses[1])
    devices, count = (pointer * 16)(), ctypes.c_int(0)
    if not query(16, devices, ctypes.byref(count)):
        return False
    egl.eglInitialize.argtypes = [pointer, pointer, pointer]
    platform_device = 0x313F                    # EGL_PLATFORM_DEVICE_EXT
    displays = [display_of(platform_device, device, None) for device in devices[:count.value]]
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


if __name__ == "__main__":
    if sys.argv[1:] == ["probe-egl"]:
        sys.exit(0 if probe_egl() else 1)
    _needs = missing_libraries()                # for .ci/run: the command, or nothing
    if _needs:
        print(install_command(_needs))

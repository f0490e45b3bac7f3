"""pyproject.toml, constraints.txt, environment.yml and scripts/ say the same, and stop in one line."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import bootstrap, system
from tests.paths import REPO

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [*PROJECT["dependencies"], *EXTRAS["lab"], *EXTRAS["dev"]]
PINS = [line for line in (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")]
VERSIONS = {canonicalize_name(name): version for name, version in (pin.split("==") for pin in PINS)}
OLDEST_SYNTAX = (3, 7)                          # scripts/ must get as far as saying that Python is too old


def run_target(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m scripts.run ...` with a changed environment."""
    return subprocess.run([sys.executable, "-m", "scripts.run", *arguments], cwd=REPO, text=True,
                          capture_output=True, env={**os.environ, **environment})


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer whose only package manager is apt, and whose apt knows every package."""
    for name in ("apt-get", "apt-cache"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_pytorch_is_pinned_first() -> None:
    assert PINS[0].startswith("torch==")


@pytest.mark.parametrize("line", DIRECT)
def test_each_direct_dependency_is_pinned_inside_its_range(line: str) -> None:
    requirement = Requirement(line)
    assert requirement.specifier.contains(VERSIONS[canonicalize_name(requirement.name)])


def test_conda_environment_is_in_step() -> None:
    dependencies = yaml.safe_load((REPO / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    *conda, pip = dependencies
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert pip["pip"] == ["-c constraints.txt", *DIRECT, "-e ."]


def test_scripts_know_the_same_python_versions() -> None:
    oldest, end = (".".join(map(str, v)) for v in (system.PYTHON_MIN, system.PYTHON_END))
    assert PROJECT["requires-python"] == f">={oldest},<{end}"


@pytest.mark.parametrize("name", ["__init__", "system", "bootstrap", "notebooks", "run"])
def test_installer_needs_nothing_installed(name: str) -> None:
    text = (REPO / "scripts" / f"{name}.py").read_text(encoding="utf-8")
    parsed = ast.parse(text, feature_version=OLDEST_SYNTAX)
    roots = {name.split(".")[0] for node in ast.walk(parsed) for name in _names(node)}
    assert roots <= {*sys.stdlib_module_names, "scripts"}


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("need", [system.RENDERING, system.OPENCV, "venv", "python"])
def test_what_is_missing_is_named_with_its_command(need: str, apt: None) -> None:
    packages = {system.RENDERING: "libegl1 libgl1-mesa-dri", system.OPENCV: "libgl1 libglib2.0-0",
                "venv": f"python3.{sys.version_info[1]}-venv", "python": "python3.13 python3.13-venv"}
    assert f"apt-get install -y {packages[need]}" in system.install_command([need])


def test_without_a_known_package_manager_there_is_still_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "python.org" in system.install_command(["python"])
    assert "EGL" in system.install_command([system.RENDERING])


def test_software_renderer_needs_no_gl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOLKIT_RENDERER", "software")
    assert system.RENDERING not in system.missing_libraries()


@pytest.fixture
def nothing_but(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str], bool], None]:
    """A computer that lacks these needs, and whose user may or may not become root."""
    def lack(needs: list[str], root: bool) -> None:
        monkeypatch.setenv("SMOLKIT_RENDERER", "auto")           # so that the test's end restores it
        monkeypatch.setattr(system, "missing_libraries", lambda: needs)
        monkeypatch.setattr(system, "can_become_root", lambda: root)
    return lack


@pytest.mark.parametrize("needs", [[system.RENDERING], [system.RENDERING, system.OPENCV]])
def test_who_can_mend_missing_pictures_is_stopped_in_one_line(
        needs: list[str], apt: None, nothing_but: Callable[[list[str], bool], None]) -> None:
    nothing_but(needs, True)
    with pytest.raises(SystemExit, match=r"^smolkit: no system library .* libegl1 [^\n]*$"):
        bootstrap.check_system_libraries()


@pytest.mark.parametrize(("needs", "root", "renderer", "warning"), [
    ([], True, "auto", ""),
    ([system.OPENCV], True, "auto", "USB cameras will not open"),
    ([system.OPENCV], False, "auto", "USB cameras will not open"),
    ([system.RENDERING], False, "software", "slow software renderer"),
    ([system.RENDERING, system.OPENCV], False, "software", "libegl1 libgl1-mesa-dri libgl1"),
])
def test_who_can_do_without_goes_on(needs: list[str], root: bool, renderer: str, warning: str, apt: None,
                                    nothing_but: Callable[[list[str], bool], None],
                                    capsys: pytest.CaptureFixture[str]) -> None:
    nothing_but(needs, root)
    bootstrap.check_system_libraries()
    told = capsys.readouterr().out
    assert os.environ["SMOLKIT_RENDERER"] == renderer
    assert (warning in told and "WARNING" in told) if warning else not told


def test_a_library_that_is_not_there_does_not_load() -> None:
    assert not system.loads("libsmolkit-there-is-no-such-library.so.1")


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 14, 0), (2, 7, 18)])
def test_wrong_python_is_refused(version: tuple[int, ...]) -> None:
    assert not system.supported(version)


def test_another_index_for_pytorch_is_another_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    before = bootstrap.fingerprint()
    monkeypatch.setenv("TORCH_INDEX", bootstrap.CPU_INDEX)
    assert bootstrap.fingerprint() != before


@pytest.mark.parametrize(("log", "cause"), [
    ("OSError: [Errno 28] No space left on device", "disk is full"),
    ("NameResolutionError: Failed to resolve 'pypi.org'", "no connection"),
    ("ERROR: No matching distribution found for torch", "No matching distribution"),
    ("", "no message"),
])
def test_a_failed_installation_names_its_cause_in_one_line(log: str, cause: str) -> None:
    assert cause in bootstrap._cause(log) and "\n" not in bootstrap._cause(log)


def test_unknown_target_stops_in_one_line() -> None:
    done = run_target("fly")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "tour" in done.stderr


def test_makefile_and_script_have_the_same_targets() -> None:
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    named = next(line for line in makefile.splitlines() if line.startswith("TARGETS")).split(":=")[1].split()
    listed = run_target("fly").stderr.split("there are: ")[1].strip().split(", ")
    assert named == listed

"""The rules that keep the code readable and safe; each failure names the file and the line."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.repository import at, package_files, tree, with_suffix
from tests.paths import REPO

MAX_LINES = 450
# A room imports only rooms before it. The base rooms share the first place: they know only each other.
BASE = ("report", "lock", "hub", "clock", "machine", "plotting", "page", "session", "messages")
ORDER = ("arm", "cameras", "sim", "safety", "teleop", "data", "smolvla", "training", "deploy",
         "evaluation", "widgets", "kit", "workshop", "lessons", "tour", "grade", "cli_teleop", "cli_check",
         "cli_edit", "cli_grade", "cli_share", "cli")
PLACE = {**dict.fromkeys(BASE, 0), **{room: 1 + i for i, room in enumerate(ORDER)}}
ENTRANCES = {"__init__", "__main__"}            # of the package: they open any room, and no room uses them
HEAVY = ("torch", "cv2", "mujoco", "transformers", "datasets", "pyarrow", "av", "matplotlib")
# What runs code out of data, or asks a question nobody answers in a notebook.
FORBIDDEN_CALLS = {"eval", "exec", "input", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "lerobot"}
FORBIDDEN_METHODS = {("torch", "load"), ("torch", "save")}        # both pickle; we keep safetensors
FORBIDDEN_KEYWORDS = {"trust_remote_code", "allow_pickle"}
FORBIDDEN_WORDS = ("TODO", "FIXME", "XXX", "NotImplementedError")


def room_of(path: Path) -> str:
    return path.relative_to(REPO / "smolkit").parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file imports, inside functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "smolkit":
            yield from ((node.lineno, f"smolkit.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            above = path.relative_to(REPO).parts[:-node.level]      # `from .joints`: the file's own room
            yield node.lineno, ".".join([*above, *filter(None, [node.module])])
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Module-level functions and the methods of module-level classes; not what is nested inside them."""
    for node in tree(path).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        yield from (m for m in members if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef))


def test_files_stay_small() -> None:
    lengths = {at(path): len(path.read_text(encoding="utf-8").splitlines()) for path in with_suffix(".py")}
    assert lengths and not {name: n for name, n in lengths.items() if n > MAX_LINES}


def test_rooms_import_only_rooms_before_them() -> None:
    wrong = []
    for path in package_files():
        room = room_of(path)
        if room in ENTRANCES:
            continue
        assert room in PLACE, f"{at(path)}: a room without a place in ORDER"
        for line, name in imported(path):
            parts = name.split(".")
            if parts[0] == "smolkit" and not _allowed(room, parts):
                wrong.append(f"{at(path, line)}: {room} imports {name}")
    assert not wrong, "\n".join(wrong)


def _allowed(room: str, parts: list[str]) -> bool:
    target = parts[1] if len(parts) > 1 else "?"
    return target == "__version__" or PLACE.get(target, 99) <= PLACE[room]


def test_room_order_catches_a_wrong_import() -> None:
    assert _allowed("kit", ["smolkit", "arm"]) and _allowed("arm", ["smolkit", "arm", "joints"])
    assert not _allowed("arm", ["smolkit", "smolvla"]) and not _allowed("data", ["smolkit", "Kit"])


def test_rooms_open_empty() -> None:
    """A room's `__init__` is at most a docstring: importing one module never drags in its neighbours."""
    for path in package_files():
        if path.name == "__init__.py" and path.parent != REPO / "smolkit":
            assert all(_is_text(node) or _is_future(node) for node in tree(path).body), at(path)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


@pytest.mark.parametrize("module", ["smolkit", *(f"smolkit.{room}" for room in (*BASE, "arm.joints"))])
def test_import_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_nothing_runs_code_out_of_data() -> None:
    wrong = []
    for path in package_files():
        wrong += [f"{at(path, line)}: imports {name}" for line, name in imported(path)
                  if name.split(".")[0] in FORBIDDEN_MODULES]
        wrong += [f"{at(path, node.lineno)}: {what}" for node in ast.walk(tree(path))
                  if isinstance(node, ast.Call) and (what := _forbidden(node))]
    assert not wrong, "\n".join(wrong)


def _forbidden(call: ast.Call) -> str:
    named = [word.arg for word in call.keywords if word.arg in FORBIDDEN_KEYWORDS]
    if named:
        return named[0]
    if isinstance(call.func, ast.Name) and call.func.id in FORBIDDEN_CALLS:
        return f"{call.func.id}("
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        name = (call.func.value.id, call.func.attr)
        return ".".join(name) if name in FORBIDDEN_METHODS else ""
    return ""


@pytest.mark.parametrize("line", ["eval('1')", "input()", "torch.load(p)", "f(trust_remote_code=True)"])
def test_forbidden_calls_are_seen(line: str) -> None:
    assert _forbidden(ast.parse(line).body[0].value)


def test_evaluation_mode_of_a_module_is_no_eval() -> None:
    assert not _forbidden(ast.parse("model.eval()").body[0].value)


def test_nothing_is_left_unfinished_or_swallowed() -> None:
    wrong = []
    for path in package_files():
        lines = path.read_text(encoding="utf-8").splitlines()
        wrong += [f"{at(path, i)}: {word}" for i, line in enumerate(lines, 1)
                  for word in FORBIDDEN_WORDS if word in line]
        wrong += [f"{at(path, node.lineno)}: an error is swallowed" for node in ast.walk(tree(path))
                  if isinstance(node, ast.ExceptHandler) and isinstance(node.body[0], ast.Pass)]
    assert not wrong, "\n".join(wrong)


def test_public_names_are_documented() -> None:
    wrong = []
    for path in package_files():
        if tree(path).body and not ast.get_docstring(tree(path)):
            wrong.append(f"{at(path)}: the module says nothing about itself")
        wrong += [f"{at(path, node.lineno)}: {node.name}" for node in tree(path).body
                  if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                  and not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not wrong, "without a docstring:\n" + "\n".join(wrong)


def test_public_functions_say_what_they_return() -> None:
    wrong = [f"{at(path, node.lineno)}: {node.name}" for path in package_files() for node in functions(path)
             if not node.name.startswith("_") and node.returns is None]
    assert not wrong, "without a return annotation:\n" + "\n".join(wrong)

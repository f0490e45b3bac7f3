"""Only the guarded driver moves servos: who else could, and what error texts tell people to run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.house.repository import at, package_files, tree
from tests.house.test_code import imported
from tests.paths import REPO

ARM = REPO / "smolkit" / "arm"
MOVING = {"GOAL_POSITION", "TORQUE_ENABLE"}                      # a goal written powers a servo, too
# The driver, behind the guard; and the emulated servos, whose own registers these are.
WRITERS = {ARM / name for name in ("so101.py", "torque.py")}
EMULATED = {ARM / name for name in ("registers.py", "emulator.py", "shafts.py", "servo.py", "fake.py",
                                   "recorded.py")} | {
    REPO / "smolkit" / "safety" / "servo_faults.py"}             # which spoils them from the inside
READS = {"read", "sync_read"}
SDK_OWNERS = {ARM / name for name in ("bus.py", "port.py")}
COMMAND = re.compile(r"\bsmolkit ([a-z][a-z-]*)")
QUOTED = re.compile(r"`smolkit ([a-z][a-z-]*)")


def named(node: ast.AST) -> str:
    """`registers.GOAL_POSITION` and `GOAL_POSITION` -> 'GOAL_POSITION'; '' for anything else."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def moves(code: ast.AST) -> Iterator[int]:
    """Lines that name a register that moves a servo anywhere but as the argument of a read."""
    asked = {id(argument) for call in ast.walk(code) if isinstance(call, ast.Call) and named(call.func) in READS
             for argument in call.args}
    for node in ast.walk(code):
        if id(node) not in asked and (named(node) in MOVING or _imports_one(node)):
            yield node.lineno


def _imports_one(node: ast.AST) -> bool:
    """An import under another name would hide what is written later."""
    return isinstance(node, ast.ImportFrom) and any(alias.name in MOVING and alias.asname for alias in node.names)


def test_only_the_guarded_driver_writes_what_moves_servos() -> None:
    wrong = [at(path, line) for path in package_files() if path not in WRITERS | EMULATED
             for line in moves(tree(path))]
    assert not wrong, "writes a goal or a torque switch past the guard:\n" + "\n".join(wrong)
    assert all(list(moves(tree(path))) for path in WRITERS)


@pytest.mark.parametrize("line", [
    "bus.sync_write(GOAL_POSITION, goals)", "bus.write(1, registers.TORQUE_ENABLE, 1)",
    "wanted = registers.GOAL_POSITION", "from smolkit.arm.registers import GOAL_POSITION as quiet"])
def test_a_write_past_the_guard_is_seen(line: str) -> None:
    assert list(moves(ast.parse(line))) == [1]


def test_asking_a_servo_is_no_write() -> None:
    assert not list(moves(ast.parse("bus.sync_read(registers.TORQUE_ENABLE, ids)")))


def test_no_second_way_to_a_register() -> None:
    """Neither the SDK's own calls nor a register made up elsewhere reach a servo."""
    wrong = [at(path, line) for path in package_files() if path not in SDK_OWNERS
             for line, name in imported(path) if name.split(".")[0] == "scservo_sdk"]
    wrong += [at(path, node.lineno) for path in package_files() if path != ARM / "registers.py"
              for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and named(node.func) == "Register"]
    assert not wrong, "past the bus:\n" + "\n".join(wrong)


def test_nobody_takes_the_bus_out_of_the_arm() -> None:
    wrong = [at(path, node.lineno) for path in package_files() if path != ARM / "so101.py"
             for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute) and node.attr == "_bus"]
    assert not wrong, "reaches for the arm's bus:\n" + "\n".join(wrong)


# -- what error texts tell people to run -------------------------------------------------------------------


def strings(code: ast.AST) -> Iterator[ast.Constant]:
    """All strings in some code, the fixed parts of f-strings too."""
    yield from (node for node in ast.walk(code) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def named_commands(code: ast.AST) -> set[tuple[int, str]]:
    """Line and command: in the texts of errors and checks any `smolkit word`, elsewhere one in backticks."""
    found = {(node.lineno, name) for node in strings(code) for name in QUOTED.findall(node.value)}
    for call in ast.walk(code):
        if isinstance(call, ast.Call) and named(call.func) in {"SmolkitError", "Check"}:
            found |= {(node.lineno, name) for node in strings(call) for name in COMMAND.findall(node.value)}
    return found


def commands() -> set[str]:
    """The names under which `smolkit` knows its commands."""
    from smolkit.cli import app
    groups = {group.name for group in app.registered_groups}
    return groups | {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}


def test_errors_name_only_commands_that_exist() -> None:
    known = commands()
    found = [(at(path, line), name) for path in package_files() for line, name in sorted(named_commands(tree(path)))]
    wrong = [f"{where}: smolkit {name}" for where, name in found if name not in known]
    assert found and not wrong, f"commands are {sorted(known)}\n" + "\n".join(wrong)


@pytest.mark.parametrize("line", [
    'raise SmolkitError("SK1", "a", "b", "c", f"hold {name}, then smolkit fly-away")', 'x = "run `smolkit fly-away`"'])
def test_a_command_in_a_text_is_seen(line: str) -> None:
    assert named_commands(ast.parse(line)) == {(1, "fly-away")}

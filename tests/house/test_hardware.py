"""The hardware pages: their sums are the csv's, their files open, and what they tell people to type exists."""

from __future__ import annotations

import csv
import math
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hardware import render
from smolkit.arm import acceptance, fake
from smolkit.arm.arm_type import TYPES
from smolkit.arm.find import ARM_BOARDS
from smolkit.arm.serve import serve_tcp
from smolkit.cli import app
from smolkit.data.video import VideoEncoder
from smolkit.kit import Kit
from smolkit.report import SmolkitError
from smolkit.safety.monitor import LIMITS
from smolkit.teleop.leader import LeaderArm
from tests.house.test_safety import commands
from tests.house.test_texts import LINK, PICTURE
from tests.paths import REPO

HARDWARE = REPO / "hardware"
KITS = HARDWARE / "kits"
PAGES = sorted(HARDWARE.rglob("*.md"))
MODELS = sorted(HARDWARE.rglob("*.scad"))


def name_of(path: Path) -> str:
    return path.relative_to(HARDWARE).as_posix()


# -- sums ----------------------------------------------------------------------------------------------


def bill() -> list[dict[str, str]]:
    with open(HARDWARE / "bom.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# What the list that the prices come from adds up to.
@pytest.mark.parametrize(("setup", "usd", "eur"), [("single_5v", "121.94", "124.30"), ("pair_5v", "229.88", "226.30")])
def test_totals_are_those_of_the_source(setup: str, usd: str, eur: str) -> None:
    assert (render.total(setup, "usd", "arm"), render.total(setup, "eur", "arm")) == (Decimal(usd), Decimal(eur))


@pytest.mark.parametrize("setup", render.SETUPS)
@pytest.mark.parametrize("currency", ["usd", "eur"])
def test_the_page_has_the_total_of_the_csv(setup: str, currency: str) -> None:
    cents = sum(round(100 * float(row[currency])) * int(row[setup]) for row in bill())
    column = 3 + list(render.SETUPS).index(setup)
    line = next(line for line in (HARDWARE / "bill-of-materials.md").read_text().splitlines()
                if line.startswith(f"| **total with cameras, {currency.upper()}"))
    assert line.split("|")[1 + column].strip() == f"{cents / 100:.2f}"


@pytest.mark.parametrize(("setup", "arms", "volts_12"), [
    ("single_5v", 1, 0), ("single_12v", 1, 6), ("pair_5v", 2, 0), ("pair_12v", 2, 6), ("bimanual_5v", 4, 0),
    ("bimanual_12v", 4, 12)])
def test_every_arm_gets_its_servos_a_board_and_the_right_supply(setup: str, arms: int, volts_12: int) -> None:
    count = {word: sum(int(row[setup]) for row in bill() if word in row["part"])
             for word in ("servo 7.4 V", "servo 12 V", "servo board", "supply 5 V", "supply 12 V", "1/191", "1/147")}
    leaders = arms // 2
    assert count["servo 7.4 V"] + count["servo 12 V"] == 6 * arms and count["servo board"] == arms
    assert count["servo 12 V"] == volts_12 and count["supply 12 V"] == volts_12 // 6
    assert count["supply 5 V"] + count["supply 12 V"] == arms
    assert (count["1/191"], count["1/147"]) == (2 * leaders, 3 * leaders)


@pytest.mark.parametrize("page", render.TABLES)
def test_tables_are_those_of_the_csv(page: str) -> None:
    text = (HARDWARE / page).read_text(encoding="utf-8")
    assert render.BLOCK.search(text) and text == render.with_tables(page), "run: python -m hardware.render"


def test_spares_grow_with_the_room() -> None:
    for row in render.rows("spares"):
        for benches in render.BENCHES:
            exact = int(row["in_use_per_bench"]) * benches * int(row["keep_percent"]) / 100 + int(row["per_room"])
            assert render.needed(row, benches) == math.ceil(exact) > 0, row["item"]


# -- kit files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(KITS.glob("*.toml")), ids=name_of)
def test_kit_files_are_toml_and_the_page_names_them(path: Path) -> None:
    assert tomllib.loads(path.read_text(encoding="utf-8"))
    assert f"]({path.name})" in (KITS / "README.md").read_text(encoding="utf-8")


def test_the_sim_kit_opens() -> None:
    with Kit.open(KITS / "sim.toml") as kit:
        assert set(kit.observe().images) == {"front", "wrist"}


def film(path: Path) -> Path:
    encoder = VideoEncoder(480, 640, fps=30)
    for number in range(30):
        encoder.add(np.full((480, 640, 3), 8 * number, np.uint8))
    path.write_bytes(encoder.finish())
    return path


@pytest.mark.parametrize("name", ["single.toml", "bimanual-left.toml", "bimanual-right.toml"])
def test_the_kits_of_real_arms_open_with_an_emulated_one(name: str, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV needs libGL and GLib", exc_type=ImportError)
    text, servos, picture = (KITS / name).read_text(encoding="utf-8"), fake.servos(), film(tmp_path / "film.mp4")
    fake.calibrated(servos).save(tmp_path / tomllib.loads(text)["calibration"])
    with serve_tcp(servos) as server:
        text = re.sub(r'"(?:/dev/smolkit/|usb:)YOUR-[A-Z-]+"', f'"{server.port}"', text)
        text = re.sub(r'"YOUR-[A-Z-]+SOCKET"', f'"{picture.as_posix()}"', text)
        (tmp_path / name).write_text(text, encoding="utf-8")
        with Kit.open(tmp_path / name) as kit:
            assert kit.arm.read().pos_deg.shape == (6,)
            assert set(kit.cameras) == set(tomllib.loads(text)["cameras"])


@pytest.mark.parametrize("name", ["leader-follower.toml", "bimanual.toml"])
def test_files_of_two_arms_are_refused_and_name_files_that_exist(name: str) -> None:
    with pytest.raises(SmolkitError, match="SK801"):
        Kit.open(KITS / name)
    named = [value for value in tomllib.loads((KITS / name).read_text(encoding="utf-8")).values() if type(value) is str]
    assert named and all((KITS / file).exists() for file in named)


def test_the_leader_opens_as_its_file_says(tmp_path: Path) -> None:
    setup = tomllib.loads((KITS / "leader-follower.toml").read_text(encoding="utf-8"))
    servos = fake.servos()
    calibration = fake.calibrated(servos)
    assert calibration.save(tmp_path / setup["leader"]["calibration"]).exists() and set(setup["leader"]) == {
        "port", "calibration"}
    with serve_tcp(servos) as server, LeaderArm(server.port, calibration) as leader:
        assert leader.read().pos_deg.shape == (6,)


# -- pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_page_says_what_was_tested(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "**Tested:**" in text and "**Not tested:**" in text


def test_every_page_model_and_table_is_reached_from_the_index() -> None:
    reached, ahead = set(), [HARDWARE / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        if page.suffix == ".md":
            targets = {(page.parent / (link["md"] or link["html"]).split("#")[0]).resolve()
                       for link in LINK.finditer(page.read_text(encoding="utf-8"))}
            assert all(target.exists() for target in targets if "http" not in str(target)), page
            ahead += [target for target in targets if target.is_relative_to(HARDWARE) and target not in reached]
    files = {path for path in HARDWARE.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert files - reached <= {HARDWARE / "camera-mounts" / "camera_plate.scad"}


def test_pictures_are_small_and_have_words() -> None:
    shown = [picture for page in PAGES for picture in PICTURE.finditer(page.read_text(encoding="utf-8"))]
    assert len(shown) == len(list((HARDWARE / "pictures").iterdir()))
    assert all(len(picture["alt"].split()) >= 8 for picture in shown)
    assert all(path.stat().st_size < 200_000 for path in (HARDWARE / "pictures").iterdir())


def test_the_wiring_is_the_scripts() -> None:
    assert (HARDWARE / "pictures" / "wiring.svg").read_text(encoding="utf-8") == render.wiring()


@pytest.mark.parametrize("path", [*PAGES, *KITS.glob("*.toml")], ids=name_of)
def test_commands_on_the_pages_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^ {4}|[;:] |# )smolkit ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= commands(), named - commands()


def test_the_lines_about_many_arms_work_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (HARDWARE / "many-arms.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    smolkit (bench .*)", page, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    fake.calibrated(fake.servos()).save("blue-1.json")
    for line in lines:
        done = CliRunner().invoke(app, [*shlex.split(line), "--folder", "room"])
        assert done.exit_code == 0, done.output
    assert len(lines) == 6 and "one M3 screw missing" in done.output


def test_the_line_that_reads_a_position_works() -> None:
    code = re.search(r'python -c "(.*)"', (HARDWARE / "assembly.md").read_text(encoding="utf-8"))[1]
    code = "from smolkit.arm import fake; " + code.replace("'PORT'", "fake.port()")
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert 0 <= int(done.stdout) <= 4095


def test_the_sheet_has_the_ten_checks_of_the_doctor() -> None:
    text = (HARDWARE / "acceptance-sheet.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (SK\d+) ([^|]+) \|", text, re.MULTILINE)
    assert rows == [(str(number), code, name) for number, (code, name) in enumerate(acceptance.NAMES.items(), 1)]
    text = " ".join(text.split())
    for words in (f"within {acceptance.SAG_DEG:g} deg", f"asked for {acceptance.NUDGE_DEG:g}",
                  f"at most {acceptance.PLAY_DEG:g} deg", f"at least {100 * acceptance.VOLTAGE_KEPT:g} %",
                  f"at most {acceptance.RISE_C:g} deg C warmer after a minute, below {acceptance.HOT_C:g}",
                  f"at most 1 of {acceptance.READS}",
                  *("{:.1f} to {:.1f} V".format(*kind.supply_v) for kind in TYPES.values())):
        assert words in text, words


def test_the_checklist_has_the_guards_limits() -> None:
    text = " ".join((HARDWARE / "bench-checklist.md").read_text(encoding="utf-8").split())
    assert f"{LIMITS.warm_c:g} deg C warn, {LIMITS.hot_c:g} slow down, {LIMITS.too_hot_c:g} stop" in text
    assert f"at {LIMITS.least_v:.1f} V ({LIMITS.least_12v:g} V)" in text


def test_the_checklist_fits_on_a_page() -> None:
    assert len((HARDWARE / "bench-checklist.md").read_text(encoding="utf-8").splitlines()) <= 48


# -- rules and models ----------------------------------------------------------------------------------


def test_udev_rules_name_both_chips() -> None:
    lines = [line for line in (HARDWARE / "99-smolkit.rules").read_text(encoding="utf-8").splitlines()
             if not line.startswith("#")]
    chips = {tuple(int(re.search(rf'ATTRS{{{key}}}=="(\w+)"', line)[1], 16) for key in ("idVendor", "idProduct"))
             for line in lines}
    assert chips == ARM_BOARDS
    for line in lines:
        assert 'GROUP="dialout"' in line and 'MODE="0660"' in line and 'SYMLINK+="smolkit/' in line
        assert all(re.fullmatch(r'[A-Z_]+(\{\w+\})?(==|=|\+=)"[^"]*"', part) for part in line.split(", ")), line


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_parameters_have_units_in_their_names(path: Path) -> None:
    names = re.findall(r"^(\w+) *=", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert names and not [name for name in names if name != "part" and not name.endswith(("_mm", "_deg", "_count"))]


CUBE = [((0, 0, 0), (1, 1, 0), (1, 0, 0)), ((0, 0, 0), (0, 1, 0), (1, 1, 0)), ((0, 0, 0), (1, 0, 0), (0, 0, 1)),
        ((1, 0, 0), (1, 1, 0), (0, 0, 1)), ((1, 1, 0), (0, 1, 0), (0, 0, 1)), ((0, 1, 0), (0, 0, 0), (0, 0, 1))]


def as_stl(faces: list) -> str:
    return "\n".join(f"vertex {x} {y} {z}" for face in faces for x, y, z in face)


def test_a_hole_in_a_solid_is_seen() -> None:
    assert render.open_edges(as_stl(CUBE)) == []
    assert len(render.open_edges(as_stl(CUBE[1:]))) == 3
    assert render.open_edges(as_stl([*CUBE[:-1], CUBE[-1][::-1]]))                   # one face inside out


def test_a_missing_openscad_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install -y openscad"):
        render.openscad("clamp/table_clamp_plate.scad", None, tmp_path / "part.stl")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("openscad"), reason="OpenSCAD is not installed")
@pytest.mark.parametrize("name", ["wrist-camera", "table-clamp-plate"])
def test_models_are_closed_solids(name: str, tmp_path: Path) -> None:
    source, part = render.PRINTED[name]
    render.openscad(source, part, tmp_path / "part.stl")
    text = (tmp_path / "part.stl").read_text(encoding="utf-8")
    assert text.count("facet normal") > 50 and not render.open_edges(text)

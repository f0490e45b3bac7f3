"""Draws what the pages show: mounts (with OpenSCAD), the wiring, and the tables computed from the csv files.

    python -m hardware.render             # everything, into hardware/
    python -m hardware.render --stl DIR   # the printable parts as STL, each proved closed

Pictures and tables are committed, so that reading needs no OpenSCAD; a test says when tables are stale.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Part of a picture -> source, value of `part` (None where the source is one part), where we look from (deg).
PICTURES = {"front-camera": ("camera-mounts/front_camera.scad", "all", (65, 0, 30)),
            "wrist-camera": ("camera-mounts/wrist_camera.scad", None, (65, 0, 325)),
            "table-clamp-plate": ("clamp/table_clamp_plate.scad", None, (60, 0, 145))}
PRINTED = {"front-camera-foot": ("camera-mounts/front_camera.scad", "foot"),
           "front-camera-head": ("camera-mounts/front_camera.scad", "head"),
           "wrist-camera": ("camera-mounts/wrist_camera.scad", None),
           "table-clamp-plate": ("clamp/table_clamp_plate.scad", None)}
SETUPS = {"single_5v": "one arm, 5 V", "single_12v": "one arm, 12 V", "pair_5v": "leader + follower, 5 V",
          "pair_12v": "leader + follower, 12 V", "bimanual_5v": "bimanual, 5 V",
          "bimanual_12v": "bimanual, 12 V"}
BENCHES = (1, 5, 20)
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


def rows(name: str) -> list[dict[str, str]]:
    """The rows of `hardware/<name>.csv`."""
    with open(HERE / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def total(setup: str, currency: str, group: str | None = None) -> Decimal:
    """What a set-up costs in "usd" or "eur"; `group` is "arm" or "camera", None for both."""
    return sum((Decimal(row[currency]) * int(row[setup]) for row in rows("bom")
                if group in (None, row["group"])), Decimal(0))


def bill_tables() -> str:
    """Quantities and prices of every part, then the totals."""
    lines = ["| part | USD each | EUR each | " + " | ".join(SETUPS.values()) + " |", "|---|--:|--:" + "|--:" * 6 + "|"]
    lines += [f"| {row['part']} | {row['usd']} | {row['eur']} | "
              + " | ".join(row[setup] if row[setup] != "0" else "" for setup in SETUPS) + " |" for row in rows("bom")]
    for words, group in (("without cameras", "arm"), ("with cameras", None)):
        for currency in ("usd", "eur"):
            sums = " | ".join(f"{total(setup, currency, group):.2f}" for setup in SETUPS)
            lines.append(f"| **total {words}, {currency.upper()}** | | | {sums} |")
    return "\n".join(lines)


def needed(row: dict[str, str], benches: int) -> int:
    """How many of an item to keep: a share of those in use, rounded up, and what a room has once."""
    in_use = int(row["in_use_per_bench"]) * benches
    return math.ceil(in_use * int(row["keep_percent"]) / 100) + int(row["per_room"])


def spares_table() -> str:
    """Spares and tools for the rooms we know."""
    head = " | ".join(f"{n} bench{'es' if n > 1 else ''}" for n in BENCHES)
    lines = [f"| item | {head} | why |", "|---" + "|--:" * len(BENCHES) + "|---|"]
    lines += [f"| {row['item']} | {' | '.join(str(needed(row, n)) for n in BENCHES)} | {row['why']} |"
              for row in rows("spares")]
    return "\n".join(lines)


TABLES = {"bill-of-materials.md": bill_tables, "spares-and-tools.md": spares_table}
BLOCK = re.compile(r"(?<=<!-- computed from the csv -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)


def with_tables(name: str) -> str:
    """The text of a page, its table computed anew."""
    text = (HERE / name).read_text(encoding="utf-8")
    table = TABLES[name]()
    return BLOCK.sub(lambda _: table, text, count=1)


def wiring() -> str:
    """The wiring of one arm as an SVG: mains, supply, board, computer, and the chain of six servos."""
    boxes = [(20, 30, "power strip", "with a switch"), (200, 30, "DC supply", "5 V or 12 V: see label"),
             (380, 30, "servo board", "jumpers on B (USB)"), (560, 30, "computer", "no arm power here")]
    boxes += [(20 + 120 * i, 190, f"servo {i + 1}", name) for i, name in enumerate(JOINTS)]
    wires = [(160, 60, 200, 60, "mains"), (340, 60, 380, 60, "DC plug"), (520, 60, 560, 60, "USB")]
    wires += [(130 + 120 * i, 220, 140 + 120 * i, 220, "") for i in range(5)]
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 750 310" font-family="sans-serif" font-size="13">',
             "<title>Wiring of one SO-101 arm</title>", '<rect width="750" height="310" fill="white"/>']
    for x, y, title, note in boxes:
        width = 140 if y < 100 else 110
        parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="60" rx="6" fill="#eef3f8" stroke="#234"/>'
                     f'<text x="{x + width / 2}" y="{y + 26}" text-anchor="middle" font-weight="bold">{escape(title)}'
                     f'</text><text x="{x + width / 2}" y="{y + 45}" text-anchor="middle" font-size="11">'
                     f'{escape(note)}</text>')
    parts += [f'<line x1="{a}" y1="{b}" x2="{c}" y2="{d}" stroke="{"#234" if words else "#c33"}" stroke-width="3"/>'
              f'<text x="{(a + c) / 2}" y="{b - 36}" text-anchor="middle" font-size="11">{escape(words)}</text>'
              for a, b, c, d, words in wires]
    parts += ['<path d="M450 90 V140 H75 V190" fill="none" stroke="#c33" stroke-width="3"/>',
              '<text x="262" y="133" text-anchor="middle" font-size="12">3-pin cable: ground, supply, data</text>',
              '<text x="20" y="285" font-size="12">One chain: board, 1, 2, 3, 4, 5, 6. A servo has two equal sockets: '
              'one toward the board, one onward; the last stays free.</text>', "</svg>"]
    return "\n".join(parts) + "\n"


def openscad(source: str, part: str | None, target: Path, *options: str) -> None:
    """Runs OpenSCAD; where it is missing, says what to install."""
    if shutil.which("openscad") is None:
        raise SystemExit("openscad is missing: sudo apt-get install -y openscad xvfb (macOS: brew install openscad; "
                         "Windows: winget install OpenSCAD.OpenSCAD)")
    # OpenSCAD 2021 draws pictures through OpenGL and so needs a screen, if only a pretended one.
    screen = ["xvfb-run", "-a"] if target.suffix == ".png" and shutil.which("xvfb-run") else []
    chosen = ["-D", f'part="{part}"'] if part else []
    run = subprocess.run([*screen, "openscad", "-o", str(target), *options, *chosen, str(HERE / source)],
                         capture_output=True, text=True)
    if run.returncode or "WARNING" in run.stderr:
        raise SystemExit(f"{source}: {run.stderr}")


def edges(stl: str) -> Iterator[tuple[str, str]]:
    """Every directed edge of an ASCII STL, each corner as its text."""
    corners = re.findall(r"vertex (\S+ \S+ \S+)", stl)
    for i in range(0, len(corners), 3):
        a, b, c = corners[i:i + 3]
        yield from ((a, b), (b, c), (c, a))


def open_edges(stl: str) -> list[tuple[str, str]]:
    """Edges without exactly one partner of the other direction: none in a closed (manifold) solid."""
    count = Counter(edges(stl))
    return [edge for edge in count if count[edge] != count[edge[::-1]] or count[edge] != 1]


def export(folder: Path) -> None:
    """Writes the printable parts as STL; stops at the first that is not closed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (source, part) in PRINTED.items():
        target = folder / f"{name}.stl"
        openscad(source, part, target)
        found = open_edges(target.read_text(encoding="utf-8"))
        if found or target.stat().st_size < 1000:
            raise SystemExit(f"{target}: {len(found)} open edges")
        sys.stdout.write(f"{target}: closed\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="draws pictures and tables of hardware/")
    parser.add_argument("--stl", type=Path, help="a folder for the printable parts")
    folder = parser.parse_args().stl
    if folder is not None:
        return export(folder)
    for name in TABLES:
        (HERE / name).write_text(with_tables(name), encoding="utf-8")
    (HERE / "pictures" / "wiring.svg").write_text(wiring(), encoding="utf-8")
    for name, (source, part, angles_deg) in PICTURES.items():
        openscad(source, part, HERE / "pictures" / f"{name}.png", "--imgsize", "640,480", "--viewall", "--autocenter",
                 "--colorscheme", "Tomorrow", "--camera", "0,0,0," + ",".join(map(str, angles_deg)) + ",0")


if __name__ == "__main__":
    main()

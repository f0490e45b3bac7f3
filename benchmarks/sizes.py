"""How big and how fast is each size? Writes docs/sizes.md.

    python -m benchmarks.sizes                 # the page anew: parameters counted, times as last measured
    python -m benchmarks.sizes --measure       # measures first, 4 minutes, into measured.csv; or only `--measure base`

Parameters are counted on torch's meta device, which holds no numbers. Times and memory come from fresh processes that
load a policy of random weights and make chunks from two 480x640 pictures and 12 words; seconds are the processor's, of
one core, which other programs disturb less than a clock on the wall.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file

from benchmarks.inference import load_variant, make_checkpoint, make_inputs, pinned
from benchmarks.lerobot_policy import ROOT, memory_mb
from benchmarks.measured import FILE, Row, keep
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.presets import as_published, build_preset

PAGE = ROOT / "docs" / "sizes.md"
SIZES = ("base", "under200m", "classroom")
PARTS = {"eyes": "vision.", "connector": "vision.connector.", "word vectors": "language.embed.",
         "language layers": "language.layers.", "final norm, never read": "language.norm.",
         "word predictor, never asked": "language.head.", "state in": "state_proj.", "expert layers": "expert.layers.",
         "expert's norm": "expert.norm.", "actions and time in, actions out": "expert.action_"}
MEASURED = {"base": ("fp32", "bf16", "int8"), "under200m": ("fp32", "bf16", "int8"), "classroom": ("fp32", "bf16")}
COLUMNS = {"file": "MB", "loading": "s", "memory after loading": "MiB", "peak of memory": "MiB", "one chunk": "s"}
CHUNKS = 3
FP32, PUBLISHED = "ours over LeRobot float32", "ours over LeRobot published"
RATIOS = {"time over LeRobot in float32": (f"total, {FP32}", ""),
          "over LeRobot as published": (f"total, {PUBLISHED}", ""),
          "after the eyes, over float32": (f"after the vision tower, {FP32}", ""),
          "over published": (f"after the vision tower, {PUBLISHED}", ""),
          "mean error": ("mean action error against LeRobot float32", "normalised"),
          "largest error": ("largest action error against LeRobot float32", "normalised")}


# --- counted ----------------------------------------------------------------------------------------------------------

def count(preset: str) -> dict[str, int]:
    """Parameters by part; a longer prefix is a part of its own."""
    chosen = build_preset(preset)
    with torch.device("meta"):
        model = SmolVLA(chosen.config, chosen.backbone)
    counts = dict.fromkeys(PARTS, 0)
    for name, weight in model.named_parameters():
        part = max((begin for begin in PARTS.values() if name.startswith(begin)), key=len)
        counts[next(title for title, begin in PARTS.items() if begin == part)] += weight.numel()
    return counts


def file_mb(preset: str) -> float:
    """Megabytes of weights: bfloat16 as LeRobot publishes them, the classroom's in float32."""
    chosen = build_preset(preset)
    with torch.device("meta"):
        model = SmolVLA(chosen.config, chosen.backbone)
        model = model if chosen.backbone.from_scratch else as_published(model)
    return sum(weight.nbytes for weight in model.parameters()) / 1e6


def parameter_table() -> str:
    """Parameters by part, a column a size."""
    columns = {preset: count(preset) for preset in SIZES}
    lines = ["| Parameters | " + " | ".join(f"`{preset}`" for preset in SIZES) + " |", "|---|" + "--:|" * len(SIZES)]
    for part in PARTS:
        lines.append(_line(part, [f"{columns[preset][part]:,}" for preset in SIZES]))
    lines.append(_line("**all**", [f"**{sum(columns[preset].values()):,}**" for preset in SIZES]))
    lines.append(_line("weights in the file, MB", [f"{file_mb(preset):,.1f}" for preset in SIZES]))
    return "\n".join(lines)


def _line(title: str, cells: list[str]) -> str:
    return f"| {title} | " + " | ".join(cells) + " |"


# --- measured ---------------------------------------------------------------------------------------------------------

def measure(preset: str) -> list[Row]:
    """Loading and chunks of one size, each format in a fresh process."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_checkpoint(Path(scratch, "policy"), preset)
        inputs = make_inputs(Path(scratch, "inputs.safetensors"), preset)
        for variant in MEASURED[preset]:
            asked = [sys.executable, "-m", "benchmarks.sizes", "--inside", str(folder), str(inputs), variant]
            done = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True)
            rows += [Row(f"{preset} {variant}, {what}", value, COLUMNS[what], CHUNKS if what == "one chunk" else 1)
                     for what, value in json.loads(done.stdout).items()]
    return rows


def inside(folder: str, inputs: str, variant: str) -> None:
    """Runs in the fresh process."""
    pinned(1)
    begun = time.process_time()
    policy = load_variant(Path(folder), variant)
    loading_s, memory = time.process_time() - begun, memory_mb()
    batch = load_file(inputs)
    noise, seconds = batch.pop("noise_sampling"), []
    for _ in range(CHUNKS + 1):                    # the first one warms up
        begun = time.process_time()
        policy.model.sample_actions(batch, noise=noise)
        seconds.append(time.process_time() - begun)
    print(json.dumps({"loading": loading_s, "memory after loading": memory["rss_mb"],
                      "peak of memory": memory_mb()["peak_mb"], "one chunk": median(seconds[1:])}))


def last_rows(benchmark: str) -> dict[tuple[str, str], dict[str, str]]:
    """The newest row of each thing that a benchmark measured, by what and unit."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return {(row["what"], row["unit"]): row for row in csv.DictReader(file) if row["benchmark"] == benchmark}


def _cell(row: dict[str, str] | None, percent: bool = False) -> str:
    if row is None:
        return "not measured"
    return f"{float(row['value']):.0f} %" if percent else f"{float(row['value']):.3g}"


def measured_table() -> str:
    """Time and memory, a line a size and format, as last measured."""
    rows, shown = last_rows("sizes"), list(COLUMNS)[1:]
    lines = ["| Policy | " + " | ".join(f"{what}, {COLUMNS[what]}" for what in shown) + " |",
             "|---|" + "--:|" * len(shown)]
    for preset, variants in MEASURED.items():
        for variant in variants:
            found = [rows.get((f"{preset} {variant}, {what}", COLUMNS[what])) for what in shown]
            lines.append(_line(f"`{preset}` {variant}", [f"{float(row['value']):.4g}" if row else _cell(row)
                                                         for row in found]))
    return "\n".join(lines)


def beside_lerobot(how: str) -> str:
    """Our time over LeRobot's in its two formats, and our errors, as `benchmarks.inference` found them last."""
    rows, lines = last_rows("inference"), ["| | " + " | ".join(RATIOS) + " |", "|---|" + "--:|" * len(RATIOS)]
    for variant in MEASURED["base"]:
        cells = [_cell(rows.get((f"{variant}, {what}, {how}", unit))) for what, unit in RATIOS.values()]
        lines.append(_line(variant, cells))
    return "\n".join(lines)


def parts_table(how: str) -> str:
    """Where one fp32 chunk's time goes, and each part's share of the machine's peak."""
    rows, units = last_rows("inference"), ("GFLOP", "GB", "s")
    lines = ["| Part | " + " | ".join(units) + " | of the peak |", "|---|--:|--:|--:|--:|"]
    for part in ("eyes and connector", "connector", "prefix", "cross projections", "Euler steps"):
        name = f"fp32, {part}, {how}"
        cells = [_cell(rows.get((name, unit))) for unit in units]
        lines.append(_line(part, [*cells, _cell(rows.get((name, "% of the peak")), percent=True)]))
    return "\n".join(lines)


def peaks(how: str) -> str:
    """The machine's peaks in words."""
    rows = last_rows("inference")
    names = {"matrix peak, float32": "GFLOP/s", "matrix peak, bfloat16": "GFLOP/s", "memory bandwidth, reading": "GB/s"}
    return "; ".join(f"{name} {_cell(rows.get((f'{name}, {how}', unit)))} {unit}" for name, unit in names.items())


def threads() -> str:
    """What a second thread is worth, on the wall."""
    rows = last_rows("inference")
    one, two = (_cell(rows.get((f"fp32, one chunk, {count} threads, wall time", "s"))) for count in (1, 2))
    return f"On the wall, both cores free, one fp32 chunk took {one} s with one thread and {two} s with two"


def loading_table() -> str:
    """Loading beside LeRobot, as `benchmarks.loading` found it last."""
    rows = {what: row for (what, _), row in last_rows("loading").items() if what.endswith("ours / LeRobot")}
    lines = ["| Loading, ours over LeRobot | |", "|---|--:|"]
    found = [_line(what.removesuffix(", ours / LeRobot"), [_cell(row)]) for what, row in rows.items()]
    return "\n".join(lines + (found or [_line("all of it", ["not measured"])]))


def page(how: str = "1 threads, cpu time") -> str:
    """The whole text of docs/sizes.md; `how` the rows of `benchmarks.inference` were measured."""
    machines = {f"{row['machine'].partition(', ')[2]}; {row['versions']}" for name in ("sizes", "inference")
                for row in last_rows(name).values()}
    return TEXT.format(parameters=parameter_table(), measured=measured_table(), beside=beside_lerobot(how),
                       parts=parts_table(how), peaks=peaks(how), loading=loading_table(), threads=threads(),
                       machine=" / ".join(sorted(machines)) or "not measured")


TEXT = """# Sizes

Written by `python -m benchmarks.sizes`. One piece of code at every size: `build_preset("base")` is the published
lerobot/smolvla_base, `under200m` stands on SmolVLM2-256M, `classroom` learns from scratch on a laptop.

{parameters}

LeRobot's files keep a word predictor that no policy asks. It is never held in memory here, but saved again.

## Memory and time

One process each, with random weights: loading, then chunks from two 480x640 pictures and 12 words. fp32, bf16 and int8
are `load_checkpoint` in float32; in bfloat16 with `speed.prepare`; in bfloat16 with `speed.quantise`. The
process's memory includes Python and torch, about 225 MiB. Seconds are of one core.

{measured}

## Beside LeRobot 0.4.4

`benchmarks.inference`, the 450M policy, one chunk, one sample, two 480x640 pictures, 12 words of 48 tokens; same random
weights, same inputs, same cores, runs taking turns, medians. "published": the number formats of lerobot/smolvla_base.
Errors are of actions in normalised units, where actions are about 1, from the same noise. Processor seconds of one
core.

{beside}

bf16 rests in memory as bfloat16. Where a processor multiplies bfloat16 slower than float32, as this one does (below),
`speed.prepare` makes each matrix float32 when it is used: hence bf16 is near fp32 here, and LeRobot as published slower
than LeRobot in float32. {threads}
(`speed.use_free_cores`). Trained weights may err otherwise than random ones in int8: `speed.action_error` tells.

{loading}

## Where the time goes

One fp32 chunk. A part can be no faster than its multiplications at this machine's matrix peak, nor than its weights and
notes at the memory's bandwidth; the larger of the two over the time it took is its share of the peak.
Measured in the same run: {peaks}. Attention is counted with the matrices.

{parts}

On GPUs nothing was measured.

Measured on: {machine}.
"""


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        for preset in sys.argv[2:] or SIZES:
            keep("sizes", measure(preset))
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:])
    else:
        main()

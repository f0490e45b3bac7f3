"""Datasets edited from a terminal: a new one beside the old, or `--replace` with a backup and `undo`.

    smolkit edit drop cubes cubes_clean --episodes 3,7-9
    smolkit edit trim cubes --idle --replace --dry-run               # says what would be done
    smolkit edit split cubes parts --part train=0.8 --part test=0.2  # -> parts/train, parts/test
    smolkit edit undo cubes
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from smolkit.report import SmolkitError

if TYPE_CHECKING:
    from smolkit.data.edit import Plan

app = typer.Typer(help="Makes a new dataset of one or more; pixels are copied, sources are never touched.",
                  no_args_is_help=True)
Source = Annotated[Path, typer.Argument(help="the dataset to edit")]
Out = Annotated[Path | None, typer.Argument(help="the new dataset; none with --replace")]
Episodes = Annotated[str, typer.Option(help="for instance 3,7-9")]
Some = Annotated[str | None, typer.Option("--episodes", help="for instance 3,7-9; all, if not given")]
Replace = Annotated[bool, typer.Option("--replace", help="in the source's place; that is kept as a backup")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what would be done")]


@app.command()
def drop(source: Source, out: Out = None, *, episodes: Episodes, replace: Replace = False, dry_run: DryRun = False,
         ) -> None:
    """Without some episodes."""
    _finish(_plan(source).drop(_numbers(episodes)), out, replace, dry_run)


@app.command()
def keep(source: Source, out: Out = None, *, episodes: Episodes, replace: Replace = False, dry_run: DryRun = False,
         ) -> None:
    """Some episodes alone, in the order in which they are given."""
    _finish(_plan(source).keep(_numbers(episodes)), out, replace, dry_run)


@app.command()
def trim(source: Source, out: Out = None, *, episodes: Some = None,
         first: Annotated[float, typer.Option(help="seconds to cut off at the beginning")] = 0.0,
         last: Annotated[float, typer.Option(help="seconds to cut off at the end")] = 0.0,
         idle: Annotated[bool, typer.Option("--idle", help="cut off where nothing moves yet, or any more")] = False,
         replace: Replace = False, dry_run: DryRun = False) -> None:
    """Without the beginning and the end of episodes."""
    chosen = None if episodes is None else _numbers(episodes)
    plan = _plan(source)
    plan = plan.trim_idle(chosen) if idle else plan
    _finish(plan.trim(chosen, first_s=first, last_s=last) if first or last else plan, out, replace, dry_run)


@app.command()
def split(source: Source, out: Annotated[Path, typer.Argument(help="the folder for the parts")], *,
          part: Annotated[list[str], typer.Option(help="train=0.8 for a share, or test=3,7-9 for episodes")],
          dry_run: DryRun = False) -> None:
    """Several datasets of one: each part goes to OUT/NAME."""
    parts = dict(text.partition("=")[::2] for text in part)
    for name, plan in _plan(source).split({name: _share(value) for name, value in parts.items()}).items():
        _finish(plan, out / name, False, dry_run)


@app.command()
def merge(paths: Annotated[list[Path], typer.Argument(help="SOURCE SOURCE ... OUT")], dry_run: DryRun = False) -> None:
    """One dataset of several, which must fit each other."""
    _finish(_plan(*paths[:-1]), paths[-1], False, dry_run)


@app.command()
def rename_task(source: Source, out: Out = None, *,
                task: Annotated[tuple[str, str], typer.Option(help="the old words and the new ones")],
                replace: Replace = False, dry_run: DryRun = False) -> None:
    """Other words for a task."""
    _finish(_plan(source).rename_tasks(dict([task])), out, replace, dry_run)


@app.command()
def rename(source: Source, out: Out = None, *,
           feature: Annotated[tuple[str, str], typer.Option(help="the old name and the new one")],
           replace: Replace = False, dry_run: DryRun = False) -> None:
    """Another name for a camera or a column, for instance observation.images.cam1 observation.images.front."""
    _finish(_plan(source).rename(dict([feature])), out, replace, dry_run)


@app.command()
def remove_feature(source: Source, out: Out = None, *,
                   feature: Annotated[list[str], typer.Option(help="its name; may be repeated")],
                   replace: Replace = False, dry_run: DryRun = False) -> None:
    """Without a camera or a column."""
    _finish(_plan(source).remove(*feature), out, replace, dry_run)


@app.command()
def reencode(source: Source, out: Out = None, *,
             codec: Annotated[str, typer.Option(help="h264 or av1")] = "h264",
             crf: Annotated[int | None, typer.Option(help="quality: smaller is better and larger")] = None,
             size: Annotated[tuple[int, int] | None, typer.Option(help="height and width in px")] = None,
             replace: Replace = False, dry_run: DryRun = False) -> None:
    """Videos encoded anew: smaller ones, or in a codec that every browser plays."""
    _finish(_plan(source).reencode(codec, crf, size), out, replace, dry_run)


@app.command()
def resample(source: Source, out: Out = None, *, fps: Annotated[int, typer.Option(help="the new rate, in Hz")],
             replace: Replace = False, dry_run: DryRun = False) -> None:
    """Fewer frames a second."""
    _finish(_plan(source).resample(fps), out, replace, dry_run)


@app.command()
def stats(source: Source, out: Out = None, *, replace: Replace = False, dry_run: DryRun = False) -> None:
    """With all statistics computed anew, those of pictures from frames."""
    _finish(_plan(source).recounted(), out, replace, dry_run)


@app.command()
def undo(path: Annotated[Path, typer.Argument(help="a dataset that was edited with --replace")]) -> None:
    """Puts the newest backup back; the edited dataset is kept beside it."""
    from smolkit.data.swap import undo as back
    _say(f"{path} is what it was; the edited one is {back(path)}")


def _plan(*sources: Path) -> Plan:
    from smolkit.data.edit import Plan
    return Plan.of(*sources)


def _finish(plan: Plan, out: Path | None, replaces: bool, dry_run: bool) -> None:
    if dry_run:
        _say(plan.text())
        return
    if (out is None) != replaces:
        raise SmolkitError("SK490", "either a folder for the result or --replace", f"{out}, --replace {replaces}",
                           "an argument is missing or too many", "smolkit edit drop SOURCE OUT --episodes 3")
    _say(plan.write(out or plan.sources[0].root, replaces).text())


def _share(text: str) -> float | list[int]:
    return float(text) if text.replace(".", "", 1).isdigit() and "." in text else _numbers(text)


def _numbers(text: str) -> list[int]:
    """'3,7-9' -> [3, 7, 8, 9]"""
    try:
        ends = [[int(number) for number in part.split("-")] for part in text.split(",")]
        return [number for first, *last in ends for number in range(first, (last or [first])[0] + 1)]
    except (ValueError, IndexError) as error:
        raise SmolkitError("SK490", "episodes like 3,7-9", repr(text), "a typing error",
                           "write --episodes 3,7-9") from error


def _say(text: str) -> None:
    Console().print(text, markup=False, highlight=False, soft_wrap=True)

"""Data for others, and from them: `smolkit push | pull | pack | unpack | verify`.

    smolkit push recordings/cube anna/cube                     # says what to look at first; nothing leaves yet
    smolkit push recordings/cube anna/cube --license cc-by-4.0 --i-looked
    smolkit push recordings/cube /media/stick/cube             # a folder whose parent is there: a compared copy
    smolkit pull anna/cube recordings/hers                     # or from a stick; without a second name: into the cache
    smolkit pack /media/stick/room notebooks recordings/cube   # for laptops without network: python3 install.py FOLDER
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smolkit.cli_check import finish, show
from smolkit.hub import is_hub_id
from smolkit.report import Report

FolderName = Annotated[Path, typer.Argument(help="a folder")]


def push(source: Annotated[Path, typer.Argument(help="the folder of a dataset")],
         to: Annotated[str, typer.Argument(help="owner/name on the Hub, or a new folder in one that is there")],
         licence: Annotated[str | None, typer.Option("--license", help="what others may do: cc-by-4.0, ...")] = None,
         looked: Annotated[bool, typer.Option("--i-looked", help="at the pictures; all may leave")] = False,
         private: Annotated[bool, typer.Option("--private/--public", help="on the Hub")] = True,
         update: Annotated[bool, typer.Option("--update", help="replace what has that name on the Hub")] = False,
         ) -> None:
    """Gives a dataset to the Hub (private, unless told) or to a stick; says first what in it is private."""
    from smolkit.data.copies import copy_whole
    from smolkit.data.push import dataset_files, push_dataset
    if not is_hub_id(to) or Path(to).parent.is_dir():
        typer.echo(f"a whole copy is in {copy_whole(dataset_files(source), Path(to))}")
        return
    sheet = Path("outputs") / f"{source.resolve().name}-pictures.jpg"
    typer.echo(push_dataset(source, to, sheet=sheet, licence=licence, looked=looked, private=private, update=update,
                            tell=_told))


def _told(report: Report) -> None:
    show(report)
    if not report.ok:
        raise typer.Exit(1)


def pull(source: Annotated[str, typer.Argument(help="owner/name on the Hub, or a folder, on a stick perhaps")],
         to: Annotated[Path | None, typer.Argument(help="a new folder")] = None,
         revision: Annotated[str | None, typer.Option(help="a tag, a branch or a commit; else v3.0")] = None) -> None:
    """Brings a dataset from the Hub into the cache, and from there or from a stick into a folder."""
    from smolkit.data.bundle import SUMS
    from smolkit.data.copies import copy_whole
    from smolkit.data.copies import verify as compare
    from smolkit.data.hub import dataset_folder
    from smolkit.data.push import dataset_files
    root = dataset_folder(source, revision)
    if to is not None:
        if (root / SUMS).is_file():
            compare(root).raise_if_red()
        root = copy_whole(dataset_files(root), to, sums=False)
    typer.echo(root)


def pack(bundle: Annotated[Path, typer.Argument(help="the new folder, on a stick perhaps")],
         things: Annotated[list[Path], typer.Argument(help="datasets, policies, notebooks: any folders")],
         torch: Annotated[bool, typer.Option(help="with PyTorch (TORCH_INDEX chooses its index)")] = True,
         wheels: Annotated[bool, typer.Option(help="with smolkit and all that it needs")] = True) -> None:
    """A bundle for a room without network: data, lessons and wheels, with an install.py that needs Python alone."""
    from smolkit.data.pack import pack as make
    typer.echo(f"packed: {make(bundle, things, torch, wheels)}; on each laptop: python3 install.py FOLDER")


def unpack(bundle: FolderName, to: FolderName) -> None:
    """Compares a bundle and copies its contents, not its wheels; what is there already stays."""
    from smolkit.data.bundle import copy_contents
    from smolkit.data.copies import verify as compare
    compare(bundle).raise_if_red()
    typer.echo(f"{copy_contents(bundle, to)} files are in {to}")


def verify(folder: FolderName) -> None:
    """Is a bundle, or a copy on a stick, as it was made? Each file against its sum."""
    from smolkit.data.copies import verify as compare
    finish(compare(folder))

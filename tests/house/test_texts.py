"""Notebooks and texts: pictures with words, links that lead somewhere, nothing private."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.repository import at, cells, texts, tracked, with_suffix
from tests.paths import REPO

MAX_BYTES = 5_500_000                      # the shipped policy is the largest
# Written with brackets, so that this file does not contain what it looks for.
HOME = re.compile(r"[/](?:home|Users|root)[/]\w+|[A-Z]:[\\]Users|[/]work[/](?:main|shared)")
PRIVATE = {
    "a path of this computer": re.compile(HOME.pattern + r"|(?<!\w)[/](?:tmp|var|opt|mnt|private)[/]\w"),
    "a token": re.compile(r"\b(?:hf|ghp|gho|sk)[_-]\w{16,}"),
    "a port": re.compile(r"[/]dev[/](?:tty|pts|cu)\S*|\bCOM\d+\b|(?:127\.0\.0\.1|localhost):\d+"),
}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".txt", ".json", ".ipynb", ".cfg", ".mplstyle", ""}
PICTURE = re.compile(r"!\[(?P<alt>[^\]]*)\]\(|<img(?P<tag>[^>]*)>")
LINK = re.compile(r"\[[^\]]*\]\(\s*<?(?P<md>[^)\s>]+)|(?:src|href)=[\"'](?P<html>[^\"']+)[\"']")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
NOTEBOOKS = with_suffix(".ipynb")


def without_alt(text: str) -> list[str]:
    """The pictures of a text that say nothing to somebody who cannot see them."""
    found = []
    for picture in PICTURE.finditer(CODE.sub("", text)):
        alt = picture["alt"] if picture["tag"] is None else _attribute(picture["tag"], "alt")
        if not alt.strip():
            found.append(picture.group(0))
    return found


def _attribute(tag: str, name: str) -> str:
    match = re.search(rf"{name}=[\"']([^\"']*)[\"']", tag)
    return match[1] if match else ""


def dead_links(path: Path, text: str) -> list[str]:
    """Targets inside the repository that do not exist, or that only exist outside of it."""
    found = []
    for link in LINK.finditer(CODE.sub("", text)):
        target = (link["md"] or link["html"]).split("#")[0]
        if not target or re.match(r"[a-z][a-z+]*:|attachment:", target):
            continue
        place = (path.parent / target).resolve()
        if not place.exists() or not place.is_relative_to(REPO):
            found.append(target)
    return found


def output_texts(cell: dict) -> Iterator[str]:
    """All that a cell's outputs say in words; embedded pictures and videos left out."""
    for output in cell.get("outputs", []):
        yield "".join(output.get("text", ""))
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield re.sub(r"data:[\w/]+;base64,[\w+/=\s]+", "", "".join(data))


def test_every_picture_has_words() -> None:
    wrong = [f"{at(path)}: {picture}" for path, text in texts() for picture in without_alt(text)]
    assert not wrong, "without alt text:\n" + "\n".join(wrong)


@pytest.mark.parametrize(("text", "count"), [("![](a.png)", 1), ("![an arm](a.png)", 0), ("<img src='a'>", 1),
                                             ("<img alt='an arm' src='a'>", 0), ("`![](a.png)`", 0)])
def test_alt_text_is_looked_for(text: str, count: int) -> None:
    assert len(without_alt(text)) == count


def test_links_lead_somewhere() -> None:
    wrong = [f"{at(path)}: {link}" for path, text in texts() for link in dead_links(path, text)]
    assert not wrong, "\n".join(wrong)


def test_dead_links_are_seen() -> None:
    here = REPO / "README.md"
    assert dead_links(here, "[a](nowhere.md) [b](Makefile) [c](https://x.org) ![d](docs/nothing.png)") == [
        "nowhere.md", "docs/nothing.png"]


def test_no_blank_is_left_to_fill() -> None:
    """`{{...}}` marks a number that nobody has measured yet."""
    wrong = [f"{at(path)}: {blank}" for path, text in texts() for blank in re.findall(r"\{\{.*?\}\}", text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=at)
def test_outputs_are_fit_for_others(path: Path) -> None:
    wrong = []
    for number, cell in enumerate(cells(path)):
        for what, pattern in PRIVATE.items():
            wrong += [f"cell {number}: {what}: {found[0]}" for text in output_texts(cell)
                      if (found := pattern.search(text))]
        wrong += [f"cell {number}: an error" for output in cell.get("outputs", [])
                  if output["output_type"] == "error"]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=at)
def test_output_pictures_have_words(path: Path) -> None:
    """In the output's metadata (`Image(alt=...)`) or, for a plot, in the cell's: `"alt": "..."`."""
    wrong = []
    for number, cell in enumerate(cells(path)):
        for output in cell.get("outputs", []):
            kinds = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
            described = cell["metadata"].get("alt") or any(
                output.get("metadata", {}).get(kind, {}).get("alt") for kind in kinds)
            if kinds and not described:
                wrong.append(f"cell {number}: a picture without `alt`")
    assert not wrong, "\n".join(wrong)


def test_private_things_are_seen() -> None:
    examples = {"a path of this computer": "/ho" + "me/ada/x", "a token": "hf_" + "a" * 20,
                "a port": "/dev/ttyUSB0"}
    assert all(PRIVATE[what].search(text) for what, text in examples.items())


def test_no_home_of_ours_in_any_file() -> None:
    wrong = [f"{at(path)}: {found[0]}" for path in tracked() if path.suffix in TEXT_SUFFIXES
             and (found := HOME.search(path.read_text(encoding="utf-8", errors="replace")))]
    assert not wrong, "\n".join(wrong)


def test_files_are_small_enough_to_clone() -> None:
    assert not {at(path): path.stat().st_size for path in tracked() if path.stat().st_size > MAX_BYTES}

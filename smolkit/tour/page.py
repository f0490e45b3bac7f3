"""The tour's report: one self-contained HTML page, written for somebody who was not there.

    page = Page("The tour", "47 of 50 unseen scenes")
    page.section("Calibrate", "Six offsets were found.", picture(figure, "alt text"))
    path.write_text(page.html())
"""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from smolkit.plotting import figure_to_png_base64

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { --ink: #1e293b; --soft: #64748b; --line: #e2e8f0;
        --good: #0a7d5a; --bad: #c2410c; --paper: #fff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f1f5f9; color: var(--ink); font: 16px/1.6 system-ui, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 24px 20px 80px; }
header { background: #14213d; color: #fff; }
header div { max-width: 860px; margin: 0 auto; padding: 44px 20px 36px; }
header h1 { margin: 0 0 6px; font-size: 34px; line-height: 1.2; }
header p { margin: 0; color: #cbd5e1; max-width: 62ch; }
.badge { display: inline-block; margin-bottom: 14px; padding: 2px 12px;
         border-radius: 99px; font-weight: 600; }
.badge.ok { background: var(--good); } .badge.bad { background: var(--bad); }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 12px;
          padding: 22px 26px; margin-top: 22px; }
section h2 { margin: 0 0 6px; font-size: 21px; }
section h2 small { float: right; color: var(--soft); font-size: 14px; font-weight: 400; line-height: 32px; }
p { margin: 8px 0; max-width: 70ch; }
img, video { max-width: 100%; display: block; margin: 14px auto 4px; border-radius: 6px; }
figcaption { color: var(--soft); font-size: 14px; text-align: center; }
figure { margin: 0; }
table { border-collapse: collapse; width: 100%; margin: 12px 0; font-size: 14.5px; }
th { text-align: left; color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
td { border-bottom: 1px solid var(--line); } th, td { padding: 5px 10px 5px 0; vertical-align: top; }
td.ok { color: var(--good); } td.bad { color: var(--bad); }
.bar { display: flex; height: 30px; border-radius: 6px; overflow: hidden; margin: 16px 0 6px; }
.bar span { display: block; min-width: 2px; }
code { background: #eef2f7; padding: 1px 6px; border-radius: 4px; font-size: 14px; }
li { margin: 6px 0; }
"""
STAGE_COLORS = ("#5b6abf", "#2a9d8f", "#e9a23b", "#8ab17d", "#d1495b", "#3d7ea6", "#8d6a9f", "#7a8691")


class Page:
    """Collects sections, then renders."""

    def __init__(self, title: str, subtitle: str, ok: bool):
        self._title, self._subtitle, self._ok = title, subtitle, ok
        self._sections: list[str] = []

    def section(self, heading: str, text: str, *parts: str, note: str = "") -> None:
        """Adds a section. `text` is plain (escaped); `parts` are HTML made by the functions below."""
        small = f"<small>{escape(note)}</small>" if note else ""
        paragraphs = "".join(f"<p>{escape(p)}</p>" for p in text.split("\n\n"))
        self._sections.append(f"<section><h2>{escape(heading)}{small}</h2>{paragraphs}{''.join(parts)}</section>")

    def html(self) -> str:
        word, kind = ("it works", "ok") if self._ok else ("not good enough yet", "bad")
        return (f"<!doctype html><html lang='en'><head><meta charset='utf-8'>"
                f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
                f"<title>{escape(self._title)}</title><style>{STYLE}</style></head><body>"
                f"<header><div><span class='badge {kind}'>{word}</span><h1>{escape(self._title)}</h1>"
                f"<p>{escape(self._subtitle)}</p></div></header><main>{''.join(self._sections)}</main></body></html>")


def picture(figure: Figure, alt: str) -> str:
    """A figure inside the page, with its alt text."""
    return (f"<figure><img alt='{escape(alt, quote=True)}' "
            f"src='data:image/png;base64,{figure_to_png_base64(figure)}'></figure>")


def video(path: Path, alt: str, caption: str = "") -> str:
    """An H.264 film inside the page, with a text for those who cannot see it."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (f"<figure><video controls loop muted autoplay playsinline aria-label='{escape(alt, quote=True)}' "
            f"src='data:video/mp4;base64,{data}'></video><figcaption>{escape(caption)}</figcaption></figure>")


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A table of plain texts; a cell that starts with ✓ or ✗ is coloured."""
    def cell(text: str) -> str:
        kind = {"✓": " class='ok'", "✗": " class='bad'"}.get(text[:1], "")
        return f"<td{kind}>{escape(text)}</td>"
    head = "".join(f"<th>{escape(h)}</th>" for h in headings)
    body = "".join(f"<tr>{''.join(cell(str(c)) for c in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def timeline(stages: list[dict]) -> str:
    """How the time was spent: one coloured piece a stage, and the same as a table."""
    colors = [STAGE_COLORS[i % len(STAGE_COLORS)] for i in range(len(stages))]
    pieces = "".join(f"<span style='flex:{max(s['seconds'], 0.01)};background:{c}' title='{escape(s['name'])}'></span>"
                     for s, c in zip(stages, colors, strict=True))
    rows = [["✓" if s["ok"] else "✗", s["name"], duration(s["seconds"])] for s in stages]
    return f"<div class='bar' aria-hidden='true'>{pieces}</div>{table(['', 'stage', 'time'], rows)}"


def listing(items: list[str]) -> str:
    """A list; `code` between backticks is set as code."""
    def item(text: str) -> str:
        parts = text.split("`")
        return "".join(f"<code>{escape(p)}</code>" if i % 2 else escape(p) for i, p in enumerate(parts))
    return "<ul>" + "".join(f"<li>{item(text)}</li>" for text in items) + "</ul>"


def duration(seconds: float) -> str:
    """Seconds as a person says them: '3 min 20 s'."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"

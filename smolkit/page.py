"""A report as one self-contained HTML page, light or dark, on screen or on paper, for somebody who was not there.

    >>> page = Page("The tour", "47 of 50 unseen scenes", ok=True, verdict="it works")
    >>> page.section("Calibrate", "Six offsets were found.", table(["joint", "offset"], [["elbow_flex", "-310"]]))
    >>> "<h2>Calibrate</h2><p>Six offsets" in page.html()
    True
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
:root { color-scheme: light dark; --ink: #1e293b; --soft: #64748b; --line: #e2e8f0; --ground: #f1f5f9; --paper: #fff;
        --good: #0a7d5a; --bad: #c2410c; --remark: #1d4ed8; --code: #eef2f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e2e8f0; --soft: #94a3b8; --line: #334155; --ground: #0b1220; --paper: #162033;
          --good: #34d399; --bad: #fb923c; --remark: #93c5fd; --code: #263449; }
  img { filter: brightness(.93); }            /* plots stay white plates: a joint keeps its colour */
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.6 system-ui, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 24px 20px 80px; }
header { background: #14213d; color: #fff; }
header div { max-width: 860px; margin: 0 auto; padding: 44px 20px 36px; }
header h1 { margin: 0 0 6px; font-size: 34px; line-height: 1.2; overflow-wrap: anywhere; }
header p { margin: 0; color: #cbd5e1; max-width: 62ch; }
.badge { display: inline-block; margin-bottom: 14px; padding: 2px 12px;
         border-radius: 99px; font-weight: 600; }
.badge.ok { background: #0a7d5a; } .badge.bad { background: #c2410c; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 12px;
          padding: 22px 26px; margin-top: 22px; }
section.bad { border-left: 5px solid var(--bad); } section.remark { border-left: 5px solid var(--remark); }
section h2 { margin: 0 0 6px; font-size: 21px; }
section h2 small { float: right; color: var(--soft); font-size: 14px; font-weight: 400; line-height: 32px; }
p { margin: 8px 0; max-width: 70ch; overflow-wrap: anywhere; }
img, video { max-width: 100%; display: block; margin: 14px auto 4px; border-radius: 6px; }
figcaption { color: var(--soft); font-size: 14px; text-align: center; }
figure { margin: 0; }
table { border-collapse: collapse; width: 100%; margin: 12px 0; font-size: 14.5px; }
th { text-align: left; color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
td { border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th, td { padding: 5px 10px 5px 0; vertical-align: top; } td:first-child { white-space: nowrap; }
td.ok { color: var(--good); } td.bad { color: var(--bad); } td.remark { color: var(--remark); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(92px, 1fr)); gap: 10px; margin: 10px 0; }
.tiles div { border: 1px solid var(--line); border-radius: 8px; padding: 8px 10px; color: var(--soft);
             font-size: 13px; line-height: 1.35; }
.tiles b { display: block; font-size: 20px; line-height: 1.4; color: var(--ink); }
.bar { display: flex; height: 30px; border-radius: 6px; overflow: hidden; margin: 16px 0 6px; }
.bar span { display: block; min-width: 2px; }
code { background: var(--code); padding: 1px 6px; border-radius: 4px; font-size: 14px; }
li { margin: 6px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 10px 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media print {
  :root { --ground: #fff; }
  body { font-size: 12px; } main { padding-top: 0; }
  header { background: none; color: #000; border-bottom: 3px solid #14213d; } header p { color: #334155; }
  header div { padding: 8px 20px 12px; } header h1 { font-size: 26px; } .badge { color: #fff; }
  .badge, .bar span { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  section h2 { font-size: 16px; }
  section { break-inside: avoid; padding: 12px 16px; margin-top: 12px; } section.long { break-inside: auto; }
}
"""
STAGE_COLORS = ("#5b6abf", "#2a9d8f", "#e9a23b", "#8ab17d", "#d1495b", "#3d7ea6", "#8d6a9f", "#7a8691")


class Page:
    """Collects sections, then renders."""

    def __init__(self, title: str, subtitle: str, ok: bool, verdict: str):
        self._title, self._subtitle, self._ok, self._verdict = title, subtitle, ok, verdict
        self._sections: list[str] = []

    def section(self, heading: str, text: str, *parts: str, note: str = "", kind: str = "") -> None:
        """Adds a section. `text` is plain (escaped); `parts` are HTML made by the functions below.

        kind: "bad" and "remark" have a coloured edge, "long" may go over a printed page's end.
        """
        small = f"<small>{escape(note)}</small>" if note else ""
        paragraphs = "".join(f"<p>{escape(p)}</p>" for p in text.split("\n\n") if p)
        self._sections.append(f"<section{f' class={kind}' if kind else ''}><h2>{escape(heading)}{small}</h2>"
                              f"{paragraphs}{''.join(parts)}</section>")

    def html(self) -> str:
        word, kind = escape(self._verdict), "ok" if self._ok else "bad"
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
    """A table of plain texts; a cell that starts with ✓, ✗ or • is coloured."""
    def cell(text: str) -> str:
        kind = {"✓": " class='ok'", "✗": " class='bad'", "•": " class='remark'"}.get(text[:1], "")
        return f"<td{kind}>{escape(text)}</td>"
    head = "".join(f"<th>{escape(h)}</th>" for h in headings)
    body = "".join(f"<tr>{''.join(cell(str(c)) for c in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def tiles(facts: dict[str, str]) -> str:
    """Numbers at a glance: what -> how much."""
    return "<div class='tiles'>" + "".join(f"<div><b>{escape(much)}</b>{escape(what)}</div>"
                                           for what, much in facts.items()) + "</div>"


def terms(pairs: dict[str, str]) -> str:
    """What each word stands for: likely cause, what to do."""
    rows = "".join(f"<dt>{escape(term)}</dt><dd>{escape(words)}</dd>" for term, words in pairs.items())
    return f"<dl>{rows}</dl>"


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

"""What a dataset's checks found: a red and green list; a click on a line shows its picture and what to do.

    check = DatasetCheck("datasets/sick")
    check                                          # as a cell's last line it is a widget
    check.choose("SK475"); check.chosen.episodes   # (9, 10)
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import ipywidgets as widgets

from smolkit.data.checks.card import MARKS, QualityCard, quality_card
from smolkit.data.checks.evidence import Finding
from smolkit.plotting import figure_to_png_base64
from smolkit.report import Report, SmolkitError
from smolkit.widgets.panel import GREEN, RED, Panel, report_html

COLORS = {"red": RED, "remark": "#2f7fd0", "green": GREEN}


class DatasetCheck(Panel):
    """The findings of `dataset`, a folder, or of a `QualityCard` that is there already; red ones first.

    `chosen` is the finding whose picture is shown. Errors: those of `quality_card`.
    """

    rate_hz = 0.0

    def __init__(self, dataset: QualityCard | Path | str):
        super().__init__()
        self.card = dataset if isinstance(dataset, QualityCard) else quality_card(dataset)
        self.findings = [finding for level in MARKS for finding in self.card.of(level)]
        self.chosen = self.findings[0]
        self._drawn: dict[int, str] = {}

    def choose(self, code: str) -> None:
        """Shows the worst finding of that code."""
        found = next((finding for finding in self.findings if finding.check.code == code), None)
        if found is None:
            raise SmolkitError("SK489", f"one of {sorted({f.check.code for f in self.findings})}", code,
                               "this dataset has nothing that check could ask", "look at the list")
        self._choose(found)

    @property
    def alt(self) -> str:
        return "A dataset's checks. " + self.text()

    def build(self) -> widgets.Widget:
        self.buttons = [self._button(finding) for finding in self.findings]
        column = widgets.VBox(self.buttons, layout=widgets.Layout(max_height="330px", overflow="auto", display="block"))
        return widgets.VBox([column, self._html]).add_class("smolkit-dataset-check")

    def paint(self) -> None:
        for button, finding in zip(self.buttons, self.findings, strict=True):
            button.style.font_weight = "bold" if finding is self.chosen else "normal"
        self._html.value = self._told(self.chosen)

    def picture(self) -> str:
        shown = [finding.check for finding in self.findings if finding.level != "green"]
        return report_html(Report(self.card.title, tuple(shown))) + self._figure(self.chosen)

    def text(self) -> str:
        red = self.card.of("red")
        heading = f"{len(red)} of {len(self.findings)} checks red" if red else f"{len(self.findings)} checks, none red"
        return "\n".join([heading, *(f"{MARKS[f.level]} {f.check.code} {f.check.name}: {f.check.found}"
                                     for f in self.findings if f.level != "green")])

    def _choose(self, finding: Finding) -> None:
        with self.lock:
            self.chosen = finding
            self._paint()

    def _button(self, finding: Finding) -> widgets.Button:
        words = f"{MARKS[finding.level]} {finding.check.code} {finding.check.name}: {finding.check.found}"
        button = self.new_button(words, "finding", lambda: self._choose(finding), finding.check.found, width="97%")
        button.style.text_color, button.style.button_color = COLORS[finding.level], "transparent"
        return button

    def _told(self, finding: Finding) -> str:
        check = finding.check
        lines = [("found", check.found), ("expected", check.expected), ("likely cause", check.cause),
                 ("what to do", check.next_step)]
        rows = "".join(f"<tr><td>{word}</td><td>{escape(words)}</td></tr>" for word, words in lines if words)
        return (f'<b style="color: {COLORS[finding.level]}">{MARKS[finding.level]} {escape(check.name)}</b>'
                f"<table>{rows}</table>{self._figure(finding)}")

    def _figure(self, finding: Finding) -> str:
        """Its picture, drawn once."""
        if finding.draw is None:
            return ""
        if id(finding) not in self._drawn:
            self._drawn[id(finding)] = figure_to_png_base64(finding.figure())
        return (f'<img alt="{escape(finding.alt)}" style="max-width: 100%; background: white" '
                f'src="data:image/png;base64,{self._drawn[id(finding)]}">')

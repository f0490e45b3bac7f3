"""Each lesson opened in JupyterLab, "Run All Cells": no error, no widget that did not draw, no red line in one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.lab import Lab, Notebook
from tests.paths import REPO

LESSONS = sorted(path for path in REPO.glob("notebooks/*.ipynb") if not path.name.startswith("00"))
RUN_S = 300.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab whose lessons are quick, and keep what they make to themselves."""
    folder = tmp_path_factory.mktemp("lessons")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMOLKIT_QUICK", "1")
        patch.setenv("SMOLKIT_OUTPUTS", str(folder / "outputs"))
        with Lab(folder) as lab:
            yield lab


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_untouched(lesson: Path, open_notebook: Callable[..., Notebook], tmp_path: Path) -> None:
    notebook = open_notebook(lesson)
    notebook.run_all(RUN_S)
    assert notebook.errors() == []
    widgets = notebook.page.locator(".jp-OutputArea .smolkit-panel")
    notebook.page.set_viewport_size({"width": 1280, "height": 12000})          # all of it, for who looks at the picture
    for shown in widgets.all():
        shown.scroll_into_view_if_needed()
    notebook.page.screenshot(path=tmp_path / "lesson.png")
    if "smolkit.widgets" in lesson.read_text(encoding="utf-8"):
        assert widgets.count() > 0, "no widget drew"
    else:
        assert notebook.page.locator(".jp-OutputArea img").count() > 0, "no figure was drawn"
    assert notebook.page.get_by_text("Error displaying widget").count() == 0
    assert notebook.page.locator(".jp-OutputArea img:not([alt])").count() == 0

"""A dataset's browser leads through pictures and joints together; its check shows the picture of what was clicked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smolkit.report import SmolkitError
from smolkit.widgets.dataset_browser import DatasetBrowser, joints_svg
from smolkit.widgets.dataset_check import DatasetCheck
from tests.data.test_sense import record, shown


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    episodes = [shown(seed, ("front",)) for seed in range(4)]
    episodes[2] = replace(episodes[2], state=episodes[2].state + 17.0 * np.eye(6)[2], task="<b>put</b> it there")
    return record(tmp_path_factory.mktemp("dataset") / "set", episodes)


def test_the_scrubber_moves_pictures_and_line_together(root):
    with DatasetBrowser(root) as browser:
        browser.view()
        before = browser._pictures["front"].image.value
        browser.slider.value = 30                  # what a person's drag does
        assert browser.row == 30 and "at 3.0 s" in browser._html.value
        assert browser._pictures["front"].image.value != before and not browser.trouble
        browser.list.value = 2
        assert (browser.episode, browser.row, browser.slider.value) == (2, 0, 0)
        assert "episode 2 of 4, 0.0 s of 3.6 s" in browser.text()
        browser.slider.value = 35
        assert browser.slider.max == browser.play.max == 35 and browser.row == 35


def test_without_a_kernel_it_is_a_picture_and_words(root):
    with DatasetBrowser(root, episode=2) as browser:
        still = browser._repr_mimebundle_()
        assert still["text/html"].count("<img alt=") == 1 and "<svg" in still["text/html"]
        assert "&lt;b&gt;put" in still["text/html"] and "<b>put" not in still["text/html"]
        assert "state (deg): shoulder_pan" in still["text/plain"] and not browser.running
        with pytest.raises(SmolkitError, match="SK409"):
            browser.show(9)


def test_curves_of_any_size_have_axes_and_end_inside(root):
    rng = np.random.default_rng(0)
    for rows, scale in ((1, 0.0), (2, 1e-3), (5000, 1e4)):
        svg = joints_svg(["a", "<b>"], scale * rng.normal(size=(rows, 2)), None, 30, rows - 1)
        assert "nan" not in svg and "inf" not in svg and "<b>" not in svg.replace('<b style', "") and len(svg) < 30_000


def test_a_click_shows_the_picture_of_that_check(root):
    check = DatasetCheck(root)
    check.view()
    red = [finding.check.code for finding in check.findings if finding.level == "red"]
    assert "SK475" in red and check.findings[0].level == "red" and check.text().startswith(f"{len(red)} of ")
    place = next(k for k, finding in enumerate(check.findings) if finding.check.code == "SK475")
    check.buttons[place].click()
    assert check.chosen.episodes == (2,) and "what to do" in check._html.value
    assert check._html.value.count("<img alt=") == 1 and not check.trouble
    check.choose("SK423")                          # a green one, from a cell
    assert check.chosen.level == "green"
    with pytest.raises(SmolkitError, match="SK489"):
        check.choose("SK999")

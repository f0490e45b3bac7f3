"""A JupyterLab for the whole run, and for every test a fresh page and an arm of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from smolkit.session import running
from smolkit.sim.plant import Plant
from tests.browser.lab import CHROMIUM, FLAGS, WAIT_S, Lab, Notebook, wait_until

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    pytest.importorskip("jupyterlab")
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def notebooks(lab: Lab, browser, folder: Path, name: str) -> Iterator[Callable[..., Notebook]]:
    """Opens notebooks in one page, and ends their kernels; a screenshot of the end stays in the folder."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(1000 * WAIT_S)

    def opened(*cells: str | Path) -> Notebook:
        if isinstance(cells[0], Path):
            return Notebook(page, lab, lab.copy(cells[0]))
        return Notebook(page, lab, lab.write(re.sub(r"\W+", "_", name), *cells))

    yield opened
    page.screenshot(path=folder / "end.png")
    page.evaluate("() => jupyterapp.serviceManager.sessions.shutdownAll()")
    page.context.close()


@pytest.fixture
def open_notebook(lab: Lab, browser, tmp_path: Path, request) -> Iterator[Callable[..., Notebook]]:
    """`open_notebook(*cells)`, or of a lesson's path."""
    with notebooks(lab, browser, tmp_path, request.node.name) as opened:
        yield opened


@pytest.fixture(scope="module")
def open_shared(lab: Lab, browser, tmp_path_factory, request) -> Iterator[Callable[..., Notebook]]:
    """The same for all tests of a file: a kernel and an arm take ten seconds to start."""
    with notebooks(lab, browser, tmp_path_factory.mktemp("shared"), request.node.path.stem) as opened:
        yield opened


@pytest.fixture
def start_plant() -> Iterator[Callable[..., Plant]]:
    """`start_plant(calibrated=False)`: an emulated arm named "browser", in wall time; it outlives any kernel."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Plant.start("place", seed=1, name="browser", **options))


@pytest.fixture(scope="module")
def kit_plant() -> Iterator[Callable[[], Plant]]:
    """`kit_plant()`: the plant behind the kit that a notebook opened."""
    def find() -> Plant | None:
        names = [endpoint.name for endpoint in running() if endpoint.name.startswith("plant kit")]
        return Plant.attach(names[0].removeprefix("plant ")) if names else None

    yield lambda: wait_until(find, "a kit's plant")
    while (left := find()) is not None:
        left.close()

"""A JupyterLab and a browser for tests: notebooks are opened, clicked and read as a person does it.

    with Lab(folder) as lab:
        lab.write("hello", "print('hello')")
        notebook = Notebook(page, lab, "hello.ipynb")       # page: Playwright's
        notebook.menu("Run", "Run All Cells")
        notebook.wait_done()
        assert notebook.said(0) == "hello"

Actions go through menus, mouse and keyboard. What a notebook holds is read from the running application
(`window.jupyterapp`), since cells that are off the screen are not drawn.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), "")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
WAIT_S = 60.0                                      # for anything: a busy computer starts a kernel for long
SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
            "@jupyterlab/completer-extension:manager": {"autoCompletion": False}}
CELLS = """() => jupyterapp.shell.currentWidget.content.widgets.map(cell => ({
    kind: cell.model.type, count: cell.model.executionCount ?? null, state: cell.model.executionState ?? "idle",
    outputs: cell.model.type === "code" ? cell.model.outputs.toJSON() : []}))"""
KERNEL = "() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"


def wait_until(true: Callable[[], Any], what: str, patience_s: float = WAIT_S) -> Any:
    """The first true answer; fails with `what` when there is none in time."""
    end_s = time.monotonic() + patience_s
    while time.monotonic() < end_s:
        if answer := true():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"in {patience_s:g} s never: {what}")


class Lab:
    """A JupyterLab of its own: a free port, a token, nobody's settings; its notebooks lie in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder / "notebooks"
        self.folder.mkdir(parents=True)
        (folder / "settings").mkdir()
        (folder / "settings" / "overrides.json").write_text(json.dumps(SETTINGS))
        own = {f"JUPYTER{name}_DIR": str(folder / name.lower()) for name in
               ("_CONFIG", "_DATA", "_RUNTIME", "LAB_SETTINGS", "LAB_WORKSPACES")}
        self._log_path = folder / "lab.log"
        with open(self._log_path, "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
                 "--ServerApp.port=0", f"--notebook-dir={self.folder}",
                 f"--LabServerApp.app_settings_dir={folder / 'settings'}"],
                env={**os.environ, **own, "IPYTHONDIR": str(folder / "ipython")},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        serving = wait_until(lambda: self._serving(folder / "_runtime"), "a JupyterLab that serves")
        self.url, self._token = serving["url"], serving["token"]

    def _serving(self, runtime: Path) -> dict[str, Any] | None:
        assert self._process.poll() is None, self._log_path.read_text()[-2000:]
        files = list(runtime.glob("jpserver-*.json"))
        return json.loads(files[0].read_text()) if files and files[0].stat().st_size else None

    def write(self, name: str, *cells: str) -> str:
        """A notebook of code cells; its file name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        return f"{name}.ipynb"

    def copy(self, notebook: Path) -> str:
        """A lesson, as a learner opens it; its file name."""
        return shutil.copy(notebook, self.folder) and notebook.name

    def address(self, name: str) -> str:
        """Where the browser finds a notebook, alone in a fresh workspace."""
        return f"{self.url}lab/workspaces/{Path(name).stem}/tree/{name}?reset&token={self._token}"

    def close(self) -> None:
        """Ends JupyterLab and its kernels."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Notebook:
    """One notebook in one browser page."""

    def __init__(self, page: Page, lab: Lab, name: str):
        self.page, self._lab = page, lab
        page.goto(lab.address(name))
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.wait_status("idle")

    def menu(self, *path: str) -> None:
        """Clicks through the menu bar: `menu("Kernel", "Restart Kernel…")`."""
        bar, *entries = path
        self.page.locator(".lm-MenuBar-itemLabel", has_text=bar).first.click()
        for entry in entries:
            self.page.locator(".lm-Menu-itemLabel", has_text=entry).first.click()

    def cells(self) -> list[dict[str, Any]]:
        """Of each cell: kind, count, state, outputs."""
        return self.page.evaluate(CELLS)

    def wait_status(self, status: str, patience_s: float = WAIT_S) -> None:
        """Until the kernel is "idle", "busy", "dead"..."""
        wait_until(lambda: self.page.evaluate(f"({KERNEL})()?.status") == status, f"kernel {status}", patience_s)

    def wait_done(self, patience_s: float = WAIT_S) -> None:
        """Until every code cell has run."""
        wait_until(lambda: all(cell["count"] and cell["state"] == "idle" for cell in self.cells()
                               if cell["kind"] == "code"), "all cells done", patience_s)

    def run_all(self, patience_s: float = WAIT_S) -> None:
        self.menu("Run", "Run All Cells")
        self.wait_done(patience_s)

    def run(self, *numbers: int, patience_s: float = WAIT_S) -> None:
        """Runs these cells, one after the other: a click beside the cell, then Ctrl+Enter."""
        for number in numbers:
            cell = self.page.locator(".jp-Notebook .jp-Cell").nth(number)
            cell.locator(".jp-InputPrompt").click()
            self.page.keyboard.press("Control+Enter")
            wait_until(lambda number=number: self.cells()[number]["count"] and self.cells()[number]["state"] == "idle",
                       f"cell {number} done", patience_s)
        assert not self.errors(), self.errors()

    def errors(self) -> list[str]:
        """What went wrong, with the cell's number."""
        return [f"cell {number}: {output['ename']}: {output['evalue']}" for number, cell in enumerate(self.cells())
                for output in cell["outputs"] if output["output_type"] == "error"]

    def said(self, number: int) -> str:
        """What a cell printed."""
        return "".join("".join(output["text"]) for output in self.cells()[number]["outputs"]
                       if output["output_type"] == "stream").strip()

    def button(self, words: str) -> Locator:
        """The button of a widget that shows these words."""
        return self.page.locator(".jp-OutputArea button", has_text=words).first

    def drag(self, slider: str, share: float) -> None:
        """Drags the handle of the slider with that class to a share (0..1) of its way, by mouse."""
        way = self.page.locator(f".{slider} .noUi-base")
        handle = self.page.locator(f".{slider} .noUi-handle")
        way.scroll_into_view_if_needed()
        box, grip = way.bounding_box(), handle.bounding_box()
        self.page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2, steps=10)
        self.page.mouse.up()

    def wait_text(self, words: str, patience_s: float = WAIT_S) -> None:
        """Until these words can be seen."""
        self.page.get_by_text(words).first.wait_for(timeout=1000 * patience_s)

    def sees(self, words: str, patience_s: float) -> bool:
        """Can these words be seen, at once or a little later?"""
        end_s = time.monotonic() + patience_s
        while not (seen := self.page.get_by_text(words).count() > 0) and time.monotonic() < end_s:
            time.sleep(0.1)
        return seen

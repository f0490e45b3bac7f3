"""What all widgets of this kit share: they live in JupyterLab, are a picture on paper and words in a terminal.

    >>> class Counter(Panel):
    ...     alt, count = "a counter", 0
    ...     def sample(self):
    ...         self.count += 1
    ...     def text(self):
    ...         return f"counted to {self.count}"
    >>> with Counter() as panel:
    ...     view = panel.view()                              # a widget; `panel` as a cell's last line starts it, too
    ...     _ = panel.refresh()
    ...     panel.picture()
    '<pre>counted to 1</pre>'

A cell that shows a panel returns at once: a `Ticker` looks at the world from a thread, and the kernel stays
free for the buttons. What goes wrong in there stands in the panel as a red line until it works again.
"""

from __future__ import annotations

import base64
import io
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np

from smolkit.report import Report, SmolkitError

TROUBLED_S = 0.5                                   # between two tries while nothing works
RED, GREEN, AMBER = "#d9362b", "#12925a", "#c27803"          # each 3:1 or more on white and on JupyterLab's dark grey
# Neutrals are the page's own text colour, more or less transparent: so one style fits every theme.
STYLE = """<style>
.smolkit-panel { max-width: 760px; overflow: visible; }
.smolkit-panel .widget-html-content, .smolkit-static { line-height: 1.45; font-size: 13px; }
.smolkit-panel svg, .smolkit-static svg { display: block; max-width: 100%; height: auto; }
.smolkit-trouble { border-left: 4px solid #d9362b; padding: 4px 10px; margin: 4px 0; white-space: pre-wrap;
  background: rgba(217, 54, 43, .10); }
.smolkit-step { border-left: 4px solid #0072B2; padding: 4px 10px; margin: 4px 0; font-size: 15px; }
.smolkit-done { border-left-color: #12925a; }
.smolkit-faint { opacity: .65; }
.smolkit-static pre { white-space: pre-wrap; }
.smolkit-panel table, .smolkit-static table { border-collapse: collapse; color: inherit;
  font-size: inherit; }
.smolkit-panel td, .smolkit-panel th, .smolkit-static td, .smolkit-static th { text-align: left !important;
  vertical-align: top; padding: 2px 12px 2px 0; border: 0; }
.smolkit-panel .jupyter-button { height: auto; min-height: 30px; min-width: 110px; width: auto; }
.smolkit-panel .widget-vbox > .jupyter-button { align-self: flex-start; }
.smolkit-panel .smolkit-finding { text-align: left; min-height: 24px; margin: 0; }
</style>"""


class Ticker:
    """Calls `work` up to `rate_hz` times a second from a daemon thread, until `stop`.

        >>> ticks = []
        >>> ticker = Ticker(lambda: ticks.append(1), rate_hz=100).start()
        >>> time.sleep(0.2); ticker.stop()
        >>> len(ticks) > 2
        True

    It rests as long as the work took, at least: slow work makes it slower and leaves the others half of the time.
    `work` returning False makes it wait `TROUBLED_S` before the next try.
    """

    def __init__(self, work: Callable[[], Any], rate_hz: float = 10.0):
        self._work, self._period_s = work, 1 / rate_hz
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="smolkit ticker")

    @property
    def running(self) -> bool:
        return self._thread.is_alive() and not self._over.is_set()

    def start(self) -> Ticker:
        """Begins; once stopped, a ticker does not begin again."""
        self._thread.start()
        return self

    def stop(self, wait_s: float = 2.0) -> None:
        """No call begins after this; waits for the one under way, unless that is what asks."""
        self._over.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(wait_s)

    def _run(self) -> None:
        while not self._over.is_set():
            began_s = time.monotonic()
            fine = self._work() is not False
            took_s = time.monotonic() - began_s
            self._over.wait(max(self._period_s - took_s, took_s) if fine else TROUBLED_S)


class Panel(AbstractContextManager):
    """A widget with its two fallbacks. A subclass says `text`, `alt`, `picture`, and `sample` if it looks.

    sample: one look at the world. picture: HTML of the present state that needs no kernel. One that is more than
    its picture also says `build`: its widgets, called once; and `paint`: the present state into them. All of these
    run with `lock` held, by the ticker's thread or by a button's click.
    """

    rate_hz = 10.0                                 # 0: it changes by its buttons alone, and has no ticker
    alt = ""                                       # what a screen reader says of the picture
    picture_speaks = False                         # it is words already, and needs none below it

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._view: widgets.VBox | None = None
        self._ticker: Ticker | None = None
        self._troubles = {"act": "", "look": ""}
        self._html, self._alarm = widgets.HTML(), widgets.HTML()        # the picture, where it is one

    # --- for subclasses ---------------------------------------------------------------------------------

    def build(self) -> widgets.Widget:
        """The panel's widgets."""
        return self._html

    def sample(self) -> None:
        """One look at the world."""

    def paint(self) -> None:
        """The present state into the widgets that `build` made."""
        self._html.value = self.picture()

    def text(self) -> str:
        """The present state in a few plain lines."""
        return self.alt

    def picture(self) -> str:
        """The present state as HTML that needs no kernel."""
        return f"<pre>{escape(self.text())}</pre>"

    def attempt(self, work: Callable[..., Any], *arguments: Any) -> bool:
        """What a button does: `work`, and a fresh picture. An error becomes the red line, and False."""
        with self.lock:
            return self.aside(work, *arguments)

    def aside(self, work: Callable[..., Any], *arguments: Any) -> bool:
        """The same without holding the lock: a look at a slow arm, or a wait for a person, is in nobody's way."""
        done = self._try("act", lambda: work(*arguments))
        with self.lock:
            return self._try("look", self._paint) and done

    def new_button(self, words: str, name: str, work: Callable[[], Any], tooltip: str, icon: str = "",
                   **layout: str) -> widgets.Button:
        """A button that does `work` by `attempt`; `smolkit-{name}` is its class in the page."""
        button = widgets.Button(description=words, tooltip=tooltip, icon=icon, layout=layout)
        button.on_click(lambda _: self.attempt(work))
        return button.add_class(f"smolkit-{name}")

    # --- for everybody ----------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """What stands in the red line; '' when all is well."""
        return "\n".join(filter(None, self._troubles.values()))

    def view(self) -> widgets.VBox:
        """The widget, built at the first call."""
        with self.lock:
            if self._view is None:
                self._view = widgets.VBox([widgets.HTML(STYLE), self.build(), self._alarm])
                self._view.add_class("smolkit-panel")
                self._try("look", self.paint)
            return self._view

    def refresh(self) -> bool:
        """One look and one redraw; False, and a red line, where something is wrong."""
        with self.lock:
            return self._try("look", lambda: (self.sample(), self._paint()))

    def start(self) -> Panel:
        """Refreshes `rate_hz` times a second from now on; showing the panel does so, too."""
        with self.lock:
            if self.rate_hz and not self.running:
                self._ticker = Ticker(self.refresh, self.rate_hz).start()
        return self

    @property
    def running(self) -> bool:
        return self._ticker is not None and self._ticker.running

    def rest(self) -> None:
        """No more looks; the panel stays as it is. A button's click may ask for it."""
        if self._ticker is not None:
            self._ticker.stop(wait_s=0)

    def close(self) -> None:
        """Ends the looks, and waits for one under way: what the panel looked at may be closed next."""
        if self._ticker is not None:
            self._ticker.stop()

    def static(self) -> None:
        """Shows picture and words in a cell, where widgets work, too."""
        from IPython.display import HTML, display
        display(HTML(self._still()))

    def _paint(self) -> None:
        if self._view is not None:
            self.paint()

    def _still(self) -> str:
        with self.lock:
            trouble = f'<div class="smolkit-trouble">{escape(self.trouble)}</div>' if self.trouble else ""
            words = "" if self.picture_speaks else f'<pre class="smolkit-faint">{escape(self.text())}</pre>'
            return f'{STYLE}<div class="smolkit-static">{self.picture()}{trouble}{words}</div>'

    def _try(self, kind: str, work: Callable[[], Any]) -> bool:
        """A look's trouble lasts until a look succeeds, a button's until a button does: long enough to be read."""
        try:
            work()
            words = ""
        except Exception as error:                 # whatever it is, the person in front of the panel sees it
            words = _words(error)
        with self.lock:
            if words != self._troubles[kind]:
                self._troubles[kind] = words
                self._alarm.value = (f'<div class="smolkit-trouble" role="alert"><b style="color: {RED}">✗</b> '
                                     f'{escape(self.trouble)}</div>' if self.trouble else "")
        return not words

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        if not self.running:
            self.refresh()                         # so that the picture, too, is of now
        fallbacks = {"text/html": self._still(), "text/plain": self.text()}
        self.start()
        return {**self.view()._repr_mimebundle_(), **fallbacks}

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def revived(line: Any) -> Iterator[None]:
    """A look over `line`, a bus: where it finds the cable pulled, the next one finds the port opened anew."""
    try:
        yield
    except SmolkitError as error:
        if error.code == "SK106":
            line.revive()
        raise


def _words(error: Exception) -> str:
    """A `SmolkitError` teaches by itself; of anything else one wants to know where it came from."""
    if isinstance(error, SmolkitError):
        return "\n".join((str(error), *getattr(error, "__notes__", ())))
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({at.name}, line {at.lineno})"


def img_html(image: np.ndarray, alt: str, width_px: int) -> str:
    """A picture (H, W, 3) uint8 RGB inside a page, for those who have no kernel, too."""
    from PIL import Image
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=80)
    return (f'<img alt="{escape(alt)}" width="{width_px}" decoding="sync" '
            f'src="data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode("ascii")}">')


def banner(words: str, done: bool = False, heading: str = "") -> str:
    """What to do now, or that it is done."""
    above = f"<b>{escape(heading)}</b><br>" if heading else ""
    return f'<div class="smolkit-step{" smolkit-done" * done}" role="status">{above}{escape(words)}</div>'


def report_html(report: Report) -> str:
    """A report as a table: a mark, what was found, and for red checks the likely cause and the next command.

        >>> from smolkit.report import Check
        >>> "✓" in report_html(Report("bring-up", (Check("SK102", "port", True, "a port that opens", "opened"),)))
        True
    """
    rows = []
    for check in report.checks:
        mark, colour, word = ("✓", GREEN, "good") if check.ok else ("✗", RED, "red")
        why = "" if check.ok else (f"<br>expected: {escape(check.expected)}<br>likely cause: {escape(check.cause)}"
                                   f"<br>next: {escape(check.next_step)}")
        rows.append(f'<tr class="smolkit-check smolkit-{word}"><td style="color: {colour}" aria-label="{word}">'
                    f"<b>{mark}</b></td><td>{escape(check.code)}</td><td><b>{escape(check.name)}</b></td>"
                    f"<td>{escape(check.found)}{why}</td></tr>")
    return f'<table class="smolkit-report" aria-label="{escape(report.title)}">{"".join(rows)}</table>'

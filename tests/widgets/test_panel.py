"""The panel that all others are: it looks from a thread, says what went wrong, and shows itself three ways."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import ipywidgets as widgets
import pytest

from smolkit.report import Check, Report, SmolkitError
from smolkit.widgets.panel import Panel, Ticker, report_html

BREAK = SmolkitError("SK101", "an answer from servos 3 (elbow_flex)", "nothing", "a loose cable", "smolkit doctor PORT")


def until(condition: Callable[[], object], patience_s: float = 10.0) -> bool:
    end_s = time.monotonic() + patience_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)
    return bool(condition())


class Gauge(Panel):
    """Looks at a world that can break, and has one button."""

    alt, rate_hz = "a gauge", 50.0

    def __init__(self) -> None:
        super().__init__()
        self.looks, self.broken, self.pressed = 0, None, 0
        self.threads: set[str] = set()

    def build(self) -> widgets.Widget:
        self.label = widgets.HTML()
        self.button = self.new_button("press", "press", self._press, "counts")
        return widgets.VBox([self.label, self.button])

    def _press(self) -> None:
        if self.broken:
            raise self.broken
        self.pressed += 1

    def sample(self) -> None:
        self.threads.add(threading.current_thread().name)
        if self.broken:
            raise self.broken
        self.looks += 1

    def paint(self) -> None:
        self.label.value = f"{self.looks} & {self.pressed}"

    def text(self) -> str:
        return f"{self.looks} < {self.looks + 1} looks"


def test_a_shown_panel_lives_by_itself_and_stops_when_closed() -> None:
    gauge = Gauge()
    bundle = gauge._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert until(lambda: gauge.looks > 3) and "smolkit ticker" in gauge.threads
    assert gauge.label.value != "0 & 0"
    gauge.close()
    looks = gauge.looks
    time.sleep(0.1)
    assert gauge.looks == looks and not gauge.running


def test_a_picture_needs_no_kernel_and_its_words_are_escaped() -> None:
    gauge = Gauge()
    still = gauge._repr_mimebundle_()["text/html"]
    gauge.close()
    assert "1 &lt; 2 looks" in still and "1 < 2" not in still


def test_a_lost_wire_is_a_red_line_until_it_is_back() -> None:
    gauge = Gauge()
    gauge._repr_mimebundle_()
    gauge.broken = BREAK
    assert until(lambda: "SK101" in gauge.trouble)
    assert 'role="alert"' in gauge._alarm.value and "a loose cable" in gauge._alarm.value
    gauge.broken = None
    assert until(lambda: not gauge.trouble) and gauge._alarm.value == ""
    gauge.close()


def test_what_a_button_could_not_do_stays_to_be_read_while_looks_go_on() -> None:
    gauge = Gauge()
    gauge.view()
    gauge.broken = ValueError("no such servo")
    gauge.button.click()
    gauge.broken = None
    assert gauge.refresh() and gauge.trouble.startswith("ValueError: no such servo (_press, line ")
    gauge.button.click()
    assert (gauge.trouble, gauge.pressed, gauge.label.value) == ("", 1, "1 & 1")


def test_a_broken_picture_is_said_and_not_lost() -> None:
    class Unpaintable(Gauge):
        def paint(self) -> None:
            raise KeyError("colour")

    panel = Unpaintable()
    panel.view()
    assert "KeyError" in panel.trouble and "KeyError" in panel._alarm.value


def test_a_button_may_close_its_own_panel() -> None:
    class Closing(Gauge):
        def _press(self) -> None:
            self.rest()

    panel = Closing()
    panel._repr_mimebundle_()
    panel.button.click()
    assert not panel.running and until(lambda: not panel._ticker._thread.is_alive())
    panel.start()
    assert panel.running
    panel.close()


def test_slow_work_slows_the_ticker_instead_of_piling_up() -> None:
    begun: list[float] = []

    def work() -> None:
        begun.append(time.monotonic())
        time.sleep(0.05)

    ticker = Ticker(work, rate_hz=1000).start()
    until(lambda: len(begun) >= 4)
    ticker.stop()
    gaps = [after - before for before, after in zip(begun, begun[1:], strict=False)]
    assert min(gaps) >= 0.095                      # 50 ms of work and as much of rest


@pytest.mark.parametrize(("ok", "word"), [(True, "✓"), (False, "the supply sags &lt;")])
def test_a_report_becomes_a_table(ok: bool, word: str) -> None:
    check = Check("SK110", "servo voltage", ok, "4.6 V", "3.9 V", "the supply sags <", "use a 5 V supply")
    assert word in report_html(Report("bring-up", (check,)))

"""The harness itself: a click arrives in the kernel, and what went wrong there is seen here."""

from __future__ import annotations

BUTTON = """
import ipywidgets
button, said = ipywidgets.Button(description="Go"), ipywidgets.Label()
button.on_click(lambda _: setattr(said, "value", "clicked"))
display(button, said)
"""


def test_a_click_reaches_the_kernel(open_notebook) -> None:
    notebook = open_notebook(BUTTON, "print(button.description)", "1 / 0")
    notebook.menu("Run", "Run All Cells")
    notebook.button("Go").click()
    notebook.page.get_by_text("clicked", exact=True).wait_for()
    notebook.wait_done()
    assert notebook.said(1) == "Go"
    assert notebook.errors() == ["cell 2: ZeroDivisionError: division by zero"]

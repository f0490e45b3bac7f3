"""The bar of one joint while it is swept: one turn of the encoder, how much of it the joint has been through.

    >>> bar = Bar("elbow_flex", low=1290, present=2047, high=2400, share=0.5, warning="")
    >>> bar_words(bar)
    'elbow_flex: 1290 .. 2047 .. 2400, 98 of 194 deg'
    >>> "elbow_flex: 1290" in bar_html(bar)
    True
"""

from __future__ import annotations

from html import escape

import numpy as np

from smolkit.arm.calibrate import DRAWN_SPAN, MIDDLE, NEAR_SEAM, WRIST_ROLL, Bar
from smolkit.arm.calibration import LEAST_SPAN
from smolkit.arm.joints import JOINT_NAMES
from smolkit.arm.registers import TICKS_PER_TURN
from smolkit.plotting import JOINT_COLORS
from smolkit.widgets.panel import AMBER, GREEN, RED

DEG = 360 / TICKS_PER_TURN                         # deg in a tick
BEYOND = 260                                       # tick drawn on either side of the turn, to show what went over
WIDTH_PX, HEIGHT_PX = 400, 40
LEGEND = ('<div class="smolkit-faint">A bar is one turn of the encoder, tick 0 to 4095. Coloured: where the joint has '
          "been. Dashed: an SO-101's whole range. Wedge: now. Red ends: the seam, where 4095 jumps to 0.</div>")


def bar_words(bar: Bar) -> str:
    """The bar for a screen reader and a terminal."""
    warning = f" ⚠ {bar.warning}" if bar.warning else ""
    return f"{bar.joint}: {bar.low} .. {bar.present} .. {bar.high}, {swept_words(bar)}{warning}"


def swept_words(bar: Bar) -> str:
    """How many degrees were swept, and how many there are."""
    return f"{(bar.high - bar.low) * DEG:.0f} of {DRAWN_SPAN[JOINT_NAMES.index(bar.joint)] * DEG:.0f} deg"


def _x(tick: float) -> float:
    """Ticks -> px; what went further than drawn stays at the edge."""
    return 10 + (WIDTH_PX - 20) * float(np.clip((tick + BEYOND) / (TICKS_PER_TURN + 2 * BEYOND), 0, 1))


def bar_html(bar: Bar, asked: bool = False, placed: bool = True) -> str:
    """The bar, its degrees and its warning; `asked` marks the joint that is to move now.

    `placed`: the middle was shown, so that the turn has its seam where it will be.
    """
    done = bar.share >= LEAST_SPAN
    note = f'<span style="color: {AMBER}"><b>⚠</b> {escape(bar.warning)}</span>' if bar.warning else ""
    state = (f'<b style="color: {GREEN}">✓ {swept_words(bar)}</b>' if done else
             f"<b>▸ {swept_words(bar)}</b>" if asked else f"<span>{swept_words(bar)}</span>")
    return (f'<div class="smolkit-bar" style="display: flex; align-items: center; gap: 10px">{_bar_svg(bar, placed)}'
            f'<span style="min-width: 120px; line-height: 1.2">{state}<br>{note}</span></div>')


def _bar_svg(bar: Bar, placed: bool) -> str:
    """The turn of the encoder from 0 to 4095: what the joint should cover (dashed), has covered, and where it is."""
    index = JOINT_NAMES.index(bar.joint)
    left, right, low, high, now = map(_x, (0, 4095, bar.low, bar.high, bar.present))
    first, last = (_x(MIDDLE + sign * DRAWN_SPAN[index] / 2) for sign in (-1, 1))
    near = _x(NEAR_SEAM) - left if index != WRIST_ROLL else 0
    wanted = (f'<g stroke="currentColor" opacity=".6"><path d="M{_x(MIDDLE):.1f} 9v18"/><rect x="{first:.1f}" y="9" '
              f'width="{last - first:.1f}" height="18" rx="2" fill="none" stroke-dasharray="3 3"/></g>')
    seams = "".join(f'<rect x="{x:.1f}" y="12" width="{max(width, 0):.1f}" height="12" fill="{colour}" opacity=".3"/>'
                    for x, width, colour in ((0, left, RED), (right, WIDTH_PX - right, RED), (left, near, AMBER),
                                             (right - near, near, AMBER)))
    ends = "".join(f'<text x="{x:.1f}" y="37" text-anchor="{anchor}">{tick}</text>' for x, anchor, tick in
                   ((low, "end", bar.low), (high, "start", bar.high)) if bar.high - bar.low > 150)
    return (f'<svg width="{WIDTH_PX}" height="{HEIGHT_PX}" viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" role="img" '
            f'aria-label="{escape(bar_words(bar))}" font-size="10" fill="currentColor" style="flex: none">'
            f'<rect x="{left:.1f}" y="12" width="{right - left:.1f}" height="12" opacity=".12"/>{seams}'
            f'<rect x="{low:.1f}" y="12" width="{max(high - low, 2):.1f}" height="12" fill="{JOINT_COLORS[index]}"/>'
            f'{wanted * placed}<path d="M{now:.1f} 25l-5 -15h10z" stroke="white"/>{ends}'
            f'<text x="{now:.1f}" y="8" text-anchor="middle" font-weight="bold">{bar.present}</text></svg>')

"""The pictures of lesson 03: who owns the wire, what a death looks like, what the guard holds back, what was recorded.

Each function takes what the desk gives and returns a matplotlib figure; its title is the finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smolkit.arm.joints import GRIPPER, JOINT_NAMES, to_radians
from smolkit.arm.kinematics import tool_frame
from smolkit.data.checks.motion import MOST_IDLE, STILL_DEG_S, correlations, idle_share, lag_ms
from smolkit.data.figures import contact_sheet
from smolkit.data.reader import Dataset
from smolkit.lessons.teleop_death import Death
from smolkit.lessons.teleop_hunt import Session
from smolkit.lessons.teleop_ways import Led
from smolkit.plotting import JOINT_COLORS, figure, finding
from smolkit.safety.envelope import Envelope
from smolkit.safety.limits import JOINT_DEG
from smolkit.safety.profiles import PROFILES
from smolkit.safety.states import State
from smolkit.teleop.loop import Step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, PALE, LIT = "#1e293b", "#94a3b8", "#f1f5f9", "#0072B2"
DOES = {State.IDLE: "torque off", State.ARMED: "stands, ready", State.RUNNING: "obeys goals",
        State.HOLD: "stands, refuses", State.PARKING: "goes home", State.OFF: "torque off\nafter a stop",
        State.LOST: "nobody answers"}


def wire(state: State) -> Figure:
    """Who talks to the servos, and the guardian's states with the present one lit."""
    fig, (top, low) = figure(height=2.7, rows=2, height_ratios=(1.1, 1))
    top.set(xlim=(-0.05, 7.05), ylim=(0, 1.3))
    top.axis("off")
    for left, words in ((0.0, "this notebook\n(may be killed)"), (2.6, "guardian\n(a process of its own)"),
                        (5.2, "six servos\n(know no danger)")):
        _box(top, left, 0.1, 1.75, 0.85, words, PALE, INK)
    _arrow(top, 1.77, 2.58, 0.52, "goals, 10 signs of life/s")
    _arrow(top, 4.37, 5.18, 0.52, "serial bus")
    _strip(low, state)
    return finding(fig, f"Only the guardian holds the wire. Now {state.upper()}: {_does(state)}")


def states(state: State) -> Figure:
    """The guardian's states alone, the present one lit."""
    fig, ax = figure(height=1.35)
    _strip(ax, state)
    return finding(fig, f"Now {state.upper()}: {_does(state)}")


def _strip(ax: Axes, state: State) -> None:
    ax.set(xlim=(-0.05, 7.05), ylim=(0, 1))
    ax.axis("off")
    for place, one in enumerate(State):
        lit = one is state
        _box(ax, place * 1.01, 0.05, 0.94, 0.9, f"{one.upper()}\n{DOES[one]}", LIT if lit else "white",
             "white" if lit else INK, LIT if lit else QUIET, size=7.5)


def _does(state: State) -> str:
    return DOES[state].replace("\n", " ")


def _box(ax: Axes, left: float, low: float, width: float, height: float, words: str, face: str, ink: str,
         edge: str = QUIET, size: float = 9) -> None:
    from matplotlib.patches import FancyBboxPatch
    ax.add_patch(FancyBboxPatch((left, low), width, height, boxstyle="round,pad=0,rounding_size=0.08", facecolor=face,
                                edgecolor=edge))
    ax.text(left + width / 2, low + height / 2, words, ha="center", va="center", color=ink, fontsize=size)


def _arrow(ax: Axes, begin: float, end: float, high: float, words: str) -> None:
    ax.annotate("", (end, high), (begin, high), arrowprops={"arrowstyle": "<->", "color": INK})
    ax.text((begin + end) / 2, high + 0.5, words, ha="center", fontsize=7.5, color=INK)


def death(one: Death) -> Figure:
    """Joints before and after the kill, and under them what the guardian did."""
    fig, (top, low) = figure(height=3.8, rows=2, sharex=True, height_ratios=(4, 1))
    moved = [joint for joint in range(6) if np.ptp(one.pos_deg[:, joint]) > 2]
    for joint in moved:
        top.plot(one.time_s, one.pos_deg[:, joint], color=JOINT_COLORS[joint], label=JOINT_NAMES[joint])
    top.axvline(0, color="#b91c1c", linewidth=1.2)
    top.annotate("SIGKILL", (0, 1), (3, -10), xycoords=("data", "axes fraction"), textcoords="offset points",
                 color="#b91c1c", fontsize=8)
    top.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.2), frameon=False)
    top.set(ylabel="position (deg; gripper %)")
    _bands(low, one)
    return finding(fig, f"Killed at 0 s; it stands after {one.stands_after_s:.2f} s and is limp after "
                        f"{one.limp_after_s:.1f} s")


def _bands(ax: Axes, one: Death) -> None:
    """One bar, a colour for each state."""
    shades = {"armed": "#bae6fd", "running": "#38bdf8", "hold": "#fbbf24", "parking": "#d6d3d1", "off": "#f5f5f4"}
    changes = [(e.moment_s, e.state) for e in one.entries if e.kind == "state"]
    ends = [moment_s for moment_s, _ in changes[1:]] + [changes[-1][0] + 0.8]
    for (begin_s, state), end_s in zip(changes, ends, strict=True):
        ax.barh(0, end_s - begin_s, left=begin_s, color=shades.get(state, "white"), edgecolor="white", height=0.8)
        if end_s - begin_s > 0.3:
            ax.text((begin_s + end_s) / 2, 0, state, ha="center", va="center", fontsize=8)
    ax.set(xlabel="time since the kill (s)", yticks=[])
    ax.grid(False)


def envelopes(goal_deg: float = 60.0, quick_s: float = 0.4, hz: int = 30, seconds: float = 3.0) -> Figure:
    """A goal that is far away at once, and one that runs there: what each profile sends. No arm moves here."""
    fig, axes = figure(height=3.0, columns=2, sharey=True)
    time_s = np.arange(round(seconds * hz)) / hz
    for ax, walk_s, words in ((axes[0], 0.0, "a jump: the policy woke up elsewhere"),
                              (axes[1], quick_s, f"a quick hand: {goal_deg / quick_s:.0f} deg/s")):
        wish_deg = goal_deg * np.clip((time_s + 1 / hz) / max(walk_s, 1e-9), 0, 1)
        ax.plot(time_s, wish_deg, ":", color=INK, label="wished")
        for color, name in zip(JOINT_COLORS, PROFILES, strict=False):
            sent_deg = admitted(name, wish_deg, 1 / hz)
            there = sent_deg > goal_deg - 0.5
            ax.plot(time_s, sent_deg, color=color,
                    label=name + (f": {time_s[there.argmax()]:.1f} s" if there.any() else ": later"))
        ax.set_title(words, fontsize=9, loc="left")
        ax.set_xlabel("time (s)")
        ax.legend(loc="lower right", frameon=False)
    axes[0].set_ylabel("shoulder_pan goal (deg)")
    return finding(fig, "A jump goes out as a walk; a quick hand is slowed as the profile says")


def admitted(profile: str, wish_deg: np.ndarray, period_s: float) -> np.ndarray:
    """What the envelope lets through (N,) of the pan's wishes (N,); this arm follows at once."""
    envelope, present = Envelope(profile), np.array([0, -30, 40, 70, 0, 50.0])
    sent = []
    for pan_deg in wish_deg:
        present = envelope.admit(np.array([pan_deg, *present[1:]]), present, period_s)
        sent.append(present[0])
    return np.array(sent)


def ways(leds: Mapping[str, Led]) -> Figure:
    """The same reach, led in each way: action dotted, state solid."""
    fig, axes = figure(height=4.8, rows=2, columns=2, sharex=True, sharey=True)
    for ax, (way, led) in zip(np.ravel(axes), leds.items(), strict=True):
        _traces(ax, led.time_s, led.action_deg[:, :5], led.state_deg[:, :5])
        ax.set_title(f"{way}: {len(led.time_s) / 30:.1f} s", fontsize=10)
    for ax in axes[1]:
        ax.set_xlabel("time (s)")
    for ax in axes[:, 0]:
        ax.set_ylabel("position (deg)")
    _legend(fig)
    return finding(fig, "One reach, four recordings: hand and script move all joints at once")


def _traces(ax: Axes, time_s: np.ndarray, action_deg: np.ndarray, state_deg: np.ndarray) -> None:
    for joint in range(action_deg.shape[1]):
        ax.plot(time_s, state_deg[:, joint], color=JOINT_COLORS[joint], label=JOINT_NAMES[joint])
        ax.plot(time_s, action_deg[:, joint], ":", color=JOINT_COLORS[joint])


def _legend(fig: Figure) -> None:
    from matplotlib.lines import Line2D
    handles = [Line2D([], [], color=color, label=name) for name, color in zip(JOINT_NAMES, JOINT_COLORS, strict=True)]
    handles += [Line2D([], [], color=INK, label="state"), Line2D([], [], color=INK, linestyle=":", label="action")]
    fig.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def lag(led: Led, hz: int = 30) -> Figure:
    """Left: the joint that moves most, hand and follower. Right: how alike they are, shifted against each other."""
    fig, (left, right) = figure(columns=2, height=2.8)
    joint = int(np.ptp(led.state_deg[:, :5], axis=0).argmax())
    left.plot(led.time_s, led.action_deg[:, joint], ":", color=JOINT_COLORS[joint], label="action: the hand")
    left.plot(led.time_s, led.state_deg[:, joint], color=JOINT_COLORS[joint], label="state: the follower")
    left.set(xlabel="time (s)", ylabel=f"{JOINT_NAMES[joint]} (deg)")
    left.legend(frameon=False)
    behind_ms = lag_ms(led.action_deg[:, :5], led.state_deg[:, :5], 1000 / hz)
    shifts_ms = np.arange(10) * 1000 / hz
    right.plot(shifts_ms, correlations(led.action_deg[:, :5], led.state_deg[:, :5], 9), "o-", color=INK)
    right.axvline(behind_ms, color="#D55E00", label=f"best: {behind_ms:.0f} ms")
    right.set(xlabel="state shifted back by (ms)", ylabel="correlation")
    right.legend(frameon=False)
    return finding(fig, f"The follower runs {behind_ms:.0f} ms behind the hand")


def attempt(steps: list[Step], hz: int = 10) -> Figure:
    """One attempt before it is kept or thrown away: pictures along the way, traces, grey where nothing moves."""
    state, action = (np.array(rows) for rows in zip(*((s.observation.state_deg, s.action_deg) for s in steps),
                                                    strict=True))
    fig, (top, low) = figure(height=3.9, rows=2, height_ratios=(1, 2.2))
    chosen = np.linspace(0, len(steps) - 1, 7).astype(int)
    top.imshow(np.hstack([steps[index].observation.images["front"] for index in chosen]))
    top.axis("off")
    time_s = np.arange(len(steps)) / hz
    _shade_idle(low, state, hz)
    _traces(low, time_s, action, state)
    low.set(xlabel="time (s)", ylabel="deg; gripper %", xlim=(0, time_s[-1]))
    _legend(fig)
    return finding(fig, f"{len(steps) / hz:.1f} s, idle {idle_share(state, hz):.0%}; the action is "
                        f"{lag_ms(action, state, 1000 / hz):.0f} ms ahead")


def _shade_idle(ax: Axes, state_deg: np.ndarray, hz: int) -> None:
    still = np.abs(np.diff(state_deg * JOINT_DEG, axis=0)).max(axis=1) * hz < STILL_DEG_S
    for index in np.flatnonzero(still):
        ax.axvspan(index / hz, (index + 1) / hz, color="#e2e8f0", linewidth=0)


def first_pictures(root: Path) -> Figure:
    """The first front picture of every episode: does anything differ?"""
    with closing(Dataset(root)) as dataset:
        key = next((key for key in dataset.camera_keys if key.endswith("front")), dataset.camera_keys[0])
        return contact_sheet(list(dataset.frames(key, dataset.starts[:-1])), columns=min(6, len(dataset.episodes)))


def overview(root: Path) -> Figure:
    """Each episode in three numbers: how long, how idle, how far the action leads."""
    with closing(Dataset(root)) as dataset:
        rows = [dataset.episode(episode.index) for episode in dataset.episodes]
        hz = dataset.fps
    numbers = {"duration (s)": [len(row["action"]) / hz for row in rows],
               "idle (%)": [100 * idle_share(row["observation.state"], hz) for row in rows],
               "action leads by (ms)": [lag_ms(row["action"], row["observation.state"], 1000 / hz) for row in rows]}
    fig, axes = figure(columns=3, height=2.2)
    for ax, (name, values), color in zip(axes, numbers.items(), JOINT_COLORS, strict=False):
        ax.bar(range(len(values)), values, color=color)
        ax.set(xlabel="episode", ylabel=name, xticks=range(len(values)))
    axes[1].axhline(100 * MOST_IDLE, color=INK, linestyle="--", linewidth=1)
    axes[1].text(-0.4, 100 * MOST_IDLE + 1, "more: show it again", fontsize=7.5, color=INK)
    axes[1].set_ylim(0, max(40, *numbers["idle (%)"]))
    longest, shortest = max(numbers["duration (s)"]), min(numbers["duration (s)"])
    return finding(fig, f"{len(rows)} episodes of {shortest:.1f} to {longest:.1f} s, idle "
                        f"{max(numbers['idle (%)']):.0f} % at most")


def grasps(root: Path) -> Figure:
    """Where the tip was when the gripper closed: the spread of starts that a policy will have seen."""
    with closing(Dataset(root)) as dataset:
        places = [grasp_m(dataset.episode(episode.index)["observation.state"]) for episode in dataset.episodes]
    xy_cm = 100 * np.array(places)[:, :2]
    fig, ax = figure(width=4.6, height=3.4)
    ax.scatter(xy_cm[:, 1], xy_cm[:, 0], s=60, color=JOINT_COLORS[0])
    for index, (x_cm, y_cm) in enumerate(xy_cm):
        ax.annotate(str(index), (y_cm, x_cm), (5, 5), textcoords="offset points", fontsize=8)
    ax.plot(0, 0, "^", color=INK)
    ax.annotate("the arm's base", (0, 0), (8, -3), textcoords="offset points", fontsize=8)
    spread = np.ptp(xy_cm, axis=0)
    ax.set(xlabel="y, left of the arm (cm)", ylabel="x, ahead of the arm (cm)", aspect="equal", xlim=(22, -22),
           ylim=(-2, 34))
    return finding(fig, f"{len(xy_cm)} grasps, spread over {spread[0]:.0f} x {spread[1]:.0f} cm")


def grasp_m(state_deg: np.ndarray) -> np.ndarray:
    """The tip (3,) when the gripper had closed half of its way, in an episode (N, 6)."""
    jaw = state_deg[:, GRIPPER]
    widest = int(jaw.argmax())
    half = (jaw[widest] + jaw[widest:].min()) / 2
    return tool_frame(to_radians(state_deg[widest + int(np.argmax(jaw[widest:] <= half))]))[:3, 3]


def hunt(session: Session, healthy: Session) -> Figure:
    """The healthy session on the left, the one under suspicion on the right."""
    fig, axes = figure(height=6.0, rows=4, columns=2, sharey="row", height_ratios=(1.1, 1.6, 1, 1))
    for column, one, name in ((0, healthy, "healthy"), (1, session, "yours")):
        time_s = one.time_s - one.time_s[0]
        axes[0, column].imshow(np.hstack([one.front[0], one.front[30], one.wrist[0], one.wrist[30]]))
        axes[0, column].set_title(f"{name}: front, front, wrist, wrist", fontsize=9)
        axes[0, column].axis("off")
        _traces(axes[1, column], time_s, one.action_deg, one.state_deg)
        for joint, color in enumerate(JOINT_COLORS[:5]):
            gap = one.action_deg[:-1, joint] - one.state_deg[1:, joint]
            axes[2, column].plot(time_s[:-1], np.abs(gap), color=color)
        axes[3, column].plot(time_s[:-1], 1000 * np.diff(time_s), color=INK)
        axes[3, column].set(xlabel="time (s)", ylim=(0, 250))
    for row, words in ((1, "deg; gripper %"), (2, "asked - done\n(deg)"), (3, "period (ms)")):
        axes[row, 0].set_ylabel(words)
    _legend(fig)
    return finding(fig, "What differs? Pictures, traces, misses, pace")

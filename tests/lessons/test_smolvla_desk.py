"""Lesson 05's desk in three lanes, its figures, and the sizes that it counts."""

from __future__ import annotations

import numpy as np
import pytest

from smolkit.lessons import smolvla_figures as figures
from smolkit.lessons import smolvla_flow_figures as flow
from smolkit.lessons import smolvla_sizes as sizes
from smolkit.lessons.lane import dataset
from smolkit.lessons.smolvla_desk import AT, SCENES, Desk, attempt, changes, open_desk
from smolkit.lessons.smolvla_exercises import CHANGES
from smolkit.report import SmolkitError
from smolkit.smolvla.ablations import Effect
from smolkit.smolvla.inside_figures import effects as draw_effects

SHIPPED = str(dataset("inside_smolvla"))


@pytest.fixture(scope="module")
def recorded() -> Desk:
    return open_desk("recorded")


def test_the_recorded_lane_shows_what_the_sim_lane_renders(recorded: Desk) -> None:
    steps, large = attempt(SCENES[0])
    assert set(large) == set(AT) and large[0].shape == (480, 640, 3)
    for moment, at in zip(recorded.moments[::len(SCENES)], AT, strict=True):
        seen = steps[at].observation
        assert seen.task == moment.observation.task and np.allclose(seen.state_deg, moment.observation.state_deg)
        ahead = np.array([step.action_deg for step in steps[at:at + 16]])
        assert np.allclose(ahead, moment.shown_deg, atol=1e-3)
        apart = np.abs(seen.images["wrist"].mean((0, 1)) - moment.observation.images["wrist"].mean((0, 1)))
        assert apart.max() < 8, "another size and a video codec, but the same picture"


def test_the_lesson_begins_where_everything_is_open(recorded: Desk) -> None:
    """Both cubes lie free, and the sentences name both colours."""
    assert AT[0] == 0
    assert {seen.task for seen in recorded.observations} == {"pick up the red cube", "pick up the green cube"}


def test_the_real_lane_reads_a_dataset_and_a_checkpoint_of_yours(recorded: Desk) -> None:
    own = open_desk("real", SHIPPED, str(recorded.folder))
    assert np.array_equal(own.moments[4].observation.state_deg, recorded.moments[4].observation.state_deg)
    with pytest.raises(SmolkitError, match="SK827"):
        open_desk("real")


def test_changes_are_those_of_the_exercise(recorded: Desk) -> None:
    seen = recorded.observations[0]
    named = changes(recorded.policy, seen)
    assert tuple(named) == CHANGES
    changed = {name: change(seen) for name, change in named.items()}
    assert changed["one other word"].task == "pick up the green cube" and changed["no words"].task == ""
    assert np.array_equal(changed["cameras exchanged"].images["front"], seen.images["wrist"])
    assert np.ptp(changed["front covered"].images["front"]) == 0
    assert np.ptp(changed["wrist covered"].images["front"]) > 0
    assert seen.task == "pick up the red cube" and np.ptp(seen.images["front"]) > 0, "the moment itself is untouched"


def test_sizes_are_the_published_ones() -> None:
    parts = sizes.by_part(sizes.skeleton("base"))
    assert parts["words"] == 47_308_800 and parts["language layers"] == 157_317_120
    assert sum(parts.values()) == 450_046_176


def test_a_small_computer_is_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "free_memory_gb", lambda: 1.0)
    assert sizes.try_out("base") is None


def test_random_weights_make_a_chunk_at_any_size() -> None:
    took_s = sizes.timed(sizes.filled(sizes.skeleton("tiny")))
    assert list(took_s) == ["look", "read", "walk"] and min(took_s.values()) > 0


# -- figures -----------------------------------------------------------------------------------------------------


def title(fig: object) -> str:
    return fig.get_suptitle()


def test_the_picture_says_how_much_is_padding() -> None:
    assert "25% see only padding" in title(figures.patches(np.full((480, 640, 3), 90, np.uint8)))
    assert "padding" not in title(figures.patches(np.full((64, 64, 3), 90, np.uint8)))


def test_the_red_cube_has_a_token() -> None:
    image = np.full((480, 640, 3), 90, np.uint8)
    image[300:310, 200:210] = (200, 20, 20)
    row, column = figures.red_token(image)
    assert (row, column) == (int((128 + 305 * 0.8) // 64), int(205 * 0.8 // 64))


def test_walks_tell_who_crashes() -> None:
    ends = np.array([[[2.0, 0], [2.0, 0]], [[0.0, 0], [1.3, 0]]])
    assert title(flow.paths({1: ends, 10: ends})) == "In 1 step 50% walk into the cube, in 10 steps 50%"
    ways = flow.two_ways(1000)
    assert flow.crash_share(ways) == 0 and np.abs(ways.mean(axis=0)).max() < 0.1, "all pass, their mean does not"


def test_guesses_are_rings_on_the_effects() -> None:
    measured = [Effect(name, size, (size,), 0.1, 0.1) for name, size in (("a", 1.0), ("b", 3.0))]
    for guesses, rings in (({"a": 9.0, "b": None}, 1), ({"a": None, "b": None}, 0)):
        ax = flow.guessed(draw_effects(measured), ["a", "b"], guesses).figure.axes[0]
        assert sum(line.get_marker() == "o" for line in ax.lines) == rings and ax.get_xlim()[1] > 9 * rings


def test_a_fan_shows_the_demonstrator_too() -> None:
    fig = flow.fan(np.random.default_rng(0).normal(size=(4, 16, 6)), np.full((5, 6), 50.0))
    assert len(fig.axes) == 6 and all(ax.get_ylim()[1] > 50 for ax in fig.axes)

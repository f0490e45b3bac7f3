import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolkit.evaluation.statistics import wilson_interval


@pytest.mark.parametrize(("successes", "trials", "low", "high"),
                         [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)])
def test_known_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_rate_lies_inside_and_more_trials_narrow_it(case):
    successes, trials = case
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12 and successes / trials - 1e-12 <= high <= 1
    wide, narrow = wilson_interval(successes, trials), wilson_interval(10 * successes, 10 * trials)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_nothing_tried_means_nothing_known():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="within"):
        wilson_interval(3, 2)

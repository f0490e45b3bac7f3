import pytest

from smolkit.evaluation.parallel import ordered_map
from smolkit.evaluation.trials import Trial, read_trials, run_trials, summarize
from smolkit.report import SmolkitError


def even_succeeds(seed: int) -> Trial:
    return Trial(seed, success=seed % 2 == 0, seconds=1.5, cube_xy_m=(0.2, 0.01 * seed), limited=0.0)


def test_summary_counts_and_brackets():
    summary = summarize([even_succeeds(seed) for seed in range(10)])
    assert (summary.successes, summary.trials, summary.success_rate) == (5, 10, 0.5)
    assert summary.wilson_low < 0.5 < summary.wilson_high


def test_processes_give_the_same_answers_in_the_same_order():
    alone = list(ordered_map(even_succeeds, range(5), workers=1))
    assert list(ordered_map(even_succeeds, range(5), workers=2)) == alone


def test_an_interrupted_evaluation_goes_on(tmp_path):
    path = tmp_path / "trials.jsonl"
    running = run_trials(even_succeeds, [1, 2, 3, 4], path, workers=1)
    next(running), next(running)
    running.close()
    path.write_text(path.read_text() + '{"seed": 3, "succ')           # killed while writing
    ran_again = []

    def watched(seed: int) -> Trial:
        ran_again.append(seed)
        return even_succeeds(seed)

    trials = list(run_trials(watched, [1, 2, 3, 4], path, workers=1))
    assert ran_again == [3, 4]
    assert trials == [even_succeeds(seed) for seed in (1, 2, 3, 4)] == read_trials(path)


def test_a_mangled_file_is_named(tmp_path):
    path = tmp_path / "trials.jsonl"
    path.write_text('{"seed": 1}\n')
    with pytest.raises(SmolkitError, match="trials.jsonl, line 1"):
        read_trials(path)

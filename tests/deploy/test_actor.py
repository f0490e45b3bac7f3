import numpy as np
import pytest
import torch

from smolkit.deploy.actor import ChunkActor
from smolkit.report import SmolkitError
from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
from smolkit.smolvla.fake import fake_observation, tiny_policy


def test_a_chunk_is_executed_in_part_and_then_asked_for_again():
    actor, expected = ChunkActor(tiny_policy(seed=1), execute=5), tiny_policy(seed=1)
    rows = [actor(fake_observation()).goal_deg for _ in range(7)]
    chunks = [expected.predict(fake_observation()).actions_deg for _ in range(2)]
    np.testing.assert_array_equal(rows, np.concatenate([chunks[0][:5], chunks[1][:2]]))


def test_a_reset_forgets_the_rest_of_the_chunk():
    actor, expected = ChunkActor(tiny_policy(seed=1), execute=5), tiny_policy(seed=1)
    actor(fake_observation())
    actor.reset()
    second = [expected.predict(fake_observation()).actions_deg for _ in range(2)][1]
    np.testing.assert_array_equal(actor(fake_observation()).goal_deg, second[0])


def test_executing_nothing_is_refused():
    with pytest.raises(SmolkitError, match="SK701"):
        ChunkActor(tiny_policy(), execute=0)


def saved_and_loaded(tmp_path, least, largest):
    """A checkpoint as LeRobot leaves it: the dataset's ends stand beside mean and std."""
    policy = tiny_policy()
    ends = {"min": torch.tensor(least), "max": torch.tensor(largest)}
    policy.processors.normalizer.stats["action"].update(ends)
    return load_checkpoint(save_checkpoint(tmp_path / "policy", policy))


@pytest.mark.fault(33)
@pytest.mark.parametrize(("least", "largest", "units"), [
    ([-22.8, -100.0, -97.2, 16.9, -45.7, 0.0], [24.4, 54.3, 100.0, 100.0, 5.3, 49.5], "percent"),   # a real SO-101
    ([-0.4, -1.7, -1.6, 0.3, -0.8, 0.0], [0.4, 0.9, 1.7, 1.7, 0.1, 0.9], "rad")])
def test_a_policy_in_other_units_is_not_let_near_the_arm(tmp_path, least, largest, units):
    with pytest.raises(SmolkitError, match=f"SK703.*degrees\n.*{units}"):
        ChunkActor(saved_and_loaded(tmp_path, least, largest))


@pytest.mark.fault(33)
def test_a_policy_in_degrees_drives(tmp_path):
    policy = saved_and_loaded(tmp_path, [-30.0, -100.0, 10.0, 16.9, -45.7, 0.0], [24.4, 54.3, 96.0, 90.0, 130.0, 100.0])
    assert ChunkActor(policy)(fake_observation()).goal_deg.shape == (6,)

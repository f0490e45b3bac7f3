import numpy as np
import pytest

from smolkit.deploy.actor import ChunkActor
from smolkit.report import SmolkitError
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

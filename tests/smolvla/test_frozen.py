"""A frozen scene: read once, without gradient, sample by sample, and nothing that is learned changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smolkit.smolvla.fake import tiny_batch, tiny_model
from smolkit.smolvla.freezing import freeze, trainable_count
from smolkit.smolvla.language import Memory
from smolkit.smolvla.model import SmolVLA
from smolkit.training.feature_cache import FeatureCache
from smolkit.training.shelf import Shelf

DRAWN = {"noise": torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(0)), "time": torch.tensor([0.2, 0.9])}


def gradients(model: SmolVLA, batch: dict[str, Tensor], **given: object) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    model(batch, **{**DRAWN, **given})["loss"].backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def read_alone(model: SmolVLA, batch: dict[str, Tensor]) -> Memory:
    """Each sample's scene by itself, then side by side: shorter ones get padding."""
    return FeatureCache(model, Shelf(1e7), torch.float32, "notes").read_scene(batch)


def unequal_batch() -> dict[str, Tensor]:
    """Instructions of 3 and of 5 words; the second sample has no picture of the wrist."""
    batch = tiny_batch()
    batch["observation.language.attention_mask"][0, 3:] = False
    batch["observation.images.wrist_padding_mask"] = torch.tensor([True, False])
    return batch


def test_scenes_read_alone_are_the_notes_of_the_batch():
    model, batch = tiny_model(), unequal_batch()
    together, alone = model.read_scene(batch, model.look(batch)), read_alone(model, batch)
    assert alone.pad.sum(1).tolist() == together.pad.sum(1).tolist() == [2 * 4 + 3, 4 + 5]
    for wanted, found in zip(together.keys + together.values, alone.keys + alone.values, strict=True):
        torch.testing.assert_close(found[alone.pad], wanted[together.pad], atol=1e-6, rtol=1e-5)


def test_gradients_from_scenes_read_alone_are_those_of_the_whole_prefix():
    model, batch = tiny_model(), unequal_batch()
    model.language.embed.weight.requires_grad_(True)               # now all is read in one go, with gradient
    wanted = gradients(model, batch)
    freeze(model)
    found = gradients(model, batch, scene=read_alone(model, batch))
    assert set(wanted) - set(found) == {"language.embed.weight"} and "state_proj.weight" in found
    for name, grad in found.items():
        torch.testing.assert_close(grad, wanted[name], atol=1e-6, rtol=1e-5, msg=name)


def test_with_a_frozen_state_too_nothing_of_the_language_model_is_learned_through():
    model, batch = tiny_model(), tiny_batch()
    model.state_proj.requires_grad_(False)
    found = gradients(model, batch, scene=read_alone(model, batch))
    assert all(name.startswith("expert.") for name in found)


def test_the_graph_remembers_little_of_a_frozen_scene():
    def remembered_bytes(learns: bool) -> int:
        model, sizes = tiny_model(), []
        model.language.embed.weight.requires_grad_(learns)

        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes if tensor.untyped_storage().data_ptr() not in weights else 0)
            return tensor

        batch = tiny_batch()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            memory = model._notes(batch, model.look(batch), None)
        assert memory.keys[0].requires_grad
        return sum(sizes)

    assert remembered_bytes(False) < 0.3 * remembered_bytes(True)


@pytest.mark.parametrize("generation", ["main", "0.4.4"])
def test_by_default_both_generations_learn_the_same(generation):
    model = tiny_model()
    before = {name for name, p in model.named_parameters() if p.requires_grad}
    freeze(model, generation)
    assert before == {name for name, p in model.named_parameters() if p.requires_grad}
    assert before == {name for name, _ in model.named_parameters() if name.startswith(("expert.", "state_proj."))}
    assert trainable_count(model) == sum(p.numel() for name, p in model.named_parameters() if name in before)

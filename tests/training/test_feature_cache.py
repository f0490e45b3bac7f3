"""What is kept is what would be computed, and whatever changes, an old entry is never found again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smolkit.report import SmolkitError
from smolkit.smolvla.fake import tiny_batch, tiny_model
from smolkit.smolvla.model import SmolVLA
from smolkit.smolvla.presets import build_preset
from smolkit.training.config import TrainConfig
from smolkit.training.curve import read_curve
from smolkit.training.feature_cache import FeatureCache, checksum
from smolkit.training.learner import SmolVLALearner, fresh_policy
from smolkit.training.loop import train
from smolkit.training.sampler import generator
from smolkit.training.samples import Samples
from smolkit.training.shelf import Shelf

Batch = dict[str, Tensor]
KINDS = ("tokens", "notes")


def make_cache(model: SmolVLA, kind: str, folder: Path | None = None, dtype: torch.dtype = torch.float32,
               limit_bytes: float = 1e7) -> FeatureCache:
    return FeatureCache(model, Shelf(limit_bytes, folder), dtype, kind)


def tensors(known: dict) -> list[Tensor]:
    """All numbers that a cache answered."""
    if "seen" in known:
        return [one.tokens for one in known["seen"]]
    return [*known["scene"].keys, *known["scene"].values]


def computed(model: SmolVLA, batch: Batch, kind: str) -> list[Tensor]:
    """The same by eyes and language model themselves, without gradient."""
    with torch.no_grad():
        return tensors(make_cache(model, kind).known(batch))


def loss_and_gradients(model: SmolVLA, batch: Batch, known: dict) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    noise, time = torch.randn(2, 10, 32, generator=generator(0, 0)), torch.tensor([0.2, 0.9])
    loss = model(batch, noise=noise, time=time, **known)["loss"]
    loss.backward()
    return {"loss": loss.detach(),
            **{name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}}


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_the_same_with_a_cache(kind):
    model, batch = tiny_model(), tiny_batch()
    batch["observation.language.attention_mask"][0, 3:] = False                # one instruction is shorter
    wanted = loss_and_gradients(model, batch, {})
    for dtype, atol in ((torch.float32, 1e-6), (torch.bfloat16, 2e-2)):
        cache = make_cache(model, kind, dtype=dtype)
        first, second = (loss_and_gradients(model, batch, cache.known(batch)) for _ in range(2))
        assert first.keys() == wanted.keys() and all(torch.equal(first[name], second[name]) for name in first)
        for name, value in wanted.items():
            torch.testing.assert_close(first[name], value, atol=atol * float(value.abs().max()), rtol=0, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_looks_twice(kind):
    model, batch, calls = tiny_model(), tiny_batch(), []
    model.vision.register_forward_hook(lambda *_: calls.append("eyes"))
    model.language.register_forward_hook(lambda *_: calls.append("reader"))
    cache = make_cache(model, kind)
    cache.known(batch)
    assert calls.count("eyes") == 4 and calls.count("reader") == (2 if kind == "notes" else 0)
    cache.known({name: value.flip(0) for name, value in batch.items()})        # other places in the batch
    assert len(calls) == (6 if kind == "notes" else 4)
    assert cache.shelf.count == (2 if kind == "notes" else 4)


def any_weight(data: st.DataObject, model: SmolVLA, kind: str) -> tuple[Tensor, int]:
    parts = [model.vision] if kind == "tokens" else [model.vision, model.language.embed, model.language.layers]
    weight = data.draw(st.sampled_from([p for part in parts for p in part.parameters()]))
    return weight, data.draw(st.integers(0, weight.numel() - 1))


def by_torch(weight: Tensor, place: int) -> None:
    with torch.no_grad():
        weight.view(-1)[place] += 0.5


def by_data(weight: Tensor, place: int) -> None:
    weight.data.view(-1)[place] += 0.5


def by_numpy(weight: Tensor, place: int) -> None:
    weight.detach().numpy().reshape(-1)[place] += 0.5


def by_negating(weight: Tensor, place: int) -> None:
    """Two highest bits of integers of eight bytes: in a sum of such they cancel."""
    weight.data.view(-1)[[1, 3]] *= -1


VICTIM = tiny_model()              # changed again and again
CHANGES = (by_torch, by_data, by_numpy, by_negating)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_change_of_bits_has_another_checksum(dtype):
    tensor = torch.randn(8, 4, generator=generator(0, 0)).to(dtype)
    two_signs = tensor.clone()
    two_signs[0, 1::2] *= -1
    others = (two_signs, -tensor, tensor.flip(0), tensor.t(), tensor[1:])
    assert len({checksum(one) for one in (tensor, *others)}) == 6
    assert checksum(tensor) == checksum(tensor.t().contiguous().t())


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(KINDS), st.sampled_from(CHANGES))
def test_a_changed_weight_is_never_answered_from_before(data, kind, change):
    model, batch = VICTIM, tiny_batch(batch=1)
    cache = make_cache(model, kind)
    cache.known(batch)
    before = cache.shelf.count
    weight, place = any_weight(data, model, kind)
    untouched = weight.detach().clone()
    change(weight, place)
    if torch.equal(weight, untouched):             # biases begin as zeros
        return
    answer = tensors(cache.known(batch))
    assert cache.shelf.count == 2 * before
    assert all(torch.equal(ours, fresh) for ours, fresh in zip(answer, computed(model, batch, kind), strict=True))


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(KINDS))
def test_a_changed_pixel_or_word_is_never_answered_from_before(data, kind):
    model, batch = VICTIM, tiny_batch()
    cache = make_cache(model, kind)
    cache.known(batch)
    names = [name for name in batch if "images" in name or (kind == "notes" and "language" in name)]
    changed = batch[data.draw(st.sampled_from(names))]
    flat = changed[data.draw(st.integers(0, 1))].view(-1)
    place = data.draw(st.integers(0, len(flat) - 2))
    if changed.dtype == torch.bool:
        flat[place] = ~flat[place]
    else:                              # the sum stays as it was; pictures may go beyond white
        flat[place], flat[place + 1] = flat[place] + 1, flat[place + 1] - 1
    before, answer = cache.shelf.count, tensors(cache.known(batch))
    assert cache.shelf.count == before + 1
    assert all(torch.equal(ours, fresh) for ours, fresh in zip(answer, computed(model, batch, kind), strict=True))


def other_eps(model: SmolVLA) -> None:
    model.vision.layers[0].layer_norm1.eps = 0.1


def other_scale(model: SmolVLA) -> None:
    model.vision.layers[0].mlp.fc1.scale = 0.5


@pytest.mark.parametrize("change", [other_eps, other_scale])
def test_a_changed_setting_makes_another_key(change):
    model, batch = tiny_model(), tiny_batch()
    cache = make_cache(model, "tokens")
    cache.known(batch)
    change(model)
    cache.known(batch)
    assert cache.shelf.count == 8


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_kept_under_autocast_is_not_used_without(kind):
    model, batch = tiny_model(), tiny_batch()
    cache = make_cache(model, kind)
    with torch.autocast("cpu", torch.bfloat16):
        cache.known(batch)
    assert all(torch.equal(ours, fresh)
               for ours, fresh in zip(tensors(cache.known(batch)), computed(model, batch, kind), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_what_begins_to_learn_is_not_kept_in_silence(kind):
    model, batch = tiny_model(), tiny_batch()
    cache = make_cache(model, kind)
    cache.known(batch)
    (model.vision.connector if kind == "tokens" else model.language.layers).requires_grad_(True)
    with pytest.raises(SmolkitError, match="SK610"):
        cache.known(batch)
    with torch.no_grad():                          # nobody learns here
        cache.known(batch)


def test_other_precisions_and_other_kinds_share_nothing(tmp_path):
    model, batch = tiny_model(), tiny_batch()
    for kind in KINDS:
        for dtype in (torch.float32, torch.bfloat16):
            make_cache(model, kind, tmp_path, dtype).known(batch)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2 * (4 + 2)


@pytest.mark.parametrize("kind", KINDS)
def test_another_run_finds_what_the_first_one_kept(kind, tmp_path):
    model, batch = tiny_model(), tiny_batch()
    first = tensors(make_cache(model, kind, tmp_path).known(batch))
    again, calls = tiny_model(), []
    again.vision.register_forward_hook(lambda *_: calls.append("eyes"))
    second = tensors(make_cache(again, kind, tmp_path).known(batch))
    assert not calls and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def only_file(folder: Path) -> Path:
    return next(folder.rglob("*.safetensors"))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["cut", "flip", "append"]))
def test_a_damaged_entry_is_no_entry(tmp_path_factory, data, damage):
    folder, value = tmp_path_factory.mktemp("shelf"), torch.arange(12.0).reshape(3, 4)
    Shelf(1e6, folder).put("abc", value)
    path = only_file(folder)
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    if damage == "flip":
        raw[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes({"cut": raw[:place], "flip": raw, "append": raw + b"0"}[damage])
    shelf = Shelf(1e6, folder)
    found = shelf.get("abc")
    assert found is None or torch.equal(found, value)              # a flipped blank in the header harms nobody
    shelf.put("abc", value)
    assert torch.equal(shelf.get("abc"), value) and shelf.bytes == path.stat().st_size


def test_an_entry_under_a_foreign_name_is_no_entry(tmp_path):
    Shelf(1e6, tmp_path).put("abc", torch.ones(3))
    foreign = tmp_path / "de" / "def.safetensors"
    foreign.parent.mkdir()
    foreign.write_bytes(only_file(tmp_path).read_bytes())
    (foreign.parent / ".ghi.1.writing").write_bytes(b"half of an en")
    shelf = Shelf(1e6, tmp_path)
    assert shelf.get("def") is None and shelf.get("ghi") is None and shelf.get("abc") is not None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=15), st.integers(0, 1000), st.booleans())
def test_the_limit_holds_and_a_full_shelf_keeps_what_it_has(tmp_path_factory, sizes, limit_bytes, on_disk):
    folder = tmp_path_factory.mktemp("shelf") if on_disk else None
    shelf, kept = Shelf(limit_bytes, folder), []
    for number, size in enumerate(sizes):
        kept += [number] if shelf.put(f"{number:02}", torch.full((size,), float(number))) else []
        assert shelf.bytes <= limit_bytes
    assert [number for number in range(len(sizes)) if shelf.get(f"{number:02}") is not None] == kept
    if folder:
        assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) == shelf.bytes


def test_what_this_run_does_not_use_makes_room(tmp_path):
    Shelf(1e6, tmp_path).put("old", torch.ones(100))
    entry_bytes = only_file(tmp_path).stat().st_size
    shelf = Shelf(2 * entry_bytes, tmp_path)
    assert shelf.put("new", torch.ones(100)) and shelf.get("old") is not None  # asked for: now it counts as used
    assert not shelf.put("more", torch.ones(100))
    shelf = Shelf(2 * entry_bytes, tmp_path)
    assert shelf.get("new") is not None
    assert shelf.put("more", torch.ones(100)) and shelf.get("old") is None and shelf.bytes == 2 * entry_bytes


def test_what_will_never_fit_drives_nobody_out(tmp_path):
    for key in ("aa", "bb", "cc"):
        Shelf(1e6, tmp_path).put(key, torch.ones(100))
    shelf = Shelf(3 * only_file(tmp_path).stat().st_size, tmp_path)
    assert not shelf.put("more", torch.ones(1000)) and len(list(tmp_path.rglob("*.safetensors"))) == 3
    assert shelf.get("aa") is not None and shelf.get("bb") is not None
    assert not shelf.put("more", torch.ones(200))                  # beside the two in use; "cc" may stay
    assert shelf.get("cc") is not None


# --- the learner ----------------------------------------------------------------------------------

def demonstrations(count: int = 6) -> Samples:
    rng = np.random.default_rng(0)
    images = {role: rng.integers(0, 256, (count, 48, 64, 3), dtype=np.uint8) for role in ("front", "wrist")}
    poses = rng.normal(0, 20, (2, count, 6)).astype(np.float32)
    return Samples(images, *poses, np.zeros(count, int), np.arange(count) % 2, ("lift the cube", "open"))


def learner(folder: Path | None = None, **changes: object) -> SmolVLALearner:
    config = TrainConfig(**{"threads": 1, "batch_size": 4, "steps": 4, "cache_dtype": "float32",
                                "learning_rate": 1e-3, "warmup_steps": 0, **changes})
    samples = demonstrations()
    return SmolVLALearner(fresh_policy(build_preset("tiny", samples.cameras), samples), samples, config, folder)


def run(one: SmolVLALearner, out_dir: Path, steps: int = 99, progress: Callable = lambda _: None) -> dict[str, Tensor]:
    left = iter(range(steps))
    stop = type("Stop", (), {"is_set": lambda self: next(left, None) is None})()
    train(one, one.config, out_dir, stop=stop, progress=progress)
    return {name: value.clone() for name, value in one.policy.model.state_dict().items()}


def test_fine_tuning_keeps_image_tokens_and_says_so(tmp_path):
    notes = []
    wanted = run(learner(cache="none"), tmp_path / "without")
    found = run(learner(), tmp_path / "with", progress=lambda progress: notes.append(progress.note))
    assert notes[-1] == "cached 12 pictures, 9.216 kB"
    fresh = learner(cache="none").policy.model.state_dict()
    moved = [name for name, value in found.items() if not torch.equal(value, fresh[name])]
    assert "state_proj.weight" in moved and not [name for name in moved if name.startswith(("vision", "language"))]
    for name in wanted:                # after 4 steps of 1e-3: AdamW makes much of the last bit of a tiny gradient
        torch.testing.assert_close(found[name], wanted[name], atol=1e-4, rtol=0, msg=name)
    curves = [[row["loss"] for row in read_curve(tmp_path / name / "loss.csv")] for name in ("without", "with")]
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


@pytest.mark.parametrize("cache", KINDS)
def test_a_resumed_run_with_a_cache_in_a_folder_is_the_run_without_a_stop(cache, tmp_path):
    whole = run(learner(cache=cache), tmp_path / "whole")
    run(learner(tmp_path / "cache", cache=cache), tmp_path / "halved", steps=2)
    halved = run(learner(tmp_path / "cache", cache=cache), tmp_path / "halved")
    assert all(torch.equal(whole[name], halved[name]) for name in whole)


@pytest.mark.parametrize("changes", [{"image_shift_px": 2}, {"colour_jitter": 0.1}])
def test_augmented_pictures_are_not_kept(changes):
    assert learner(**changes).cache is None
    with pytest.raises(SmolkitError, match="SK610"):
        learner(cache="tokens", **changes)


def test_what_learns_is_not_kept():
    samples = demonstrations()
    policy = fresh_policy(build_preset("tiny", samples.cameras), samples)
    policy.model.language.layers[0].requires_grad_(True)
    assert SmolVLALearner(policy, samples, TrainConfig()).cache.kind == "tokens"      # the eyes are frozen still
    with pytest.raises(SmolkitError, match="language model learns"):
        SmolVLALearner(policy, samples, TrainConfig(cache="notes"))
    policy.model.vision.connector.requires_grad_(True)
    assert SmolVLALearner(policy, samples, TrainConfig()).cache is None

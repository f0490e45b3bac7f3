"""Is this policy healthy? Everything that crashes nothing and costs a day, asked of a checkpoint in seconds.

    report = check_policy("outputs/tour/policy")                 # a folder, a name on the Hub, or a loaded policy
    report = check_policy("my_policy", dataset="my_recording")   # with the data it learned from, more can be told
    print(report.text())

    >>> from smolkit.smolvla.fake import tiny_policy
    >>> [check.name for check in check_policy(tiny_policy()).red()][:3]      # nobody trained it on any robot's data
    ['weights not random', 'statistics of one robot', 'noise becomes motion']

Answers come from the weights alone (`weight_checks`), from the statistics alone (`statistics_checks`), and from how
the plans change when something in front of the policy does (`behaviour_checks`), on pictures that are named in what
was found: a rendered table, or the dataset's own. A file that cannot be read is an error, not a red check.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from smolkit.report import Check, Report, SmolkitError
from smolkit.smolvla import hub, processor_files
from smolkit.smolvla.behaviour_checks import check_behaviour
from smolkit.smolvla.checkpoint import load_checkpoint
from smolkit.smolvla.moments import Moment, asked, recorded, simulated
from smolkit.smolvla.policy import SmolVLAPolicy
from smolkit.smolvla.probes import HORIZON, real_cameras
from smolkit.smolvla.recognise import recognise_tokenizer
from smolkit.smolvla.statistics_checks import check_alive, check_dataset, check_files, check_one_robot, check_units
from smolkit.smolvla.weight_checks import check_dtypes, check_learned
from smolkit.smolvla.weights import finite

UNHEALTHY = ("SK503", "SK507", "SK508", "SK511")       # refused, though the files are whole: red
LARGEST_PX = 128                   # of a rendered picture that is resized anyway: more shows no more, and takes longer
Data = str | Path | None


def check_policy(source: str | Path | SmolVLAPolicy, dataset: Data = None) -> Report:
    """Every check that can be asked of a policy: a folder, a name on the Hub, or one in memory.

    Errors: SK501, SK502, SK509, SK510, SK516 to SK518 where the files cannot be read, SK4xx for the dataset's.
    """
    in_memory = isinstance(source, SmolVLAPolicy)
    title = "policy" if in_memory else "policy " + "/".join(Path(source).parts[-2:])
    done: list[Check] = []
    try:
        policy, loading = (source, ()) if in_memory else _loaded(_folder(source))
        done.extend(loading)
        for check in _checks(policy, dataset):
            done.append(check)                         # one by one: what was found before an error stays
    except SmolkitError as error:
        if error.code not in UNHEALTHY:
            raise
        done.append(Check(error.code, "answers" if done else "loads", False, error.expected, error.found, error.cause,
                          error.next_step))
    return Report(title, tuple(done))


def _folder(source: str | Path) -> Path:
    name = str(source)
    return hub.download(name) if hub.is_hub_id(name) and not Path(name).exists() else Path(name)


def _loaded(folder: Path) -> tuple[SmolVLAPolicy, tuple[Check, ...]]:
    """The policy as its file has it, every weight in its own format, and what loading found."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        policy = load_checkpoint(folder, dtype=None)
    remarks = dict.fromkeys(str(one.message) for one in said if str(one.message).startswith("SK"))
    count = sum(weight.numel() for weight in policy.model.parameters())
    readable = Check("SK510", "readable", True, "a SmolVLA policy", "; ".join([f"{count:,} weights", *remarks]))
    same = check_files(*processor_files.pipelines(folder))
    return policy, (readable, *policy.weights.report().checks[:2], same)


def _checks(policy: SmolVLAPolicy, dataset: Data) -> Iterator[Check]:
    """From what is cheap to what is dear; what an earlier red one makes meaningless is left out."""
    model, normalizer = policy.model, policy.processors.normalizer
    yield (numbers := check_numbers(policy))
    if not numbers.ok:
        return
    alive = check_alive(normalizer.stats, normalizer.modes)
    yield from (check_dtypes(model), check_learned(model), check_gpu(policy), alive)
    if alive.ok:
        yield from (check_units(normalizer.stats), check_one_robot(normalizer.stats))
    if dataset is not None:
        yield from (fitting := tuple(_against(policy, dataset)))
    recording = dataset if dataset is not None and all(check.ok for check in fitting) else None
    moments, source = _moments(policy, recording)
    yield (fits := check_tokenizer(policy))
    if fits.ok:
        yield recognise_tokenizer(policy.processors.tokenizer.folder, policy.model.backbone.text.vocabulary)
    yield check_instructions(policy, moments)
    if fits.ok:
        yield from check_behaviour(policy, moments, source)


# --- what is seen ---------------------------------------------------------------------------------------------


def _moments(policy: SmolVLAPolicy, dataset: Data) -> tuple[tuple[Moment, ...], str]:
    """What the policy is shown, and what that is called."""
    if dataset is not None:
        return recorded(dataset, _renamed(policy, dataset), HORIZON), f"pictures of {Path(dataset).name}"
    config, tasks = policy.model.config, policy.processors.tasks
    cameras = real_cameras(config)
    size_px = config.input_features[cameras[0]].shape[-2:]
    shrink = min(1.0, LARGEST_PX / max(size_px)) if config.resize_imgs_with_padding else 1.0
    moments = simulated(cameras, *(round(shrink * side) for side in size_px))
    return asked(moments, tasks) if tasks else moments, "rendered scenes"


def _against(policy: SmolVLAPolicy, dataset: str | Path) -> Iterator[Check]:
    """The checkpoint beside a dataset: cameras and statistics."""
    from smolkit.data.reader import Dataset
    with closing(Dataset(dataset)) as opened:
        known, stats = opened.camera_keys, opened.stats()
    wanted, given = real_cameras(policy.model.config), _renamed(policy, dataset).values()
    absent = [name for name in wanted if name not in given]
    yield Check("SK583", "cameras present", not absent, f"pictures of {', '.join(wanted)}",
                f"{', '.join(known) or 'no camera'}: without {', '.join(absent)}" if absent else "all of them",
                "the cameras have other names than at training time, or one is missing",
                "give the checkpoint a rename map, or record with all cameras")
    yield check_dataset(policy.processors.normalizer.stats, stats)


def _renamed(policy: SmolVLAPolicy, dataset: str | Path) -> dict[str, str]:
    """The dataset's cameras that the policy knows -> the policy's names."""
    from smolkit.data.reader import Dataset
    renames, known = policy.processors.rename_map, policy.model.config.cameras
    with closing(Dataset(dataset)) as opened:
        named = {name: renames.get(name, name) for name in opened.camera_keys}
    return {theirs: ours for theirs, ours in named.items() if ours in known}


# --- without asking the policy --------------------------------------------------------------------------------


def check_numbers(policy: SmolVLAPolicy) -> Check:
    """Is every weight a number, now, whatever its file held?"""
    not_finite = tuple(name for name, weight in policy.model.named_parameters() if not finite(weight.detach()))
    return replace(policy.weights, not_finite=not_finite).report().checks[2]


def check_device(dtypes: set[torch.dtype], capability: tuple[int, int] | None, name: str = "") -> Check:
    """Can this computer's GPU compute in bfloat16? `capability` (8, 0) and later can; None: there is no GPU.

        >>> check_device({torch.bfloat16}, (7, 5), "Tesla T4").ok
        False
    """
    fits = capability is None or capability >= (8, 0) or torch.bfloat16 not in dtypes
    found = "no GPU: the CPU computes" if capability is None else f"{name} {capability[0]}.{capability[1]}".strip()
    return Check("SK580", "bfloat16 on this computer", fits, "compute capability 8.0 or more for bfloat16 weights",
                 found, "a Tesla T4 and older GPUs emulate bfloat16: ten times slower, and training goes astray",
                 "load_checkpoint(FOLDER, dtype=torch.float32), or a GPU of 2020 or later")


def check_tokenizer(policy: SmolVLAPolicy) -> Check:
    """Has every token that the tokenizer may say a vector in the language model?"""
    tokens, vectors = policy.processors.tokenizer.vocabulary, policy.model.backbone.text.vocabulary
    return Check("SK582", "tokenizer fits", tokens <= vectors, f"at most {vectors} tokens, as the language model knows",
                 f"{tokens} tokens", "the tokenizer belongs to another backbone",
                 "copy the backbone's own tokenizer.json into the checkpoint's vlm/ folder")


def check_instructions(policy: SmolVLAPolicy, moments: tuple[Moment, ...]) -> Check:
    """Does the policy read its instructions whole?"""
    tokenizer, config = policy.processors.tokenizer, policy.model.config
    sentences = sorted({sentence for moment in moments for group in moment.sentences for sentence in group})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        tokenizer(sentences)
    cut = [str(one.message) for one in said if "SK507" in str(one.message)]
    return Check("SK579", "instructions fit", not cut, f"at most {tokenizer.max_length} tokens in an instruction",
                 f"{cut[0]} (tried {sentences[0]!r})" if cut else f"{len(sentences)} instructions, read whole",
                 "tokenizer_max_length is too small, or the tokenizer knows letters and no words"
                 if tokenizer.max_length == config.tokenizer_max_length else
                 f"the preprocessor cuts at {tokenizer.max_length}, the config says {config.tokenizer_max_length}",
                 "say it in fewer words, as in the training data")


def check_gpu(policy: SmolVLAPolicy) -> Check:
    """Can this computer's GPU, if there is one, compute in the policy's formats?"""
    dtypes = {weight.dtype for weight in policy.model.parameters()}
    if not torch.cuda.is_available():
        return check_device(dtypes, None)
    return check_device(dtypes, torch.cuda.get_device_capability(), torch.cuda.get_device_name())

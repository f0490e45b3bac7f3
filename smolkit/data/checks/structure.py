"""Is a dataset whole? Every rule of the format, asked of the files themselves; all faults are told, not the first.

    report = check_dataset("outputs/red_cube")          # or "lerobot/svla_so101_pickplace", from the Hub
    report.ok, [check.code for check in report.red()]

A rule that can't be asked any more (the rows of a file that is gone) is left out. A remark is no fault: its check
stays green, and its line says it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from smolkit.data.checks.facts import HERE, Facts, Fault, Faults, count, gather, some
from smolkit.data.claim import CLAIM_NAME
from smolkit.data.columns import read_table
from smolkit.data.files import PENDING
from smolkit.data.schema import AUTOMATIC, INFO_PATH, TASKS_PATH, read_object
from smolkit.report import Check, Report

CLOCK = "captured_s"
ASKED = {"total_episodes", "total_frames", "total_tasks", "chunks_size", "data_path"}
TIME_TOLERANCE_S = 1e-4            # LeRobot's
MOST_OFF, GAP_PERIODS = 0.05, 5    # a true rate more than 5 % off plays too fast; after 5 periods the arm has moved on
TOLD = 3                           # how many faults of one kind a line names

AGAIN, RESUME = "copy the whole dataset again", "DatasetWriter.resume(folder) takes back what was not saved to its end"
RULES = {      # code: name, what is expected, likely cause, next step
    "SK450": ("info.json", "LeRobot's columns, names that fit shapes, paths inside the folder",
              "another program wrote it, or it was edited by hand", "correct meta/info.json; a path that leaves the "
              "folder is an attack: do not use the dataset"),
    "SK451": ("files there", "every file that the tables name", "copied or downloaded only in part",
              "copy it again, or download the missing file"),
    "SK452": ("no other files", "only files that the tables name", "an edit or a recording broke off",
              f"{RESUME}; LeRobot reads every data file, named or not"),
    "SK453": ("files readable", "parquet files with a footer, JSON that parses", "the writer was killed before it "
              "finished the file, or a copy broke off", "keep the file: videos survive, and rows lie in the pages "
              "before the missing footer; copy it again from where it is whole"),
    "SK454": ("episodes in order", "each episode once, end to end", "files of two recordings were mixed, or an edit "
              "broke off", AGAIN),
    "SK455": ("counters", "info.json counts what the tables hold", "an edit or a recording broke off, or info.json "
              "is of another day", f"{RESUME}; or correct the counter in meta/info.json"),
    "SK456": ("rows in order", "index, frame_index and episode_index as the table says", "a data file belongs to "
              "another recording, or rows were dropped, doubled or sorted", AGAIN),
    "SK457": ("tasks", "task texts 0, 1, 2, ..., and rows that use those of their episode", "the tasks table belongs "
              "to another recording, or was edited", "take meta/tasks from the same copy as the data"),
    "SK458": ("time stamps", f"frame_index / fps, within {TIME_TOLERANCE_S:g} s", "frames were dropped, or fps was "
              "changed after recording", "put the true fps into meta/info.json, or smolkit edit resample"),
    "SK459": ("real clock", f"moments that ascend at fps within {MOST_OFF:.0%}, no gap of {GAP_PERIODS} periods",
              "the loop was slower than it claims, or stood still: a policy learns a wrong speed, or a jump",
              "record at a lower rate; discard the episode with the gap"),
    "SK460": ("columns", "dtypes and shapes as info.json says", "another program wrote the rows, or info.json is of "
              "another recording", "write the column in the type that info.json says, or record again"),
    "SK461": ("finite numbers", "no NaN, no infinity", "a sensor gave nothing and nobody looked",
              "discard the episode: one NaN makes every weight of a policy NaN"),
    "SK462": ("video ranges", "length / fps seconds each, end to end from 0 s", "the encoder lagged and frames were "
              "dropped while their rows stayed (LeRobot's streaming recording does), or an edit broke off",
              "discard the episodes from there on: their pictures belong to other rows"),
    "SK463": ("video frames", "one frame per row, on the grid of fps", "frames were dropped while their rows stayed: "
              "a full disk, a slow encoder, a truncated copy", "copy the mp4 again, or discard its episodes"),
    "SK464": ("picture format", "size, codec, pixel format and fps as info.json says", "cameras were swapped, or the "
              "videos were encoded again", "correct the feature in meta/info.json, or copy the right files"),
    "SK465": ("key frames", "each episode begins with one", "videos were joined or cut without regard to it",
              "encode the file again: until then random access is slow, and a cut there loses pictures"),
    "SK466": ("pictures decode", "first, middle and last of each episode", "bytes were lost or changed in a copy",
              "copy the file again from where it is whole"),
    "SK467": ("statistics of numbers", "those of the rows", "they were kept from before an edit, or are another "
              "dataset's: a policy normalises with them", "compute them again: smolkit edit stats FOLDER NEW_FOLDER"),
    "SK468": ("statistics of pictures", "those of the pictures", "they were kept from before an edit, or are another "
              "dataset's", "compute them again: smolkit edit stats FOLDER NEW_FOLDER"),
    "SK469": ("no leftovers", "a folder with nothing but the dataset", "a recording or a conversion was killed",
              f"{RESUME}; look at what is left, then delete it: it would be pushed along"),
}


def check_dataset(path: str | Path) -> Report:
    """Structure and, where the rows can be read, sense. `path`: a folder, or a name on the Hub.

    Raises SmolkitError where meta/info.json can't be read: SK401, SK402, SK404, SK405; SK497 for the Hub.
    """
    from smolkit.data.checks.card import quality_card
    return quality_card(path)


def structure_checks(root: Path) -> tuple[Check, ...]:
    """One check per rule that could be asked, in the order of their numbers."""
    from smolkit.data.checks import statistics, videos
    facts = gather(root)
    asked = {"SK450": about_info, "SK452": files_nobody_names, "SK454": table_in_order, "SK455": counters,
             "SK469": leftovers}
    if facts.tasks is not None:
        asked["SK457"] = tasks_fit
    if facts.rows:
        asked |= {"SK456": rows_in_order, "SK458": times_on_the_grid, "SK461": finite}
        asked |= {"SK459": real_clock} if CLOCK in facts.stored() else {}
    found = [fault for rule in asked.values() for fault in rule(facts)]
    codes = {*asked, "SK451", "SK453", "SK460"}
    for more in (videos, statistics):              # the second one needs the pictures that the first one decodes
        known, faults = more.ask(facts)
        codes, found = codes | known, found + faults
    found += facts.faults
    asked_of = f"nothing wrong in {len(facts.episodes)} episodes, {sum(e.length for e in facts.episodes)} rows"
    return tuple(_check(code, [fault for fault in found if fault.code == code], asked_of)
                 for code in sorted(codes | {fault.code for fault in found}))


def _check(code: str, found: list[Fault], fine: str) -> Check:
    name, expected, cause, next_step = RULES[code]
    faults = list(dict.fromkeys(fault.found for fault in found if not fault.remark))
    remarks = [fault.found for fault in found if fault.remark]
    more = f"; and {len(faults) - TOLD} more" if len(faults) > TOLD else ""
    said = "; ".join(faults[:TOLD]) + more if faults else "; ".join(remarks) or fine
    return Check(code, name, not faults, expected, "".join(c if c.isprintable() else "?" for c in said)[:800], cause,
                 next_step)


def about_info(facts: Facts) -> Faults:
    """What the schema says of itself."""
    features = facts.info.features
    for name in sorted(ASKED - read_object(facts.root / INFO_PATH).keys()):
        yield Fault("SK450", f"no {name}, which LeRobot asks for")
    for key, dtype in AUTOMATIC.items():
        if key not in features:
            yield Fault("SK450", f"no feature {key!r}")
        elif (features[key].dtype, features[key].shape) != (dtype, (1,)):
            yield Fault("SK450", f"{key} is {features[key].dtype} {list(features[key].shape)}, not {dtype} [1]")
    for key, feature in features.items():
        names = feature.names
        if isinstance(names, dict) and len(names) == 1:
            names = next(iter(names.values()))
        if not isinstance(names, list | None):
            yield Fault("SK450", f"the names of {key} are no list")
        elif names is not None and len(feature.shape) == 1 and len(set(map(str, names))) != feature.shape[0]:
            yield Fault("SK450", f"{key} has {feature.shape[0]} entries, and names {some(names, 9)}")
    action, state = (features[key].names if key in features else None for key in ("action", "observation.state"))
    if isinstance(action, list) and isinstance(state, list) and action != state and sorted(map(str, action)) == sorted(
            map(str, state)):
        yield Fault("SK450", "action and observation.state name the same joints in another order")
    for name, times in Counter(key.casefold() for key in features).items():
        if times > 1:
            yield Fault("SK450", f"{times} features are named {name!r} but for capitals: one file on a Mac or Windows")
    if facts.info.video_keys and facts.info.video_path is None:
        yield Fault("SK450", "video features, and no video_path")


def files_nobody_names(facts: Facts) -> Faults:
    """Files of tables and videos on the disk that no episode uses."""
    if not facts.episodes and facts.raw:
        return
    named = {e.data_file for e in facts.episodes} | {s.file for e in facts.episodes for s in e.videos.values()}
    found = [path.relative_to(facts.root).as_posix() for folder, suffix in (("data", "parquet"), ("videos", "mp4"))
             for path in sorted((facts.root / folder).rglob(f"*.{suffix}"))]
    for name in found:
        if name not in named:
            yield Fault("SK452", name)


def table_in_order(facts: Facts) -> Faults:
    """Episodes 0..n-1 once each, end to end, each in the file that it says."""
    times = Counter(episode.index for episode in facts.episodes)
    twice = [index for index, often in times.items() if often > 1]
    absent = [index for index in range(min(facts.info.total_episodes, 10 * len(facts.raw) + 10)) if index not in times]
    if twice:
        yield Fault("SK454", f"twice or more: episode {some(twice)}")
    if absent:
        yield Fault("SK454", f"missing: episode {some(absent)}")
    order = [row.get("episode_index") for row in facts.raw]
    if not twice and len(order) == len(times) and order != sorted(times):
        yield Fault("SK454", f"rows in the order {some(order)}: LeRobot takes an episode by its row")
    start = 0
    for episode in facts.episodes:
        if episode.from_index != start:
            yield Fault("SK454", f"episode {episode.index} begins at row {episode.from_index}, not {start}")
        if not episode.length:
            yield Fault("SK454", f"episode {episode.index} has no frames")
        start = episode.to_index
    for row in facts.raw if facts.v3 else ():
        yield from _row_in_order(row)


def _row_in_order(row: dict) -> Faults:
    index, length, start = row.get("episode_index"), row.get("length"), row.get("dataset_from_index")
    if all(isinstance(n, int) for n in (length, start)) and row.get("dataset_to_index") != start + length:
        yield Fault("SK454", f"episode {index}: {length} frames from row {start} to {row.get('dataset_to_index')}")
    said = tuple(row.get(f"meta/episodes/{what}_index", n) for what, n in zip(("chunk", "file"), row[HERE]))
    if said != row[HERE]:
        yield Fault("SK454", f"episode {index} says it is in the table {said}, and is in {row[HERE]}")


def counters(facts: Facts) -> Faults:
    """The totals of info.json."""
    info, frames = facts.info, sum(episode.length for episode in facts.episodes)
    for name, said, held in (("total_episodes", info.total_episodes, len(facts.raw)),
                             ("total_frames", info.total_frames, frames),
                             ("total_tasks", info.total_tasks, len(facts.tasks or ()))):
        if said != held and (name != "total_frames" or len(facts.raw) == len(facts.episodes)):
            yield Fault("SK455", f"{name} {said}, the tables hold {held}")
    videos = info.extra.get("total_videos", wanted := len(facts.raw) * len(info.video_keys))
    if videos != wanted and not facts.v3:
        yield Fault("SK455", f"total_videos {videos}, the tables hold {wanted}")
    if not facts.raw:
        yield Fault("SK455", "no episode was saved")


def rows_in_order(facts: Facts) -> Faults:
    """index, frame_index and episode_index of every row."""
    for file, episodes in facts.by_file().items():
        wanted = sum(episode.length for episode in episodes)
        if file in facts.rows and count(facts.rows[file]) != wanted:
            yield Fault("SK456", f"{file} has {count(facts.rows[file])} rows, its episodes {wanted} frames")
    for name in ("episode_index", "frame_index", "index"):
        for episode, (found,) in facts.parts(name):
            steps = np.arange(episode.length)
            wanted = {"episode_index": np.full(episode.length, episode.index), "frame_index": steps,
                      "index": episode.from_index + steps}[name]
            wrong = np.flatnonzero(found != wanted)
            if len(wrong):
                yield Fault("SK456", f"{name} of frame {wrong[0]} of episode {episode.index} is {found[wrong[0]]}, "
                                     f"not {wanted[wrong[0]]}")


def tasks_fit(facts: Facts) -> Faults:
    """Texts that say something, and rows whose task is among their episode's."""
    tasks = facts.tasks or []
    if facts.v3:
        order = read_table(facts.root / TASKS_PATH, ["task_index"]).column(0).to_pylist()
        if order != list(range(len(order))):
            yield Fault("SK457", f"rows in the order {some(order)}: LeRobot looks a task up by its row")
    for index, text in enumerate(tasks):
        if not text or not text.strip():
            yield Fault("SK457", f"task {index} has no words")
    if len(set(tasks)) != len(tasks):
        yield Fault("SK457", "two tasks have the same text")
    for episode, (numbers,) in facts.parts("task_index"):
        used = np.unique(numbers).tolist()
        strange = [number for number in used if not 0 <= number < len(tasks)]
        if strange:
            yield Fault("SK457", f"task_index {some(strange)} in episode {episode.index}, of {len(tasks)} tasks")
        elif {tasks[number] for number in used} != set(episode.tasks):
            yield Fault("SK457", f"episode {episode.index} says {some([ascii(t) for t in episode.tasks])}, its rows "
                                 f"{some([ascii(tasks[number]) for number in used])}")


def times_on_the_grid(facts: Facts) -> Faults:
    """LeRobot looks frames up by these seconds."""
    for episode, (found,) in facts.parts("timestamp"):
        exact = np.arange(episode.length) / facts.info.fps
        tolerance = np.maximum(TIME_TOLERANCE_S, 2 * np.spacing(exact.astype(np.float32)))    # float32: from 1000 s on
        wrong = np.flatnonzero(~(np.abs(found.astype(float) - exact) < tolerance))
        if len(wrong):
            yield Fault("SK458", f"frame {wrong[0]} of episode {episode.index} at {found[wrong[0]]:g} s, not "
                                 f"{exact[wrong[0]]:g} s")


def finite(facts: Facts) -> Faults:
    """One NaN in a batch, and every weight is one."""
    for file, columns in facts.rows.items():
        for key, values in columns.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                rows = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
                yield Fault("SK461", f"{key}: {len(rows)} rows of {file}, the first is row {rows[0]}")


def real_clock(facts: Facts) -> Faults:
    """When the rows were really taken, where the recorder noted it."""
    rates, jitters, gaps, fps = [], [], [], facts.info.fps
    for episode, (moments,) in facts.parts(CLOCK):
        period_s = np.diff(moments.reshape(len(moments), -1)[:, 0].astype(float))
        if not len(period_s) or not np.isfinite(period_s).all():
            continue
        rate, gap = 1 / max(period_s.mean(), 1e-9), float(period_s.max())
        rates, jitters, gaps = [*rates, rate], [*jitters, period_s.std()], [*gaps, gap]
        if period_s.min() <= 0:
            yield Fault("SK459", f"episode {episode.index}: time stands still or runs back at frame "
                                 f"{period_s.argmin() + 1}")
        elif gap >= GAP_PERIODS / fps:
            yield Fault("SK459", f"episode {episode.index}: {gap:.2f} s before frame {period_s.argmax() + 1}")
        elif abs(rate / fps - 1) > MOST_OFF:
            yield Fault("SK459", f"episode {episode.index}: {rate:.1f} Hz, info.json says {fps}")
    if rates:
        yield Fault("SK459", f"{min(rates):.2f} to {max(rates):.2f} Hz, jitter {1000 * max(jitters):.1f} ms, longest "
                             f"gap {1000 * max(gaps):.0f} ms", remark=True)


def leftovers(facts: Facts) -> Faults:
    """What a killed program left in the folder, or beside it."""
    root = facts.root
    images = next((path for path in (root / "images").rglob("*") if path.is_file()), None)
    if images is not None:
        yield Fault("SK469", "pictures in images/: of an episode that was never saved")
    for path in sorted({*root.glob("tmp*"), *root.glob(PENDING)}):
        yield Fault("SK469", facts.short(path))
    if (root / CLAIM_NAME).exists():
        yield Fault("SK469", "somebody records into it now", remark=True)
    old = root.resolve().with_name(f"{root.resolve().name}_old")
    if old.exists():
        yield Fault("SK469", f"beside it lies {old.name}, the state before a conversion or an edit", remark=True)

"""Makes `datasets/reach`, `datasets/pick_place` and `datasets/sick`: what lesson 04 looks at.

    python datasets/make_demonstrations.py               # a minute
    python datasets/make_demonstrations.py --compare     # records again, and compares every number with what is shipped

The scripted demonstrator shows everything on the simulated bench, through driver and guard; scenes by their number,
the same each time. Tables come out bit for bit; pictures do where the same renderer draws them (EGL, Mesa llvmpipe).
Who wants to hunt the faults of `sick` in the lesson should not read on: they are planted below.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from smolkit.data.reader import Dataset
from smolkit.lessons.dataset_desk import IMAGE_PX, attempt, write
from smolkit.teleop.loop import Step

HERE = Path(__file__).parent
EPISODES, SCENES = 20, 10
SLIP_DEG = 360 / 21                            # one tooth of a servo's horn: 17.1 deg
ELBOW = 2


def reach(image_px: int = IMAGE_PX) -> Iterator[list[Step]]:
    """Twenty balls."""
    return (attempt(scene, image_px=image_px) for scene in range(EPISODES))


def pick_place(first: int = 0) -> Iterator[list[Step]]:
    """Ten scenes, each for both sentences: colours take turns, and each scene comes round a second time."""
    return (attempt(first + k % SCENES, named(k)) for k in range(EPISODES))


def named(k: int) -> str:
    """The cube of episode k."""
    return ("red", "green")[(k + k // SCENES) % 2]


def sick() -> Iterator[list[Step]]:
    """Ten other scenes; what happened to some of the episodes stands in `FAULTS`."""
    shown: list[list[Step]] = []
    for k, steps in enumerate(pick_place(first=100)):
        fault = FAULTS.get(k)
        shown.append(fault(k, steps, shown) if fault else steps)
        yield shown[-1]


# -- the faults -------------------------------------------------------------------------------------------------


def thought(k: int, *_: object) -> list[Step]:
    """The demonstrator stood and thought."""
    return attempt(100 + k % SCENES, named(k), thinks=True)


def exchanged(_: int, steps: list[Step], *__: object) -> list[Step]:
    """The cables of the two cameras were exchanged."""
    return [_seeing(step, {"front": step.observation.images["wrist"], "wrist": step.observation.images["front"]})
            for step in steps]


def slipped(_: int, steps: list[Step], *__: object) -> list[Step]:
    """The elbow is read with the calibration of a horn that sat one tooth further."""
    slip_deg = SLIP_DEG * np.eye(6)[ELBOW]
    return [replace(step, observation=replace(step.observation, state_deg=step.observation.state_deg + slip_deg))
            for step in steps]


def frozen(_: int, steps: list[Step], *__: object) -> list[Step]:
    """The wrist camera's driver repeats its last picture from the third part of the episode on."""
    last = len(steps) // 3
    still = steps[last].observation.images["wrist"]
    return [_seeing(step, step.observation.images | {"wrist": still}) if k > last else step
            for k, step in enumerate(steps)]


def followed(_: int, steps: list[Step], *__: object) -> list[Step]:
    """A script wrote down where the arm was, in place of what it was told."""
    return [replace(step, action_deg=step.observation.state_deg) for step in steps]


def copied(_: int, __: list[Step], shown: list[list[Step]]) -> list[Step]:
    """Two parts of a recording were merged, and one episode was in both."""
    return shown[2]


def _seeing(step: Step, images: dict[str, np.ndarray]) -> Step:
    return replace(step, observation=replace(step.observation, images=images))


FAULTS: dict[int, Callable[[int, list[Step], list[list[Step]]], list[Step]]] = {
    4: thought, 6: exchanged, 7: exchanged, 9: slipped, 10: slipped, 13: frozen, 15: followed, 16: followed, 17: copied}
SETS: dict[str, Callable[[], Iterator[list[Step]]]] = {"reach": reach, "pick_place": pick_place, "sick": sick}


def record(root: Path, name: str) -> Path:
    """One of the three sets; a README beside it stays."""
    card = root / "README.md"
    words = card.read_text(encoding="utf-8") if card.is_file() else ""
    shutil.rmtree(root, ignore_errors=True)
    write(root, SETS[name](), {"made by": "datasets/make_demonstrations.py"})
    if words:
        card.write_text(words, encoding="utf-8")
    return root


def different(one: Path, other: Path) -> list[str]:
    """The columns in which two datasets are not equal, bit for bit; no picture is looked at."""
    with closing(Dataset(one)) as here, closing(Dataset(other)) as there:
        if (here.tasks, here.starts.tolist()) != (there.tasks, there.starts.tolist()):
            return ["tasks or lengths"]
        return [key for key, values in here.columns.items() if values.tobytes() != there.columns[key].tobytes()]


def main(compare: bool = False) -> None:
    """All three, into `datasets/`, or beside them."""
    for name in SETS:
        if not compare:
            record(HERE / name, name)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            found = different(record(Path(scratch) / name, name), HERE / name)
        print(f"{name}: {'differs in ' + ', '.join(found) if found else 'every number is the same'}")


if __name__ == "__main__":
    main("--compare" in sys.argv)

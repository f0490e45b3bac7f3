"""Makes `datasets/inside_smolvla`: the three attempts that lesson 05 looks at in its recorded lane.

    python datasets/make_inside_smolvla.py             # five seconds

The scripted expert picks up one of two cubes on the simulated bench; scenes by seed, the same each time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from smolkit.cameras.camera import CameraRole
from smolkit.data.recorder import Recorder
from smolkit.lessons.smolvla_desk import SCENES, attempt
from smolkit.sim.bench import measured_calibration

HERE = Path(__file__).parent / "inside_smolvla"
IMAGE_PX = 128                                 # twice the policy's 64: large enough to look at


def main(here: Path = HERE) -> None:
    """One LeRobot dataset, three episodes; a README beside it stays."""
    for part in ("data", "meta", "videos"):
        shutil.rmtree(here / part, ignore_errors=True)
    cameras = [CameraRole(name, IMAGE_PX, IMAGE_PX, fps=10) for name in ("front", "wrist")]
    readme = (here / "README.md").read_text(encoding="utf-8") if (here / "README.md").exists() else ""
    shutil.rmtree(here, ignore_errors=True)
    with Recorder(here, cameras=cameras, calibration=measured_calibration(),
                  notes={"made by": "datasets/make_inside_smolvla.py"}) as recorder:
        for scene in SCENES:
            steps, _ = attempt(scene, IMAGE_PX)
            recorder.begin(steps[0].observation.task)
            for step in steps:
                recorder.add(step)
            recorder.save()
    (here / "README.md").write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()

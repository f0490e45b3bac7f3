"""Makes `datasets/teleop_recording`: demonstrations, sessions with a fault, four ways to lead an arm, a killed kernel.

    python datasets/make_teleop_recording.py           # half a minute

All of it comes from the simulated bench, drawn by the seeds below; a second run gives the same poses and pictures.
Only `death/` is recorded in wall time, by three real processes, and differs by milliseconds from run to run.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from smolkit.cameras.camera import CameraRole
from smolkit.data.recorder import Recorder
from smolkit.lessons import teleop_hunt, teleop_ways
from smolkit.lessons.teleop_death import kill_on_a_bench
from smolkit.lessons.teleop_desk import SHIPPED_HUNTS, SHIPPED_SCENES, attempt, save_led
from smolkit.sim.bench import measured_calibration
from smolkit.teleop.loop import Step

HERE = Path(__file__).parent / "teleop_recording"


def write(folder: Path, task: str, episodes: list[list[Step]]) -> None:
    """One dataset of these episodes."""
    shutil.rmtree(folder, ignore_errors=True)
    pictures = episodes[0][0].observation.images   # role -> (H, W, 3)
    cameras = [CameraRole(name, *image.shape[:2], fps=10) for name, image in pictures.items()]
    with Recorder(folder, cameras=cameras, task=task, calibration=measured_calibration(),
                  notes={"made by": "datasets/make_teleop_recording.py"}) as recorder:
        for steps in episodes:
            recorder.begin()
            for step in steps:
                recorder.add(step)
            recorder.save()


def main(here: Path = HERE, death: bool = True) -> None:
    """Everything, into `here`."""
    here.mkdir(parents=True, exist_ok=True)
    save_led({way: teleop_ways.lead(way) for way in teleop_ways.WAYS}, here / "ways.csv")
    write(here / "demos", "put the red cube into the blue box",
          [*(attempt(scene) for scene in range(SHIPPED_SCENES)), attempt(0, hesitant=True)])
    write(here / "hunt", "sway and nod", [teleop_hunt.play(seed) for seed in (None, *range(SHIPPED_HUNTS))])
    if death:
        kill_on_a_bench().save(here / "death")


if __name__ == "__main__":
    main()

"""A robot without a robot, in a process of its own: emulated servos on a port, the world, its cameras.

    with Plant.start("place", seed=3) as plant:         # or Plant.attach("sim"), from any process of this user
        with Bus(plant.port) as bus: ...                # the wire, as on the desk
        frame = plant.camera(CameraRole("front", 96, 96, fps=10)).read()
        plant.success(), plant.truth()["lowest_solid_m"]

By hand: `python -m smolkit.sim.plant --task place --seed 3 --name sim --calibrated`. Like an arm on a desk it
goes on when notebook and driver die; it ends when told to, on SIGTERM, or when for `--idle-s` nobody asked
it anything and nothing came over the wire. Capture times are `time.monotonic()`, the same in all processes
of one computer.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from typing import Any

import numpy as np

from smolkit.arm.calibration import Calibration
from smolkit.cameras.camera import CameraRole, Frame
from smolkit.clock import WallClock
from smolkit.messages import Client, Server, error_body
from smolkit.report import SmolkitError
from smolkit.session import Endpoint, running
from smolkit.sim.bench import Bench, measured_calibration
from smolkit.sim.cameras import SimCamera

IDLE_S = 3600.0
WAKE_S = 0.5                                       # how soon the process notices that its time is over
START_S, ANSWER_S, END_S = 60.0, 20.0, 10.0        # a busy computer imports for long; the first picture opens a context
LARGEST_PX = 1600


# --- the process ------------------------------------------------------------------------------------------


class Answers:
    """What a plant answers: `{"do": "where"}` and so on, each a method here."""

    def __init__(self, bench: Bench, calibrated: bool):
        self._bench, self._calibrated, self.quit = bench, calibrated, False
        self._cameras: dict[CameraRole, SimCamera] = {}
        self._answers = {"where": self._where, "picture": self._picture, "truth": self._truth, "hand": self._hand,
                         "success": lambda: {"success": bench.success()}, "reset": self._reset, "quit": self._quit}

    def to(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a body; what makes no sense is answered with SK236."""
        try:
            return self._answers[body["do"]](**{key: value for key, value in body.items() if key != "do"})
        except SmolkitError as error:
            return error_body(error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            known = f"one of {', '.join(self._answers)}, and what it needs"
            return error_body(SmolkitError("SK236", known, repr(error), "asker and plant are of different versions",
                                           "end the plant and start it again"))

    def _where(self) -> dict[str, Any]:
        return {"port": self._bench.server.port, "instruction": self._bench.scene.instruction,
                "calibration": measured_calibration().as_dict() if self._calibrated else None}

    def _picture(self, role: str, height_px: int, width_px: int) -> dict[str, Any]:
        if not all(type(size) is int and 1 <= size <= LARGEST_PX for size in (height_px, width_px)):
            raise ValueError(f"a picture of {height_px} x {width_px} px, where 1 to {LARGEST_PX} are possible")
        wanted = CameraRole(role, height_px, width_px, fps=0)
        if wanted not in self._cameras:
            self._cameras[wanted] = self._bench.camera(wanted)
            self._cameras[wanted].read()           # opens the renderer (0.4 s): the first picture is as fresh as any
        frame = self._cameras[wanted].read()
        return {"image": frame.image, "captured_s": frame.captured_s, "index": frame.index, "digest": frame.digest}

    def _truth(self) -> dict[str, Any]:
        bench, world = self._bench, self._bench.world
        with bench.bus.lock:                       # all of one moment
            torque_on = (world.model.actuator_forcerange[:, 1] > 0).tolist()     # whatever the registers say
            return {"angle_rad": world.state().angle_rad, "tip_m": world.tool_position(), "torque_on": torque_on,
                    "lowest_solid_m": world.lowest_solid_m(), "time_s": world.time_s,
                    "cubes_m": {cube.name: world.cube_position(cube.name) for cube in world.scene.cubes}}

    def _hand(self, angle_rad: np.ndarray) -> dict[str, Any]:
        angle_rad = np.asarray(angle_rad, float)
        if angle_rad.shape != (6,) or not np.isfinite(angle_rad).all():
            raise ValueError("a pose that is not six finite angles")
        self._bench.bus.hand_pose(angle_rad)
        return {}

    def _reset(self, seed: int) -> dict[str, Any]:
        self._bench.lay(seed)
        return self._where()

    def _quit(self) -> dict[str, Any]:
        self.quit = True
        return {}


def main(arguments: list[str] | None = None) -> None:
    """The program: serves until it is told to quit, by message or signal, or left alone for `--idle-s`."""
    parser = argparse.ArgumentParser(prog="python -m smolkit.sim.plant", description=__doc__.split("\n")[0])
    parser.add_argument("--task", default="place")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="sim")
    parser.add_argument("--calibrated", action="store_true", help="not as from the factory")
    parser.add_argument("--tcp", action="store_true", help="a TCP port instead of a pseudo terminal")
    parser.add_argument("--idle-s", type=float, default=IDLE_S)
    given = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        with closing(Bench(given.task, given.seed, WallClock())) as bench:
            if given.calibrated:
                bench.install(None)
            bench.serve(given.tcp)
            with Server(f"plant {given.name}") as server:
                _serve(server, bench, Answers(bench, given.calibrated), given.idle_s)
    except SmolkitError as error:
        sys.exit(str(error))


def _serve(server: Server, bench: Bench, answers: Answers, idle_s: float) -> None:
    asked_s = time.monotonic()
    while not answers.quit and bench.server.error is None:
        for request in server.poll(WAKE_S):
            request.reply(answers.to(request.body))
            asked_s = time.monotonic()
        if time.monotonic() - max(asked_s, bench.server.heard_s) > idle_s:
            return


# --- its client -------------------------------------------------------------------------------------------


class Plant:
    """A running plant, as its users see it; leaving a `with` block ends the plant, `detach` does not.

    port: what a driver opens. calibration: this arm's, None where nobody calibrated it.
    """

    def __init__(self, endpoint: Endpoint, process: subprocess.Popen | None = None):
        self._client, self._process = Client(endpoint, ANSWER_S), process
        where = self._client.ask({"do": "where"})
        self.port, self.pid = where["port"], endpoint.pid
        self.calibration = Calibration.from_dict(where["calibration"]) if where["calibration"] else None

    @classmethod
    def attach(cls, name: str = "sim") -> Plant:
        """The plant that runs under that name; raises SK811 where none does."""
        return cls(Endpoint.load(f"plant {name}"))

    @classmethod
    def start(cls, task: str = "place", seed: int = 0, *, name: str = "sim", calibrated: bool = True,
              tcp: bool = False, idle_s: float = IDLE_S) -> Plant:
        """Starts a plant that outlives this process; raises SK235 with its last words where it did not start."""
        command = [sys.executable, "-m", "smolkit.sim.plant", "--task", task, "--seed", str(seed), "--name", name,
                   "--idle-s", str(idle_s), *(["--calibrated"] if calibrated else []), *(["--tcp"] if tcp else [])]
        with tempfile.TemporaryFile() as words:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words,
                                       start_new_session=True, creationflags=getattr(subprocess, "DETACHED_PROCESS", 0))
            end_s = time.monotonic() + START_S
            while process.poll() is None and time.monotonic() < end_s:
                for endpoint in running():
                    if endpoint.pid == process.pid:
                        return cls(endpoint, process)
                time.sleep(0.02)
            process.kill()
            process.wait(END_S)
            words.seek(0)
            last = words.read()[-2000:].decode(errors="replace").strip()
            raise SmolkitError("SK235", f"a plant {name!r} that starts", last or "silence", "what its last words say",
                               f"Plant.attach({name!r}).close(), then start again")

    @property
    def instruction(self) -> str:
        return self._client.ask({"do": "where"})["instruction"]

    def camera(self, role: CameraRole) -> PlantCamera:
        """A camera of that role over this plant."""
        return PlantCamera(role, self._client)

    def success(self) -> bool:
        """Is the task physically done, now?"""
        return self._client.ask({"do": "success"})["success"]

    def truth(self) -> dict[str, Any]:
        """For tests and demonstrations: angle_rad (6,), tip_m (3,), lowest_solid_m, torque_on, cubes_m, time_s."""
        return self._client.ask({"do": "truth"})

    def hand_pose(self, angle_rad: np.ndarray) -> None:
        """A hand moves the limp arm to joint angles (6,) rad."""
        self._client.ask({"do": "hand", "angle_rad": angle_rad})

    def reset(self, seed: int) -> None:
        """Another scene around the arm as it stands."""
        self._client.ask({"do": "reset", "seed": seed})

    def detach(self) -> None:
        """Leaves the plant running."""
        self._client.close()

    def close(self) -> None:
        """Ends the plant and waits for its end; one that is gone already is fine."""
        endpoint = self._client.endpoint
        if endpoint.alive:
            self._client.ask({"do": "quit"})
        end_s = time.monotonic() + END_S
        while endpoint.alive and time.monotonic() < end_s:
            time.sleep(0.02)
        if self._process is not None:
            self._process.wait(END_S)
        self.detach()

    def __enter__(self) -> Plant:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PlantCamera:
    """A camera of a plant in another process."""

    def __init__(self, role: CameraRole, client: Client):
        self.role, self._client = role, client

    def read(self) -> Frame:
        """One picture of this moment."""
        wanted = {"role": self.role.name, "height_px": self.role.height_px, "width_px": self.role.width_px}
        return Frame(**self._client.ask({"do": "picture", **wanted}))

    def close(self) -> None:
        """Nothing to close: the plant owns its renderer."""


if __name__ == "__main__":
    main()

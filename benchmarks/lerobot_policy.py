"""The real LeRobot's SmolVLA in a process of its own, asked over a pipe: one line of JSON in, one line out.

    from benchmarks.lerobot_policy import LeRobot
    with LeRobot("/path/to/lerobot-venv/bin/python", threads=1) as lerobot:
        lerobot.ask("load", folder="policy", vlm="policy/vlm", dtype="float32")       # {"seconds": 3.1, ...}
        lerobot.ask("sample", inputs="inputs.safetensors", out="actions.safetensors")
        lerobot.ask("sample")["seconds"]                   # the same once more, to time it beside something of ours

Tensors travel in safetensors files. `inputs` holds a batch as the preprocessor makes it, and with it `noise` and
`time` (for `loss`) and `noise_sampling` (for `sample`); a question without `inputs` takes the last one's. Everything
below `inside` runs in the foreign Python (LeRobot 0.4.4, transformers 4.57.6, no torchvision). Answers carry
`seconds` of the work alone, `peak_mb` (VmHWM, of the whole process since `forget_peak`) and `rss_mb`; a question
that LeRobot crashes on is answered with `error`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.lerobot_shim import import_policy, local_backbone

ROOT = Path(__file__).parent.parent
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}        # cpu: of one thread, where others keep it busy
CLOCK = CLOCKS[os.environ.get("BENCHMARK_CLOCK", "wall")]
PROJECTIONS = ("state_proj", "action_in_proj", "action_out_proj", "action_time_mlp_in", "action_time_mlp_out")


class LeRobot:
    """The far end of the pipe; importing LeRobot takes about 8 s, once."""

    def __init__(self, python: str, threads: int = 1, device: str = "cpu", module: str = "benchmarks.lerobot_policy"):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
               "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen([python, "-m", module, device], env=env, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """One question, one answer; `error` in it is LeRobot's own complaint."""
        self._process.stdin.write(json.dumps({"do": do, **details}, default=str) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"LeRobot's process ended with {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> LeRobot:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()


# --- inside the foreign Python --------------------------------------------------------------------------------------

def load(folder: str, vlm: str | None = None, dtype: str = "float32", device: str = "cpu", weights: bool = True) -> Any:
    """LeRobot's policy with the weights of a checkpoint folder, or with random ones.

    dtype "published": as lerobot/smolvla_base runs: VLM and expert bfloat16, the cross layers' k/v projections and the
    five projections float32. "bfloat16": those k/v projections too; LeRobot feeds the five with float32. The
    backbone's own weights are read first only if the config asks for them and the vlm folder has some.
    """
    policy_class, home = import_policy(), Path(vlm or Path(folder, "vlm"))
    from lerobot.configs.policies import PreTrainedConfig
    config = PreTrainedConfig.from_pretrained(folder)
    config.device = device
    config.load_vlm_weights = config.load_vlm_weights and any(home.glob("model*.safetensors"))
    with local_backbone(home):
        policy = policy_class(config)
    _cast(policy, dtype)           # before the weights come: they are copied into what is there
    if weights:
        policy._load_as_safetensor(policy, str(Path(folder, "model.safetensors")), device, strict=False)
    policy.to(device).eval()
    _time_vision(policy)
    return policy


def _cast(policy: Any, dtype: str) -> None:
    import torch
    if dtype == "float32":
        policy.float()
        return
    both = policy.model.vlm_with_expert
    both.to(torch.bfloat16)
    for name in PROJECTIONS:
        getattr(policy.model, name).float()
    for layer in both.lm_expert.layers if dtype == "published" else ():
        if layer.self_attn.k_proj.in_features != layer.self_attn.q_proj.in_features:           # a cross layer
            layer.self_attn.k_proj.float()
            layer.self_attn.v_proj.float()


def _time_vision(policy: Any) -> None:
    """Counts the seconds spent in the vision tower and the connector, in `policy.vision_s`."""
    both = policy.model.vlm_with_expert
    embed, policy.vision_s = both.embed_image, 0.0

    def timed(image: Any) -> Any:
        _wait(policy)
        begun = CLOCK()
        tokens = embed(image)
        _wait(policy)
        policy.vision_s += CLOCK() - begun
        return tokens

    both.embed_image = timed


def _wait(policy: Any) -> None:
    """A GPU works behind our back: wait until it is done."""
    if policy.config.device.startswith("cuda"):
        import torch
        torch.cuda.synchronize()


def fresh(batch: dict[str, Any]) -> dict[str, Any]:
    """A copy: LeRobot's Aloha maps change the batch in place."""
    return {name: value.clone() for name, value in batch.items()}


def sample(policy: Any, batch: dict[str, Any], noise: Any = None, **rtc: Any) -> Any:
    """One chunk (B, T, action_dim), normalised. rtc: `inference_delay` and `prev_chunk_left_over`."""
    return policy.predict_action_chunk(fresh(batch), noise=noise, **rtc)


def loss_per_element(policy: Any, batch: dict[str, Any], noise: Any, moment: Any) -> Any:
    """Squared errors (B, T, A) as `policy.forward` computes them before it averages."""
    compute, kept = policy.model.forward, []
    policy.model.forward = lambda *args: kept.append(compute(*args)) or kept[0]       # called past its hooks
    policy.forward(fresh(batch), noise=noise, time=moment)
    policy.model.forward = compute
    return kept[0]


def reduce(losses: Any, batch: dict[str, Any], action_dim: int, generation: str) -> Any:
    """The one number of either LeRobot generation; "main" is that of 0.6, on 0.4.4's squared errors."""
    if generation == "0.4.4":
        return losses.mean()
    real = ~batch["action_is_pad"] if "action_is_pad" in batch else losses.new_ones(losses.shape[:2]).bool()
    return (losses[:, :, :action_dim] * real[:, :, None]).sum() / (real.sum() * action_dim)


def loss_and_gradients(policy: Any, batch: dict[str, Any], noise: Any, moment: Any,
                       generation: str = "main") -> dict[str, Any]:
    """`loss`, `loss_per_element` and `grad.NAME` of every weight that got a gradient."""
    policy.zero_grad(set_to_none=True)
    losses = loss_per_element(policy, batch, noise, moment)
    loss = reduce(losses, batch, policy.config.action_feature.shape[0], generation)
    loss.backward()
    gradients = {f"grad.{name}": weight.grad for name, weight in policy.named_parameters() if weight.grad is not None}
    return {"loss": loss.detach(), "loss_per_element": losses.detach(), **gradients}


def training_step(policy: Any, batch: dict[str, Any]) -> None:
    """What LeRobot's training loop does with one batch: forward, backward, clip, AdamW."""
    import torch
    config = policy.config
    if not hasattr(policy, "optimizer"):
        policy.optimizer = torch.optim.AdamW(policy.parameters(), lr=config.optimizer_lr, betas=config.optimizer_betas,
                                             eps=config.optimizer_eps, weight_decay=config.optimizer_weight_decay)
    loss, _ = policy.forward(fresh(batch))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), config.optimizer_grad_clip_norm)
    policy.optimizer.step()
    policy.optimizer.zero_grad()


def processors(folder: str, vlm: str | None = None) -> tuple[Any, Any]:
    """LeRobot's own pipelines of a checkpoint folder: before the network and after it."""
    from lerobot.processor import PolicyProcessorPipeline
    from lerobot.processor.converters import (
        batch_to_transition,
        policy_action_to_transition,
        transition_to_batch,
        transition_to_policy_action,
    )
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(vlm or str(Path(folder, "vlm")))
    read = PolicyProcessorPipeline.from_pretrained
    before = read(folder, "policy_preprocessor.json", overrides={"tokenizer_processor": {"tokenizer": tokenizer}},
                  to_transition=batch_to_transition, to_output=transition_to_batch)
    after = read(folder, "policy_postprocessor.json",
                 to_transition=policy_action_to_transition, to_output=transition_to_policy_action)
    return before, after


class Desk:
    """Keeps the policy and the last inputs between two questions; every method is one `do`."""

    def __init__(self, device: str):
        import_policy()                            # long; not part of anything that is timed
        self.device = device
        self.policy: Any = None
        self.before: Any = None
        self.after: Any = None
        self.given: dict[str, Any] = {}

    def load(self, folder: str, vlm: str | None = None, dtype: str = "float32", pipelines: bool = False,
             weights: bool = True) -> dict:
        self.policy = None                         # the old one's memory first
        begun = CLOCK()
        self.policy = load(folder, vlm, dtype, self.device, weights)
        seconds = CLOCK() - begun
        if pipelines:
            self.before, self.after = processors(folder, vlm)
        sizes = {name: weight.numel() for name, weight in self.policy.named_parameters() if weight.requires_grad}
        return {"seconds": seconds, "parameters": sum(weight.numel() for weight in self.policy.parameters()),
                "trainable": sum(sizes.values())}

    def sample(self, out: str | None = None, inputs: str | None = None, delay: int | None = None) -> dict:
        """One chunk; `vision_s` of its seconds went into the vision tower. delay: of RTC, with `previous` in inputs."""
        batch, extra = self._inputs(inputs)
        self.policy.vision_s = 0.0
        rtc = {} if delay is None else {"inference_delay": delay, "prev_chunk_left_over": extra["previous"]}
        seconds, actions = self._timed(partial(sample, **rtc), self.policy, batch, extra.get("noise_sampling"))
        _save({"actions": actions}, out)
        return {"seconds": seconds, "vision_s": self.policy.vision_s}

    def loss(self, out: str | None = None, inputs: str | None = None, generation: str = "main") -> dict:
        batch, extra = self._inputs(inputs)
        seconds, found = self._timed(loss_and_gradients, self.policy, batch, extra["noise"], extra["time"], generation)
        _save(found, out)
        return {"seconds": seconds, "loss": found["loss"].item()}

    def step(self, inputs: str | None = None) -> dict:
        batch, _ = self._inputs(inputs)
        return {"seconds": self._timed(training_step, self.policy, batch)[0]}

    def act(self, tasks: list[str], out: str, inputs: str) -> dict:
        """Through LeRobot's own pipelines: robot units in (`inputs`), robot units out; needs load(pipelines=True)."""
        raw, extra = self._inputs(inputs)
        batch = self.before({**raw, "task": tasks})
        tensors = {name: value for name, value in batch.items() if hasattr(value, "numel")}
        _save({**tensors, "actions": self.after(sample(self.policy, tensors, extra["noise_sampling"]))}, out)
        return {}

    def save(self, folder: str) -> dict:
        """As LeRobot saves a policy; with its pipelines if they were loaded."""
        self.policy.save_pretrained(Path(folder))
        for pipeline in (self.before, self.after):
            if pipeline is not None:
                pipeline.save_pretrained(Path(folder))
        return {}

    def forget_peak(self) -> dict:
        """The peak of memory counts from here."""
        Path("/proc/self/clear_refs").write_text("5")
        return {}

    def _inputs(self, path: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The batch, and what is not part of it: noises and moments."""
        if path is not None:
            from safetensors.torch import load_file
            self.given = load_file(path, device=self.device)
        names = {"noise", "time", "noise_sampling", "previous"} & self.given.keys()
        extra = {name: self.given[name] for name in names}
        return {name: value for name, value in self.given.items() if name not in extra}, extra

    def _timed(self, work: Callable[..., Any], *args: Any) -> tuple[float, Any]:
        _wait(self.policy)
        begun = CLOCK()
        done = work(*args)
        _wait(self.policy)
        return CLOCK() - begun, done


def _save(tensors: dict[str, Any], path: str | None) -> None:
    if path is not None:
        from safetensors.torch import save_file
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, path)


def memory_mb() -> dict[str, float]:
    """The process's memory now and at its highest, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmHWM", "VmRSS"))}
    return {"peak_mb": kib["VmHWM"] / 1024, "rss_mb": kib["VmRSS"] / 1024}


def serve(make_desk: Callable[[], Any]) -> None:
    """Answers questions until the pipe closes, each by the desk's method of its name; prints go to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr
    import torch
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    desk = make_desk()
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(desk, question.pop("do"))(**question)
        except Exception as error:                 # whatever LeRobot crashes on is an answer here
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps({**answer, **memory_mb()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(lambda: Desk(sys.argv[1]))

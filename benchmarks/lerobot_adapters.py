"""Adapters there and back: does an adapter that LeRobot's PEFT wrote act here as there, and one of ours there as here?

    python -m benchmarks.lerobot_adapters /path/to/lerobot-venv/bin/python GOLDEN [--keep tests/smolvla/peft]

GOLDEN is the folder with the tiny reference (`checkpoint`, `vlm`, `inputs.safetensors`). The foreign Python (LeRobot
0.4.4, PEFT 0.21) wraps the reference's policy in adapters of several kinds, gives them random numbers, saves them as
LeRobot's training does, and leaves its actions; then it opens one of ours. Exit code 0: all within 1e-5.
`--keep` stores two of the adapters, which the tests read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.lerobot_policy import ROOT, import_policy, load, sample

LISTED = ["q_proj", "o_proj", "text_model.layers.1.mlp.up_proj", "state_proj", "action_time_mlp_in"]
KINDS: dict[str, dict[str, Any]] = {       # what is given to PEFT; without target_modules: LeRobot's own choice
    "plain": {"r": 4},
    "patterns": {"r": 4, "lora_alpha": 6, "target_modules": LISTED, "rank_pattern": {"state_proj": 2},
                 "alpha_pattern": {r".*layers\.\d.self_attn.q_proj": 3}, "modules_to_save": ["action_out_proj"]},
    "rslora": {"r": 3, "lora_alpha": 7, "target_modules": ["v_proj", "action_in_proj"], "use_rslora": True},
}
KEPT = ("plain", "patterns")
STORED = ("adapter_config.json", "adapter_model.safetensors", "config.json", "expected.safetensors")
CLOSE = 1e-5                               # normalised actions, float32


def foreign(golden: Path, scratch: Path) -> None:
    """Runs inside the foreign Python: writes one adapter of each kind, or opens ours."""
    import torch
    from safetensors.torch import load_file, save_file
    inputs = load_file(golden / "inputs.safetensors")
    batch = {name.removeprefix("raw."): value for name, value in inputs.items()
             if name.startswith("raw.observation.images") or not name.startswith(("raw.", "rtc.", "noise", "time"))}
    import_policy()
    ours = scratch / "ours"
    for name in ["ours"] if ours.exists() else KINDS:
        policy = load(str(golden / "checkpoint"), str(golden / "vlm"))
        policy.config.pretrained_path = "checkpoint"
        wrapped = _open(policy, ours) if name == "ours" else _wrap(policy, name)
        if name != "ours":
            wrapped.save_pretrained(scratch / name)
            policy.config.save_pretrained(scratch / name)
        with torch.no_grad():
            actions = sample(wrapped.eval().base_model.model, batch, inputs["noise_sampling"])
        save_file({"actions": actions.contiguous()}, scratch / name / "expected.safetensors")


def _open(policy: Any, folder: Path) -> Any:
    """As LeRobot's factory opens an adapter."""
    from peft import PeftConfig, PeftModel
    return PeftModel.from_pretrained(policy, str(folder), config=PeftConfig.from_pretrained(str(folder)))


def _wrap(policy: Any, kind: str) -> Any:
    """As LeRobot's training makes one; its B begin at zero, so all get random numbers."""
    import torch
    from peft import LoraConfig
    torch.manual_seed(0)
    settings = KINDS[kind]
    given = ({"peft_config": LoraConfig(**settings)} if "target_modules" in settings
             else {"peft_cli_overrides": {"method_type": "LORA", **settings}})
    wrapped = policy.wrap_with_peft(**given)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                weight.add_(0.2 * torch.randn(weight.shape))
    return wrapped


def our_actions(golden: Path, folder: Path, save: Path | None = None) -> Any:
    """The same chunk, by our reading of that adapter; `save` writes it again in our way."""
    from safetensors.torch import load_file

    from smolkit.smolvla.checkpoint import load_checkpoint, save_checkpoint
    for file in (golden / "checkpoint").glob("policy_*"):
        shutil.copyfile(file, folder / file.name)
    policy = load_checkpoint(folder, backbone=golden / "vlm", base=golden / "checkpoint")
    if save is not None:
        save_checkpoint(save, policy)
    inputs = load_file(golden / "inputs.safetensors")
    batch = {name: value for name, value in inputs.items() if name.startswith("observation.")}
    pictures = {name.removeprefix("raw."): value for name, value in inputs.items() if "raw.observation.images" in name}
    return policy.model.sample_actions({**batch, **pictures}, noise=inputs["noise_sampling"])


def main(python: str, golden: Path, keep: Path | None) -> int:
    """One line an adapter; 1 where any action differs by more than `CLOSE`."""
    from safetensors.torch import load_file
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        ask = [python, "-m", "benchmarks.lerobot_adapters", "--inside", str(golden), scratch]
        worst = {}
        subprocess.run(ask, check=True, env=env, cwd=ROOT)
        for kind in KINDS:
            actions = our_actions(golden, Path(scratch, kind), Path(scratch, "ours") if kind == "patterns" else None)
            expected = load_file(Path(scratch, kind, "expected.safetensors"))["actions"]
            worst[f"{kind}, theirs here"] = (actions - expected).abs().max().item()
            if kind == "patterns":
                ours = actions
        subprocess.run(ask, check=True, env=env, cwd=ROOT)
        expected = load_file(Path(scratch, "ours", "expected.safetensors"))["actions"]
        worst["patterns, ours there"] = (ours - expected).abs().max().item()
        for kind in KEPT if keep else ():
            (keep / kind).mkdir(parents=True, exist_ok=True)
            for name in STORED:
                shutil.copyfile(Path(scratch, kind, name), keep / kind / name)
    for name, difference in worst.items():
        print(f"{name}: largest difference {difference:.1e}")
    return int(max(worst.values()) > CLOSE)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        foreign(Path(sys.argv[2]), Path(sys.argv[3]))
    elif len(sys.argv) < 3:
        sys.exit(__doc__)
    else:
        sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[4]) if sys.argv[3:4] == ["--keep"] else None))

"""Which files of a repository on the Hub make a policy, and which its backbone. `smolkit.hub` brings them.

    >>> is_hub_id("lerobot/smolvla_base")
    True
"""

from __future__ import annotations

from pathlib import Path

from smolkit import hub
from smolkit.hub import is_hub_id as is_hub_id

POLICY = ("config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors",
          "policy_preprocessor*", "policy_postprocessor*", "tokenizer/*.json", "vlm/*.json", "tasks.json")
BACKBONE = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")     # no weights


def download(name: str, files: tuple[str, ...] = POLICY, revision: str | None = None, code: str = "SK516",
             instead: str = "give the path of a folder that has the files") -> Path:
    """The folder in the cache with these files of a model's repository; SK516 with the ways out."""
    return hub.download(name, files, revision, code, instead, kind="model")

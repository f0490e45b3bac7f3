"""Checkpoints and backbones by their names on the Hugging Face Hub.

    >>> is_hub_id("lerobot/smolvla_base"), is_hub_id("outputs/run/policy"), is_hub_id("../smolvla_base")
    (True, False, False)

Only files that are read here are downloaded, into huggingface_hub's cache; a second time needs no network. Its
settings hold: `HF_HUB_OFFLINE`, `HF_HOME`, `HF_ENDPOINT`, and a token for private repositories.
"""

from __future__ import annotations

import re
from pathlib import Path

from smolkit.report import SmolkitError

POLICY = ("config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors",
          "policy_preprocessor*", "policy_postprocessor*", "tokenizer/*.json", "vlm/*.json", "tasks.json")
BACKBONE = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")     # no weights
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Could that be `owner/name`?"""
    return _HUB_ID.fullmatch(name) is not None and ".." not in name


def download(name: str, files: tuple[str, ...] = POLICY, revision: str | None = None, code: str = "SK516",
             instead: str = "give the path of a folder that has the files") -> Path:
    """The folder in the cache with these files of a repository; `revision`: a branch, a tag or a commit.

    Errors: `code`, with the ways out: connect once, or what `instead` says.
    """
    from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except Exception as error:         # each HTTP library that huggingface_hub has used raises its own kinds
        cause, way_out = _explain(name, revision, error)
        said = str(error).strip().partition("\n")[0][:200]
        raise SmolkitError(code, f"{name}: a folder here, or a repository on the Hugging Face Hub",
                           f"neither ({type(error).__name__}: {said})", cause, f"{way_out}; or {instead}") from error


def _explain(name: str, revision: str | None, error: Exception) -> tuple[str, str]:
    """The likeliest cause, and the first way out."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {revision}", "choose a branch, tag or commit that exists"
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return "a typing mistake, or the repository is private", "correct the name, or `hf auth login`"
    if isinstance(error, ValueError):
        return "the repository lists a file whose name leads out of its folder", "do not use it"
    if HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids the network", "unset it once, with a network: the files are kept"
    return "no network, or the Hub is down", "connect once: the files are kept"

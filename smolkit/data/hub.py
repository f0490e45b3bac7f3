"""Datasets by their names on the Hugging Face Hub: only the files that are needed, kept for times without a network.

    root = hub_dataset("owner/name")                        # its folder in the cache: Dataset(root) reads it
    root = hub_dataset("owner/name", episodes=[3])          # only the files that hold episode 3
    on_hub("owner/name").fetch("meta/info.json")            # one file, for streaming
    dataset_folder("owner/name"), dataset_folder("my/folder")      # whichever it is

As LeRobot does, the tag v3.0 is read, not the newest commit: a tag moves when all files have arrived.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smolkit import hub
from smolkit.data.layout import Layout, load_layout
from smolkit.data.schema import READABLE_VERSIONS, parse_version
from smolkit.report import SmolkitError


@dataclass(frozen=True)
class OnHub:
    """One revision of a dataset on the Hub."""

    name: str                       # owner/name
    revision: str                   # a tag, a branch or a commit

    def fetch(self, path: str) -> Path:
        """One of its files, in the cache; SK497 where it is not there."""
        return hub.fetch(self.name, path, self.revision)


def on_hub(name: str, revision: str | None = None) -> OnHub:
    """The dataset at `revision`, or at the newest version that can be read: v3.0, else v2.1, else v2.0, else main.

    It is pinned to a commit, so that files fetched later belong together. Errors: SK497.
    """
    return OnHub(name, hub.download(name, ["meta/info.json"], revision or _newest(name)).name)     # snapshots/<commit>


def _newest(name: str) -> str:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RepositoryNotFoundError
    try:
        tags = [tag.name for tag in HfApi().list_repo_refs(name, repo_type="dataset").tags]
    except RepositoryNotFoundError:
        tags = []                       # downloading tells it
    except Exception:                   # whatever a missing network raises: what is in the cache
        tags = [path.name for path in Path(constants.HF_HUB_CACHE).glob(f"datasets--{name.replace('/', '--')}/refs/*")]
    return max((tag for tag in tags if parse_version(tag) in READABLE_VERSIONS), key=parse_version, default="main")


def hub_dataset(name: str, revision: str | None = None, episodes: Sequence[int] | None = None) -> Path:
    """The folder in the cache with a dataset's tables and the files of these episodes (all: None).

    What is there is not asked for again; without a network the cache has to do. Errors: SK497 with the ways out,
    SK409 for episodes that it has not, and all that `load_layout` says of broken tables.
    """
    there = on_hub(name, revision)
    root = hub.download(name, ["meta/*", "README.md"], there.revision)
    files = episode_files(load_layout(root), episodes)
    hub.download(name, [glob.escape(file) for file in files], there.revision)
    absent = [file for file in files if not (root / file).is_file()]
    if absent:
        raise SmolkitError("SK497", f"{absent[0]} in {name}", "no such file", "it was pushed only in part",
                           "ask its owner to push it again, or take another revision")
    return root


def episode_files(layout: Layout, episodes: Sequence[int] | None = None) -> list[str]:
    """Data and videos of these episodes, relative to the root, each once."""
    everything = range(len(layout.episodes))
    wanted = [layout.episodes[index] for index in (everything if episodes is None else episodes) if index in everything]
    if episodes is not None and len(wanted) < len(episodes):
        raise SmolkitError("SK409", f"episodes among 0..{len(everything) - 1}", str(list(episodes)),
                           "the list was made for another dataset", "look at total_episodes in meta/info.json")
    return list(dict.fromkeys(file for episode in wanted
                              for file in (episode.data_file, *(span.file for span in episode.videos.values()))))


def dataset_folder(source: str | Path, revision: str | None = None, episodes: Sequence[int] | None = None) -> Path:
    """A dataset's folder on this disk: `source` itself, or what its name on the Hub stands for."""
    if isinstance(source, str) and not Path(source).exists() and hub.is_hub_id(source):
        return hub_dataset(source, revision, episodes)
    return Path(source)

"""Datasets by their names on the Hugging Face Hub: pushed with a card, pulled where needed, kept for later.

    push_dataset("my/folder", "owner/name", licence="cc-by-4.0", looked=True, sheet=Path("look.jpg"))
    root = hub_dataset("owner/name")                        # its folder in the cache: Dataset(root) reads it
    root = hub_dataset("owner/name", episodes=[3])          # only the files that hold episode 3
    on_hub("owner/name").fetch("meta/info.json")            # one file, for streaming
    dataset_folder("owner/name"), dataset_folder("my/folder")      # whichever it is

As LeRobot does, the tag v3.0 is read, not the newest commit: a tag moves when all files have arrived.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolkit import hub
from smolkit.data.claim import Claim
from smolkit.data.layout import Layout, load_layout
from smolkit.data.privacy import private_data
from smolkit.data.reader import Dataset
from smolkit.data.readme import card
from smolkit.data.schema import INFO_PATH, READABLE_VERSIONS, parse_version
from smolkit.report import Report, SmolkitError


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
    tag = revision or _newest(name)
    folder = hub.download(name, ["meta/info.json"], tag)
    return OnHub(name, folder.name)                                     # .../snapshots/<commit>


def _newest(name: str) -> str:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import RepositoryNotFoundError
    try:
        tags = [tag.name for tag in HfApi().list_repo_refs(name, repo_type="dataset").tags]
    except Exception as error:          # without a network: what is in the cache
        kept = Path(constants.HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}", "refs")
        tags = [] if isinstance(error, RepositoryNotFoundError) else [path.name for path in kept.glob("*")]
    return max((tag for tag in tags if parse_version(tag) in READABLE_VERSIONS), key=parse_version, default="main")


def hub_dataset(name: str, revision: str | None = None, episodes: Sequence[int] | None = None) -> Path:
    """The folder in the cache with a dataset's tables and the files of these episodes (all: None).

    What is there is not asked for again; without a network the cache has to do. Errors: SK497 with the ways out,
    SK409 for episodes that it has not, and all that `load_layout` says of broken tables.
    """
    there = on_hub(name, revision)
    root = hub.download(name, ["meta/*", "README.md"], there.revision)
    files = episode_files(load_layout(root), episodes)
    root = hub.download(name, [glob.escape(file) for file in files], there.revision)
    absent = [file for file in files if not (root / file).is_file()]
    if absent:
        raise SmolkitError("SK497", f"{absent[0]} in {name}", "no such file", "it was pushed only in part",
                           "ask its owner to push it again, or take another revision")
    return root


def episode_files(layout: Layout, episodes: Sequence[int] | None = None) -> list[str]:
    """Data and videos of these episodes, relative to the root, each once."""
    wanted = range(len(layout.episodes)) if episodes is None else episodes
    if not set(wanted) <= set(range(len(layout.episodes))):
        raise SmolkitError("SK409", f"episodes among 0..{len(layout.episodes) - 1}", str(list(wanted)),
                           "the list was made for another dataset", "look at total_episodes in meta/info.json")
    return list(dict.fromkeys(file for index in wanted for episode in [layout.episodes[index]]
                              for file in (episode.data_file, *(span.file for span in episode.videos.values()))))


def dataset_folder(source: str | Path, revision: str | None = None, episodes: Sequence[int] | None = None) -> Path:
    """A dataset's folder on this disk: `source` itself, or what its name on the Hub stands for."""
    if isinstance(source, str) and not Path(source).exists() and hub.is_hub_id(source):
        return hub_dataset(source, revision, episodes)
    return Path(source)


def dataset_files(root: Path) -> dict[str, Path]:
    """Path -> file of all that belongs to a dataset: what its tables name, and they. No locks, journals, scratch."""
    meta = [path.relative_to(root).as_posix() for path in sorted((root / "meta").rglob("*"))
            if path.suffix in (".json", ".jsonl", ".parquet") and path.is_file()]
    readme = ["README.md"] if (root / "README.md").is_file() else []
    return {name: root / name for name in [*episode_files(load_layout(root)), *meta, *readme]}


@contextmanager
def at_rest(root: Path) -> Iterator[None]:
    """Nobody records into it meanwhile."""
    if not (root / INFO_PATH).is_file() or not os.access(root, os.W_OK):          # a stick may be read-only
        yield
        return
    with Claim(root):
        yield


def push_dataset(root: Path | str, name: str, *, sheet: Path, licence: str | None, looked: bool = False,
                 private: bool = True, update: bool = False, quality: Mapping[str, Any] | None = None,
                 tell: Callable[[Report], None] = Report.raise_if_red) -> str:
    """One commit with the dataset, its card and a preview, and the version's tag on it; returns the commit's address.

    `sheet`, `licence`, `looked`: see `private_data`; `quality`: the dict of a check's report, for the card. After any
    error the same call goes on. Errors: SK495 what is private, SK496 the Hub's, and the reader's.
    """
    with at_rest(Path(root)), closing(Dataset(root)) as dataset:
        report = private_data(dataset, sheet, licence, looked)
        tell(report)
        report.raise_if_red()
        files = {**dataset_files(dataset.root), **card(dataset, name, str(licence), quality)}
        return hub.push(name, files, dataset.info.codebase_version, private=private, update=update)

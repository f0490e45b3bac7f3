"""The Hugging Face Hub: names, downloads, pushes, and words for what can go wrong there.

    >>> is_hub_id("lerobot/smolvla_base"), is_hub_id("outputs/run/policy"), is_hub_id("../smolvla_base")
    (True, False, False)

    fetch("lerobot/svla_so101_pickplace", "meta/info.json", "v3.0")      # one file, in the cache

Downloads go into huggingface_hub's cache; a second time needs no network. Its settings hold: `HF_HUB_OFFLINE`,
`HF_HOME`, `HF_ENDPOINT`, and a token for private repositories and for pushes (`hf auth login`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from smolkit.report import SmolkitError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_STATUS = {401: ("no token, or one that the Hub does not know (any more)", "`hf auth login`"),
           403: ("the token may only read, or the owner in the name is not you",
                 "make a token with write permission and `hf auth login`, or put your own name before the slash"),
           412: ("somebody else pushed to it meanwhile", "look at their change on the Hub, then run it again"),
           429: ("too many requests in a short time", "wait some minutes and run it again: what arrived is kept"),
           **dict.fromkeys((500, 502, 503, 504), ("the Hub has a fault of its own",
                           "wait some minutes and run it again: what arrived is kept"))}


def is_hub_id(name: str) -> bool:
    """Could that be `owner/name`?"""
    return _HUB_ID.fullmatch(name) is not None and ".." not in name


def download(name: str, files: Sequence[str] | None = None, revision: str | None = None, code: str = "SK497",
             instead: str = "give the path of a folder that has the files", kind: str = "dataset",
             folder: Path | None = None) -> Path:
    """The folder with these files (glob patterns) of a repository: in the cache, or `folder`.

    `revision`: a branch, a tag or a commit; `kind`: "dataset" or "model". What broke off goes on where it was.
    Errors: `code`, with the ways out: connect once, or what `instead` says.
    """
    from huggingface_hub import snapshot_download
    with explained(name, code, instead, revision):
        return Path(snapshot_download(name, repo_type=kind, revision=revision, local_dir=folder,
                                      allow_patterns=None if files is None else list(files)))


def fetch(name: str, path: str, revision: str | None = None, kind: str = "dataset", code: str = "SK497") -> Path:
    """One file of a repository, in the cache; with a commit as `revision`, a cached one asks no network at all."""
    from huggingface_hub import hf_hub_download
    with explained(name, code, "download the whole repository once", revision):
        return Path(hf_hub_download(name, path, repo_type=kind, revision=revision))


def push(name: str, files: Mapping[str, Path | bytes], tag: str, *, private: bool = True, update: bool = False,
         kind: str = "dataset", code: str = "SK496") -> str:
    """Uploads `files` (path there -> path or content here) as one commit, moves `tag` to it; returns its address.

    Nothing is to be seen before all has arrived, and what arrived is not sent twice: after any error the same call
    goes on. Errors: `code` for a name that is taken (`update` allows it), for another visibility, and all of the Hub.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import RevisionNotFoundError
    hub, there = HfApi(), {"repo_id": name, "repo_type": kind}
    with explained(name, code, "copy it to a folder or a stick: smolkit push FOLDER PATH"):
        hub.create_repo(**there, private=private, exist_ok=True)
        head = hub.repo_info(**there)
        old = {file.rfilename for file in head.siblings or ()} - {".gitattributes"}
        tagged = tag in {one.name for one in hub.list_repo_refs(**there).tags}
        _check_free(name, code, bool(head.private), private, update or not old or not tagged and old <= set(files))
        gone = {path for path in old - set(files) if path.split("/")[0] in {new.split("/")[0] for new in files}}
        changes = [*(CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
                     for path, content in files.items()), *(CommitOperationDelete(path) for path in sorted(gone))]
        commit = hub.create_commit(**there, operations=changes, commit_message=f"smolkit {tag}", parent_commit=head.sha)
        with suppress(RevisionNotFoundError):                          # a tag does not move: LeRobot does it so, too
            hub.delete_tag(**there, tag=tag)
        hub.create_tag(**there, tag=tag, revision=commit.oid)
        return commit.commit_url


def _check_free(name: str, code: str, private_there: bool, private: bool, free: bool) -> None:
    words = {True: "private", False: "public"}
    if not free:
        raise SmolkitError(code, f"{name} to be a new repository", "one with files", "the name is taken, perhaps by "
                           "an earlier push of yours", "choose another name, or --update to replace what is there")
    if private_there != private:
        raise SmolkitError(code, f"{name} to be {words[private]}", f"it is {words[private_there]}",
                           "it was made so before", f"--{words[private_there]}, or change it on its page: Settings")


@contextmanager
def explained(name: str, code: str, instead: str, revision: str | None = None) -> Iterator[None]:
    """What the Hub's library raises inside becomes a SmolkitError that teaches."""
    try:
        yield
    except SmolkitError:
        raise
    except Exception as error:         # each HTTP library that huggingface_hub has used raises its own kinds
        cause, way_out = _explain(name, revision, list(_causes(error)))
        said = str(error).strip().partition("\n")[0][:200]
        raise SmolkitError(code, f"{name}: a folder here, or a repository on the Hugging Face Hub",
                           f"neither ({type(error).__name__}: {said})", cause, f"{way_out}; or {instead}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _explain(name: str, revision: str | None, errors: list[BaseException]) -> tuple[str, str]:
    """The likeliest cause, and the first way out."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def any_is(*kinds: type) -> bool:
        return any(isinstance(error, kinds) for error in errors)

    status = next((error.response.status_code for error in errors if getattr(error, "response", None) is not None), 0)
    if any_is(RevisionNotFoundError):
        return f"{name} has no revision {revision}", "choose a branch, tag or commit that exists"
    if any_is(GatedRepoError):
        return "its owner asks for consent first", "agree on its page on the Hub, then `hf auth login`"
    if any_is(LocalTokenNotFoundError):
        return _STATUS[401]
    if any_is(RepositoryNotFoundError, HFValidationError):
        return "a typing mistake, or the repository is private", "correct the name, or `hf auth login`"
    if status in _STATUS:
        return _STATUS[status]
    if any_is(EntryNotFoundError) and not any_is(LocalEntryNotFoundError):
        return f"{name} has no such file: it was pushed only in part", "ask its owner to push it again"
    if any_is(ValueError):
        return "the repository lists a file whose name leads out of its folder", "do not use it"
    if HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids the network", "unset it once, with a network: the files are kept"
    return "no network, or the Hub is down", "connect once: the files are kept"

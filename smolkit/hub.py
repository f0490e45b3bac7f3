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
_TOKEN = ("no token, or one that the Hub does not know (any more)", "`hf auth login`")
_TROUBLE = ("the Hub has a fault of its own", "wait some minutes and run it again: what arrived is kept")
_STATUS = {401: _TOKEN, 500: _TROUBLE, 502: _TROUBLE, 503: _TROUBLE, 504: _TROUBLE,
           403: ("the token may only read, or the owner in the name is not you",
                 "make a token with write permission and `hf auth login`, or put your own name before the slash"),
           404: ("no such file: it was pushed only in part", "ask its owner to push it again"),
           412: ("somebody else pushed to it meanwhile", "look at their change on the Hub, then run it again"),
           429: ("too many requests in a short time", "wait some minutes and run it again: what arrived is kept")}


def is_hub_id(name: str) -> bool:
    """Could that be `owner/name`?"""
    return _HUB_ID.fullmatch(name) is not None and ".." not in name


def download(name: str, files: Sequence[str], revision: str | None = None, code: str = "SK497",
             instead: str = "give the path of a folder that has the files", kind: str = "dataset") -> Path:
    """The folder in the cache with these files (glob patterns) of a repository; what broke off goes on.

    `revision`: a branch, a tag or a commit; `kind`: "dataset" or "model". Errors: `code`, with the ways out: connect
    once, or what `instead` says.
    """
    from huggingface_hub import snapshot_download
    with explained(name, code, instead, revision):
        return Path(snapshot_download(name, repo_type=kind, revision=revision, allow_patterns=list(files)))


def fetch(name: str, path: str, revision: str | None = None, kind: str = "dataset") -> Path:
    """One file of a repository, in the cache; with a commit as `revision`, a cached one asks no network. SK497."""
    from huggingface_hub import hf_hub_download
    with explained(name, "SK497", "download the whole repository once", revision):
        return Path(hf_hub_download(name, path, repo_type=kind, revision=revision))


def push(name: str, files: Mapping[str, Path | bytes], tag: str, *, private: bool = True, update: bool = False,
         kind: str = "dataset") -> str:
    """Uploads `files` (path there -> path or content here) as one commit, moves `tag` to it; returns its address.

    Nothing is to be seen before all has arrived, and what arrived is not sent twice: after any error the same call
    goes on. SK496 for a name that is taken (`update` allows it), for another visibility, and for the Hub's errors.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import RevisionNotFoundError
    hub, there = HfApi(), {"repo_id": name, "repo_type": kind}
    with explained(name, "SK496", "copy it to a folder or a stick: smolkit push FOLDER PATH"):
        hub.create_repo(**there, private=private, exist_ok=True)
        head = hub.repo_info(**there)
        old = {file.rfilename for file in head.siblings or ()} - {".gitattributes"}
        broke_off = old <= set(files) and tag not in {one.name for one in hub.list_repo_refs(**there).tags}
        _check_free(name, not old or broke_off or update, bool(head.private), private)
        folders = {path.split("/")[0] for path in files}
        changes = [CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
                   for path, content in files.items()]
        changes += [CommitOperationDelete(path) for path in old - set(files) if path.split("/")[0] in folders]
        commit = hub.create_commit(**there, operations=changes, commit_message=f"smolkit {tag}", parent_commit=head.sha)
        with suppress(RevisionNotFoundError):                          # a tag does not move: LeRobot does it so, too
            hub.delete_tag(**there, tag=tag)
        hub.create_tag(**there, tag=tag, revision=commit.oid)
        return commit.commit_url


def _check_free(name: str, free: bool, private_there: bool, private: bool) -> None:
    if not free:
        raise SmolkitError("SK496", f"{name} to be a new repository", "one with files", "the name is taken, perhaps by "
                           "an earlier push of yours", "choose another name, or --update to replace what is there")
    if private_there != private:
        wanted, found = ("private", "public") if private else ("public", "private")
        raise SmolkitError("SK496", f"{name} to be {wanted}", f"it is {found}", "it was made so before",
                           f"--{found}, or change it on its page: Settings")


@contextmanager
def explained(name: str, code: str, instead: str, revision: str | None = None) -> Iterator[None]:
    """What the Hub's library raises inside becomes a SmolkitError that teaches."""
    try:
        yield
    except SmolkitError:
        raise
    except Exception as error:         # each HTTP library that huggingface_hub has used raises its own kinds
        chain: list[BaseException] = [error]
        while chain[-1].__cause__ is not None:
            chain.append(chain[-1].__cause__)
        cause, way_out = _explain(name, revision, chain)
        said = str(error).strip().partition("\n")[0][:200]
        raise SmolkitError(code, f"the repository {name} on the Hugging Face Hub", f"{type(error).__name__}: {said}",
                           cause, f"{way_out}; or {instead}") from error


def _explain(name: str, revision: str | None, chain: list[BaseException]) -> tuple[str, str]:
    """The likeliest cause, and the first way out."""
    from huggingface_hub import constants, errors
    typed = ("a typing mistake, or the repository is private", "correct the name, or `hf auth login`")
    kinds = {errors.RevisionNotFoundError: (f"{name} has no revision {revision}", "choose one that exists"),
             errors.GatedRepoError: ("its owner asks for consent", "agree on its page, then `hf auth login`"),
             errors.LocalTokenNotFoundError: _TOKEN, errors.RepositoryNotFoundError: typed,
             errors.HFValidationError: typed}
    for kind, words in kinds.items():
        if any(isinstance(error, kind) for error in chain):
            return words
    answers = [error.response.status_code for error in chain if getattr(error, "response", None) is not None]
    if answers and answers[0] in _STATUS:
        return _STATUS[answers[0]]
    if any(isinstance(error, ValueError) for error in chain):
        return "the repository lists a file whose name leads out of its folder", "do not use it"
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids the network", "unset it once, with a network: the files are kept"
    return "no network, or the Hub is down", "connect once: the files are kept"

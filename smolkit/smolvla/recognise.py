"""Whose tokenizer is this? The same word has another number in every one of them.

    >>> recognise_tokenizer(ASSETS).found
    "the classroom's"
    >>> print(recognise_tokenizer(ASSETS, vocabulary=49280).line())      # in a policy on SmolVLM2
    ✗ SK520 tokenizer: found the classroom's, of 512 tokens, expected SmolVLM2's

With a foreign tokenizer a policy reads other words than were said, and obeys none: nothing crashes.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer

from smolkit.report import Check, SmolkitError
from smolkit.smolvla.tokenizer import ASSETS, open_tokenizer

ANCHORS = ASSETS / "smolvlm2_anchors.json"
SMOLVLM2, CLASSROOM, OTHER = "SmolVLM2's", "the classroom's", "another one"
VOCABULARIES = {49280: SMOLVLM2, 512: CLASSROOM}           # word vectors of the backbones that we know
SENTENCES = ("put the red cube in the blue box\n", "Push 3 cubes, then stop!\n", "a\nb", "\u00fcberall")


def recognise_tokenizer(folder: str | Path, vocabulary: int | None = None) -> Check:
    """Green where the folder's tokenizer is the one that a policy with so many word vectors was trained with.

    Without a vocabulary either known tokenizer is green. A vocabulary that we don't know belongs to somebody's own
    backbone: there it only matters that every token has a vector. An unreadable file is red.
    """
    try:
        tokenizer = open_tokenizer(Path(folder) / "tokenizer.json")
        name, size = _name(tokenizer), tokenizer.get_vocab_size()
    except SmolkitError as error:
        name, size = f"none: {error.found}", 0
    if vocabulary is None or vocabulary in VOCABULARIES:
        wanted = [VOCABULARIES[vocabulary]] if vocabulary else list(VOCABULARIES.values())
        ok, expected = name in wanted, " or ".join(wanted)
    else:
        ok, expected = 0 < size <= vocabulary, f"one of at most {vocabulary} tokens"
    return Check("SK520", "tokenizer", ok, expected, name if ok or not size else f"{name}, of {size} tokens",
                 "the checkpoint was copied without its tokenizer, or with another model's",
                 "put the backbone's tokenizer.json into the checkpoint's tokenizer/ folder, or give tokenizer=FOLDER")


def _name(tokenizer: Tokenizer) -> str:
    known, ours = json.loads(ANCHORS.read_text(encoding="utf-8")), open_tokenizer(ASSETS / "tokenizer.json")
    if (tokenizer.get_vocab_size() == known["vocabulary"]
            and all(tokenizer.token_to_id(token) == number for token, number in known["ids"].items())
            and all(_ids(tokenizer, text) == ids for text, ids in known["texts"])):
        return SMOLVLM2
    same = all(_ids(tokenizer, text) == _ids(ours, text) for text in SENTENCES)
    return CLASSROOM if same and tokenizer.get_vocab_size() == ours.get_vocab_size() else OTHER


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids

"""A tokenizer is known by what it makes of a few texts, whatever its file looks like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from smolkit.smolvla.recognise import ANCHORS, CLASSROOM, OTHER, SMOLVLM2, recognise_tokenizer
from smolkit.smolvla.tokenizer import ASSETS
from tests.paths import shared

PIECES = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                  pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])


def stand_in(folder: Path, **changed: int) -> Path:
    """A tokenizer with the published ids for the anchors' words and filler elsewhere: the real one is not here."""
    known = json.loads(ANCHORS.read_text())
    words = {piece: number for text, ids in known["texts"]
             for (piece, _), number in zip(PIECES.pre_tokenize_str(text), ids, strict=True)}
    words |= changed
    taken = {*words.values(), *known["ids"].values()}
    filler = {f"<filler {number}>": number for number in range(known["vocabulary"]) if number not in taken}
    tokenizer = Tokenizer(BPE({**words, **known["ids"], **filler}, [], ignore_merges=True))
    tokenizer.pre_tokenizer, tokenizer.decoder = PIECES, decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in known["ids"]])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_the_anchors_are_the_published_ones():
    published = json.loads(shared("golden", "smolvlm2_tokenizer", "anchors.json").read_text())
    ours = json.loads(ANCHORS.read_text())
    assert (ours["vocabulary"], ours["ids"], ours["texts"]) == \
        (published["vocab_size"], published["special_ids"], published["pairs"])


def test_smolvlm2s_is_recognised_and_one_other_word_makes_it_another(tmp_path):
    real = stand_in(tmp_path / "real")
    assert recognise_tokenizer(real, 49280).ok and recognise_tokenizer(real).found == SMOLVLM2
    assert not recognise_tokenizer(real, 512).ok
    swapped = recognise_tokenizer(stand_in(tmp_path / "swapped", Hello=20000), 49280)
    assert not swapped.ok and swapped.found.startswith(OTHER) and swapped.code == "SK520"


def test_the_classrooms_is_recognised_however_its_file_is_written(tmp_path):
    raw = json.loads((ASSETS / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw, indent=7))
    assert recognise_tokenizer(tmp_path, 512).ok and recognise_tokenizer(tmp_path).found == CLASSROOM
    assert not recognise_tokenizer(tmp_path, 49280).ok


def test_a_backbone_of_somebodys_own_needs_a_vector_for_every_token():
    folder = shared("golden", "smolvla_tiny", "vlm")               # 320 tokens
    assert recognise_tokenizer(folder, 320).ok and not recognise_tokenizer(folder, 319).ok
    assert recognise_tokenizer(folder).found.startswith(OTHER) and not recognise_tokenizer(folder).ok


@pytest.mark.parametrize("text", [None, "", "{}", "[1]"])
def test_no_tokenizer_is_red(tmp_path, text):
    if text is not None:
        (tmp_path / "tokenizer.json").write_text(text)
    for vocabulary in (None, 512, 320):
        check = recognise_tokenizer(tmp_path, vocabulary)
        assert not check.ok and check.found.startswith("none")

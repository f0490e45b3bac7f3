"""Trains the small tokenizer of the classroom preset: byte-level BPE on sentences a learner says to an arm.

    python scripts/make_tokenizer.py  # writes smolkit/smolvla/assets/tokenizer.json (same bytes each time)

It has the shape of SmolVLM2's (each digit alone, then byte level; pads with <|im_end|>; no start or end
token), so every line of code that serves the big model serves the small one. Any text can be encoded: unknown
words become bytes.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

ASSETS = Path(__file__).resolve().parents[1] / "smolkit" / "smolvla" / "assets"
VOCABULARY = 512
BASE_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]  # ids 0, 1, 2 as in SmolVLM2
IMAGE_TOKENS = ["<global-img>", "<fake_token_around_image>", "<image>", "<end_of_utterance>"]

COLOURS = ["red", "green", "blue", "yellow", "orange", "purple", "white", "black", "grey", "pink", "brown"]
THINGS = ["cube", "block", "box", "ball", "pen", "cup", "lego brick", "screw", "bottle", "tape", "spoon",
          "sock", "object"]
PLACES = ["box", "bin", "bowl", "plate", "tray", "table", "stand", "basket", "drawer", "mat", "target"]
VERBS = ["pick up", "grab", "grasp", "lift", "take", "touch", "reach", "push", "point at", "move to", "stack",
         "rotate"]
PUTS = ["put", "place", "drop", "move", "stack", "insert", "hand over", "slide", "pour", "sort"]
WHERE = ["in", "into", "on", "onto", "next to", "behind", "in front of", "to the left of", "to the right of",
         "under"]
OTHERS = ["pick up what fell off its stand", "put it back", "open the gripper", "close the gripper",
          "go home", "stop",
          "fold the towel", "wipe the table", "open the drawer", "close the door", "press the button",
          "wave hello",
          "put both cubes in the box", "sort the cubes by colour", "sort the cubes by color",
          "swap the two cubes",
          "push the cube to the edge of the table", "hand me the pen", "clean up the table",
          "then wait two seconds"]


def sentences() -> list[str]:
    """Every combination that a task of the course, or a learner's own, is likely to use."""
    triples = itertools.product(VERBS, COLOURS, THINGS)
    simple = [f"{verb} the {colour} {thing}\n" for verb, colour, thing in triples]
    pairs = itertools.product(PUTS, COLOURS, THINGS[:4], WHERE, COLOURS[:5], PLACES)
    double = [f"{put} the {a} {thing} {where} the {b} {place}\n" for put, a, thing, where, b, place in pairs]
    return simple + double[::7] + [f"{other}\n" for other in OTHERS] * 200


def train() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - len(IMAGE_TOKENS), special_tokens=BASE_TOKENS,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    tokenizer.train_from_iterator(sentences(), trainer)
    added = [AddedToken(token, special=True, normalized=False) for token in IMAGE_TOKENS]
    tokenizer.add_special_tokens(added)
    return tokenizer


def main() -> None:
    ASSETS.mkdir(parents=True, exist_ok=True)
    tokenizer = train()
    tokenizer.save(str(ASSETS / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<|endoftext|>",
              "bos_token": "<|im_start|>",
              "pad_token": "<|im_end|>", "eos_token": "<end_of_utterance>", "truncation_side": "left",
              "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
              "image_token": "<image>", "clean_up_tokenization_spaces": False, "model_max_length": 512}
    (ASSETS / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    print(f"{tokenizer.get_vocab_size()} ids -> {ASSETS / 'tokenizer.json'}")


if __name__ == "__main__":
    main()

"""The miniature's own CLIP tokenizer: byte pairs merged until each word of the world's captions is one token.

It is laid out as CLIP's: 256 bytes, the same 256 ending a word (`</w>`), the merges, start and end last; the end token
also pads. An unknown word is spelt in bytes and parts of words, so any prompt can be read, if not understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from emoscene_mini.world import roles
from emoscene_mini.world.captions import captions
from emoscene_mini.world.plan import plan

START, END = "<|startoftext|>", "<|endoftext|>"
PLANS = 30_000  # pictures whose captions are read: every word comes in the first thousands
_WORD = re.compile(r"[a-z]+|[^\sa-z]+")


def world_vocabulary(count: int = PLANS) -> list[str]:
    """List the words of the world's captions, those of pairs that training never shows among them.

    Args:
        count: The number of images whose captions are read.

    Returns:
        The words, sorted.
    """
    seeds = roles.role_seeds("base", count)
    words: set[str] = set()
    for seed in seeds:
        for caption in captions(plan(seed, held_out=seed % 8 == 0)):
            words.update(_WORD.findall(caption.lower()))
    return sorted(word for word in words if word.isalpha())


def train_tokenizer(vocabulary: Iterable[str]) -> CLIPTokenizer:
    """Train a tokenizer in which each word is one token.

    Args:
        vocabulary: The words.

    Returns:
        The tokenizer.
    """
    known = list(vocabulary)
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=20_000, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(known, trainer)
    merges = _merges(learner)
    letters = _bytes()
    names = [*letters, *(f"{letter}</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    return CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=merges, model_max_length=77)


def save_tokenizer(folder: Path, tokenizer: CLIPTokenizer) -> None:
    """Write a tokenizer's folder.

    Args:
        folder: The folder.
        tokenizer: The tokenizer.
    """
    tokenizer.save_pretrained(folder)


def _merges(learner: Tokenizer) -> list[tuple[str, str]]:
    found = json.loads(learner.to_str())["model"]["merges"]
    return [(pair[0], pair[1]) for pair in found]


def _bytes() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in CLIP's order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(plain)
    return [chr(code) for code in plain] + [chr(256 + n) for n in range(others)]

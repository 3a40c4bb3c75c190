"""CLIP's tokenizer (Radford et al. 2021), for a checkpoint in one file, which has none of its own.

A tokenizer of byte pairs is an order of merges. `clip/merges.txt.gz` holds those 48,894 of OpenAI's
`bpe_simple_vocab_16e6` that CLIP uses (MIT, `clip/LICENSE`), and the ids follow from them: the 256 letters that stand
for bytes, these at the end of a word, each merge, start and end. All of Stable Diffusion 1, 2 and XL read with it.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from emoscene.diffusion.text_encoders import POSITIONS

MERGES = Path(__file__).parent / "clip/merges.txt.gz"
START, END = "<|startoftext|>", "<|endoftext|>"


def make_clip_tokenizer() -> CLIPTokenizer:
    """Make CLIP's tokenizer from the merges that lie in the package; no network is asked.

    Returns:
        The tokenizer, with 49,408 ids; it pads with the end as Stable Diffusion 1 does.

    Example:
        >>> make_clip_tokenizer()("a photo of a cat")["input_ids"]
        [49406, 320, 1125, 539, 320, 2368, 49407]
    """
    merges = []
    with gzip.open(MERGES, "rt", encoding="utf8") as lines:
        for line in lines:
            first, second = line.split()
            merges.append((first, second))
    letters = sorted(ByteLevel.alphabet())
    names = letters + [f"{letter}</w>" for letter in letters]
    for first, second in merges:
        names.append(first + second)
    vocabulary = {}
    for number, name in enumerate([*names, START, END]):
        vocabulary[name] = number
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)

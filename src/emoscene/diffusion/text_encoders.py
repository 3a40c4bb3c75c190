"""CLIP text encoders as the families of Stable Diffusion use them: one, or several side by side.

A prompt's ids are start, words, end, padding: 77 in all. Learned vectors stand between the words and the end. They are
no rows of the encoder's table, so no typed text can reach them: `run_encoder` puts them in where the ids have
placeholders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from emoscene.diffusion.transfer import move_to_device

POSITIONS = 77
"""Of CLIP's text encoder: start, 75 for words, end."""


class TextEncoders(nn.Module):
    """Several text encoders as one part of a base: they go to a device and to a precision together.

    Args:
        encoders: The encoders, in the order in which the UNet attends to them.
        paddings: The id that each of them pads with; None is what the tokenizer says.
        zeroes_empty: Whether the null condition of the base is zeros, in place of the encoding of an empty prompt.
    """

    def __init__(self, encoders: Sequence[nn.Module], paddings: Sequence[int | None], zeroes_empty: bool) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.paddings, self.zeroes_empty = tuple(paddings), zeroes_empty

    def forward(self, ids: Sequence[Tensor], suffixes: Sequence[Tensor | None], ends: Sequence[int]) -> list[Any]:
        """Run all of them.

        Args:
            ids: The ids for each encoder [B, 77].
            suffixes: Learned vectors for each encoder [B, n, D], or None.
            ends: Where the words of each prompt end, B numbers.

        Returns:
            What each of them returns, with all hidden states.
        """
        outputs = []
        for encoder, own_ids, suffix in zip(self.encoders, ids, suffixes, strict=True):
            outputs.append(run_encoder(encoder, own_ids, suffix, ends, output_hidden_states=True))
        return outputs


def lay_out_ids(words: Sequence[Sequence[int]], room: int, tokenizer: CLIPTokenizer, padding: int) -> Tensor:
    """Lay out the ids of prompts.

    Args:
        words: The ids of each prompt's words, without start and end.
        room: How many placeholders to leave after the words.
        tokenizer: The tokenizer, which has start and end.
        padding: The id to fill up with.

    Returns:
        Ids [B, 77].
    """
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    rows = []
    for one in words:
        filled = [start, *one, *[end] * (room + 1)]
        rows.append(filled + [padding] * (POSITIONS - len(filled)))
    return torch.tensor(rows)


def run_encoder(encoder: nn.Module, ids: Tensor, suffix: Tensor | None, ends: Sequence[int], **options: Any) -> Any:
    """Run a text encoder on prompts with learned vectors after their words.

    Args:
        encoder: The text encoder.
        ids: Ids with placeholders [B, 77].
        suffix: Learned vectors [B, n, D], or None.
        ends: Where the words of each prompt end, B numbers.
        **options: Of the encoder's call.

    Returns:
        What the encoder returns.
    """
    if suffix is None:
        return encoder(ids, **options)
    given: Tensor = suffix
    n = given.shape[1]
    begin = move_to_device(torch.tensor(list(ends)), ids.device)
    at = begin[:, None] + torch.arange(n, device=ids.device)
    rows = torch.arange(len(ids), device=ids.device)[:, None]

    def place(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output.index_put((rows, at), given.to(output.dtype))

    hook = token_table(encoder).register_forward_hook(place)
    try:
        return encoder(ids, **options)
    finally:
        hook.remove()


def token_table(encoder: nn.Module) -> nn.Embedding:
    """Find the table of a text encoder's input vectors.

    Args:
        encoder: The text encoder, of transformers.

    Returns:
        The table, whose weight is [vocabulary, D].
    """
    found: Any = encoder
    return cast(nn.Embedding, found.get_input_embeddings())

"""The pictures that the base learns from, each rendered once into raw pixels on the disk, with its captions.

    pictures = render(work / "pictures", "base", 28_000)     goes on where it stopped
    images.read([3, 5], ("pixels", "short", "scene"))

`pixels.u8` is one array [N, 128, 128, 3]; `notes.jsonl` has a line a picture, written only once its pixels are on the
disk. Once encoded, latents are a column too (`latents.npy`, [N, 2, 4, 16, 16]: as painted, and mirrored); once a text
encoder has read them, so are the short and the long caption (`texts.npy`, [N, 2, 77, D]), which stay on the disk. What
an autoencoder made of the first M pictures (`decoded.npy`, [M, 128, 128, 3]) is the column `again`; the others are as
they were.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emoscene.core import run_dir
from emoscene_mini.world import roles
from emoscene_mini.world.render_pool import RenderedImage, render_images

SIZE = 128
CHUNK = 512  # pictures between two marks on the disk
PIXELS, NOTES = "pixels.u8", "notes.jsonl"
LATENTS, TEXTS, DECODED = "latents.npy", "texts.npy", "decoded.npy"
WORDS = {"caption": "short", "caption_long": "long"}  # a prepared folder's names for a note's


class RenderedImages:
    """A cache in `folder`, as `training.run_training` reads it.

    Columns: pixels (bytes), picture (in [-1, 1]), latents, texts, weights, votes, all of a note; captions by either
    name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = list(run_dir.read_jsonl(folder / NOTES))
        self.pixels = np.memmap(folder / PIXELS, np.uint8, "r", shape=(len(self.notes), SIZE, SIZE, 3))
        found = (folder / LATENTS).is_file()
        self.latents = torch.from_numpy(np.load(folder / LATENTS)) if found else None
        self.texts = np.load(folder / TEXTS, mmap_mode="r") if (folder / TEXTS).is_file() else None
        self.decoded = np.load(folder / DECODED, mmap_mode="r") if (folder / DECODED).is_file() else None
        self.weights = torch.tensor([note["weights"] for note in self.notes])

    def __len__(self) -> int:
        return len(self.notes)

    def read(self, indices: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
        """Read columns of some rows.

        Args:
            indices: B rows.
            columns: The names of the columns.

        Returns:
            Tensors [B, ...], or lists of B values, by column.
        """
        return {column: self._column(column, list(indices)) for column in columns}

    def column(self, column: str) -> Any:
        """Read one column of every row.

        Args:
            column: Its name.

        Returns:
            A tensor [N, ...], or a list of N values.
        """
        return self._column(column, list(range(len(self))))

    def _column(self, column: str, indices: list[int]) -> Any:
        if column in ("pixels", "image"):
            pixels = torch.from_numpy(self.pixels[indices]).permute(0, 3, 1, 2).contiguous()
            return pixels if column == "pixels" else pixels.float() / 127.5 - 1
        if column == "again":
            if self.decoded is None:
                raise ValueError(f"{self.folder} was not decoded yet: the stage 'judges' does it")
            sources = ((self.decoded if index < len(self.decoded) else self.pixels)[index] for index in indices)
            return torch.from_numpy(np.stack(list(sources))).permute(0, 3, 1, 2).float() / 127.5 - 1
        if column == "latents":
            if self.latents is None:
                raise ValueError(f"{self.folder} has no latents yet: the stage 'latents' makes them")
            return self.latents[indices]
        if column == "texts":
            if self.texts is None:
                raise ValueError(f"{self.folder} has no texts yet: the stage 'texts' makes them")
            return torch.from_numpy(self.texts[indices])
        if column == "weights":
            return self.weights[indices]
        if column == "votes":
            return torch.tensor([self.notes[index]["votes"] for index in indices])
        return [self.notes[index][WORDS.get(column, column)] for index in indices]


def _note(proof: RenderedImage) -> str:
    plan = proof.plan
    note = {"seed": plan.seed, "scene": plan.scene, "object": plan.object, "weights": plan.weights}
    note["votes"] = plan.votes
    return json.dumps({**note, "short": proof.short, "long": proof.long}) + "\n"


def build_cache(
    folder: Path,
    role: str,
    count: int,
    workers: int | None = None,
    on_message: Callable[[str], None] = print,
    order: Callable[[int], dict[str, Any]] = lambda seed: {"seed": seed},
) -> RenderedImages:
    """The first `count` pictures of a role; goes on where it stopped. `order`: what the world is asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    notes, pixels = folder / NOTES, folder / PIXELS
    for file in (pixels, notes):
        file.touch()
    os.truncate(notes, notes.read_bytes().rfind(b"\n") + 1)  # a line torn by a crash
    done = len(list(run_dir.read_jsonl(notes)))
    coming = render_images(map(order, roles.role_seeds(role, count)[done:]), SIZE, workers)
    with pixels.open("r+b") as image, notes.open("ab") as text:
        image.seek(done * SIZE * SIZE * 3)
        while chunk := list(islice(coming, CHUNK)):
            for end, data in (
                (image, b"".join(proof.pixels.tobytes() for proof in chunk)),
                (text, "".join(map(_note, chunk)).encode()),
            ):
                end.write(data)
                end.flush()
                os.fsync(end.fileno())
            done += len(chunk)
            on_message(f"rendered {done} of {count}")
    return RenderedImages(folder)

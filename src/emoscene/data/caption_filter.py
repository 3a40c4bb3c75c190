"""Whether a caption fits its image, by a CLIP; those that fit least are left out.

A captioner errs, and a wrong caption teaches a method that the wrong thing is its emotion. CoEmoGen (Yuan et al. 2025)
drops the fifth of its captions that CLIP finds least like their images. Here the share is a setting, and it is taken
of each shard of a thousand images: so no process waits for another, and a data set that is sorted by emotion loses
as many of each. What is held out stays whole, because nothing learns its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from emoscene.encoders.emotion_clip import EmotionCLIP


@dataclass(frozen=True)
class CaptionFilter:
    """What says how captions fit: a CLIP with its tokenizer, and the share of them that goes."""

    clip: EmotionCLIP
    share: float

    @torch.no_grad()
    def score(self, images: Tensor, captions: list[str]) -> list[float]:
        """Compare images with their captions.

        Args:
            images: Images [B, 3, H, W] in [-1, 1].
            captions: A caption for each image [B].

        Returns:
            The cosine similarity of each pair [B], from -1 to 1.
        """
        return F.cosine_similarity(self.clip.encode(images)[1], self.clip.encode_texts(captions)).tolist()

    def find_misfits(self, fits: Mapping[int, float]) -> list[int]:
        """Choose the captions to drop.

        Args:
            fits: The cosine similarity of each caption, by its number.

        Returns:
            The numbers of the share that fits least; of equal captions, the lower numbers.
        """
        return sorted(fits, key=lambda number: (fits[number], number))[: int(self.share * len(fits))]

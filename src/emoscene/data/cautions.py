"""Cautions about a prepared set: where the miniature's models saw images that are not of its world.

The base `mini` brings a captioner and an EmotionCLIP that have seen nothing but the rendered world. Its captioner is
asked of that world's images alone, unless a call names it (`captioner=base`); its EmotionCLIP reads every image. Each
way the sentence goes to the caller, into the manifest, and onto the card.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from emoscene.core.image_origin import caution_for, count_images, suggest_captioner
from emoscene.data.encoding import Networks
from emoscene.data.planning import Plan


def list_cautions(networks: Networks, rendered: np.ndarray, worded: np.ndarray) -> list[str]:
    """List the models of the miniature that are applied to images which are not of its world.

    Args:
        networks: The models that read the images.
        rendered: Whether each image carries the mark of the rendered world [N].
        worded: Where each caption comes from [N]: own, attributes or none.

    Returns:
        A sentence for each such model.
    """
    foreign = ~rendered
    if not foreign.any():
        return []
    whose, sentences = count_images(int(foreign.sum()), len(rendered)), []
    if "captioner" in networks.miniature:
        silent, bare = int((foreign & (worded != "own")).sum()), int((foreign & (worded == "none")).sum())
        if networks.spares and silent:
            what = f"its captioner is not asked of them; {bare} have no words at all, {silent - bare} attributes alone"
            sentences.append(
                caution_for(whose, what, f"put captions into metadata or NAME.txt, or {suggest_captioner()}")
            )
        if not networks.spares and silent:
            what = f"the captions that its captioner gives {silent} of them mean nothing"
            sentences.append(caution_for(whose, what, suggest_captioner()))
    if "emotion_clip" in networks.miniature:
        what = "the vectors that its EmotionCLIP gives them mean nothing"
        sentences.append(caution_for(whose, what, "give emotion_clip=FOLDER, one that learnt from such images"))
    if "clip" in networks.miniature:
        what = "which captions fit them, its EmotionCLIP cannot tell"
        sentences.append(caution_for(whose, what, "give clip=FOLDER, a CLIP of such images, or leave misfits= out"))
    return sentences


def count_captions(plan: Plan, spares: bool) -> dict[str, int]:
    """Count where the captions of the plan's images come from.

    Args:
        plan: The images taken.
        spares: Whether the captioner is asked about images of the rendered world only.

    Returns:
        The number of `own` captions and of the `captioner`'s; with `spares` also of `attributes` and `none`.
    """
    if spares:
        asked = plan.find_rendered()
    else:
        asked = np.ones(len(plan), dtype=bool)
    worded = plan.list_caption_sources()
    own = int((worded == "own").sum())
    rest = Counter(worded[(worded != "own") & ~asked].tolist())
    return {"own": own, "captioner": len(plan) - own - rest.total(), **dict(sorted(rest.items()))}

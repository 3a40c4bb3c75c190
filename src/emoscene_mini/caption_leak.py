"""How much of an emotion the captions give away: logistic regression on their words, judged on unseen captions.

If the words explained everything, a method trained with them would learn nothing of the emotion. Chance is 1 in 8.
"""

from __future__ import annotations

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from emoscene.core.taxonomy import EMOTIONS
from emoscene_mini.world import roles
from emoscene_mini.world1.captions import captions
from emoscene_mini.world1.plan import plan


def caption_leak(learn: int = 6000, test: int = 2000) -> dict[str, float]:
    """Measure how often a classifier of words reads the emotion of a caption that it has not seen.

    Args:
        learn: The number of captions that it learns from.
        test: The number that it is tested on.

    Returns:
        The share read right, of the `short` and of the `long` captions, from 0 to 1.
    """
    (seen, seen_labels), (new, new_labels) = _caption_samples("methods", learn), _caption_samples("heldout", test)
    found = {}
    for place, kind in enumerate(("short", "long")):
        reader = make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression(C=0.3, max_iter=2000))
        reader.fit([both[place] for both in seen], seen_labels)
        found[kind] = float(reader.score([both[place] for both in new], new_labels))
    return found


def _caption_samples(role: str, count: int) -> tuple[list[tuple[str, str]], list[int]]:
    """Captions of pictures of one emotion, and its number."""
    numbers = [seed % len(EMOTIONS) for seed in roles.role_seeds(role, count)]
    plans = (plan(seed, emotion=EMOTIONS[n]) for seed, n in zip(roles.role_seeds(role, count), numbers, strict=True))
    return [captions(one) for one in plans], numbers

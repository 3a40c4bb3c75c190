"""Whether a picture shows the words: the cosine of picture and text in a CLIP's space.

    100 * max(cos(text, picture), 0)

This is CLIPScore (Hessel et al. 2021) in hundredths. The text is the neutral prompt, without any emotion: what is
measured is that the content stays, not the emotion.
"""

from __future__ import annotations

from emoscene.evaluation.metrics.base import (
    Array,
    Predictions,
    Value,
    mean_statistic,
    measure,
    normalize_rows,
    require_images,
)


def alignment(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """The mean score of all pictures; nothing where no CLIP read them. Raises Failure for vectors of NaN."""
    if not made.vectors.size or not made.texts.size:
        return {}
    require_images("the alignment with the words", 1, made.vectors, made.texts)
    told = alignment_scores(made.vectors, made.texts)
    return {"alignment": measure(mean_statistic(told), made, draws, by=made.clip)}


def alignment_scores(vectors: Array, texts: Array) -> Array:
    """The score [N], in 0 .. 100, of pictures and texts [N, D]."""
    return 100 * (normalize_rows(vectors) * normalize_rows(texts)).sum(1).clip(min=0)

"""Whether an image shows the words: the cosine of image and text in a CLIP's space.

    100 * max(cos(text, image), 0)

This is CLIPScore (Hessel et al. 2021) in hundredths. The text is the neutral prompt, without any emotion: what is
measured is that the content stays, not the emotion.
"""

from __future__ import annotations

from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import Predictions, Value, mean_statistic, measure, normalize_rows, require_images


def alignment(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Measure CLIPScore in hundredths (Hessel et al. 2021).

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `alignment`, from 0 to 100; empty where no CLIP read the images.

    Raises:
        EmosceneError: Vectors are not finite.
    """
    if not made.vectors.size or not made.texts.size:
        return {}
    require_images("the alignment with the words", 1, made.vectors, made.texts)
    scores = alignment_scores(made.vectors, made.texts)
    return {"alignment": measure(mean_statistic(scores), made, draws, by=made.clip)}


def alignment_scores(vectors: Array, texts: Array) -> Array:
    """Compute 100 max(cos(image, text), 0) (Hessel et al. 2021).

    Args:
        vectors: Vectors of the images [N, D].
        texts: Vectors of their texts [N, D].

    Returns:
        Scores [N], from 0 to 100.
    """
    return 100 * (normalize_rows(vectors) * normalize_rows(texts)).sum(1).clip(min=0)

"""Whether an image shows something definite, and whether images of an emotion show different things (EmoGen, 2024).

Sem-C, semantic clarity, is the mean over images of the larger of the top scene and the top object probability (Yang
et al. 2024). It needs a judge of scenes and a classifier of objects (`--semantics`); where only the first is at hand,
its part stands alone and is called `scene_clarity`. Sem-D, semantic
diversity, is the mean of 1 - cosine over all pairs of CLIP vectors within an emotion, averaged over emotions; their
script writes both this and a squared error, so papers' figures may be either. Without a CLIP it is left out.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.intervals import Array, resample
from emoscene.evaluation.metrics.base import (
    Predictions,
    Value,
    mean_statistic,
    measure,
    normalize_rows,
    require_images,
    summarize_draws,
)
from emoscene.evaluation.pairs import count_pairs, mean_within_emotion


def semantics(made: Predictions, real: Predictions | None = None, draws: int = 500) -> dict[str, Value]:
    """Measure semantic clarity and diversity (Yang et al. 2024, EmoGen).

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `sem_c`, or `scene_clarity` without an object classifier, from 0 to 1, and `sem_d`, from 0 to 2; each where
        it was read.

    Raises:
        EmosceneError: Predictions are not finite.
    """
    values = {}
    if made.scene.size:
        require_images("clarity", 1, made.scene)
        name, by, clear = "scene_clarity", made.scene_by, made.scene.max(1)
        if made.objects.size:
            name, by = "sem_c", f"{made.scene_by} and {made.object_by}"
            clear = np.maximum(clear, made.objects.max(1))
        values[name] = measure(mean_statistic(clear), made, draws, by=by)
    if made.vectors.size:
        require_images("semantic diversity", 2, made.vectors)
        vectors = normalize_rows(made.vectors)

        def sum_members(members: Array, weights: Array) -> Array:
            return sum_cosine_distances(vectors[members], weights)

        drawn = resample(mean_within_emotion(made.asked, sum_members), made.prompt, made.seed, draws)
        values["sem_d"] = summarize_draws(drawn, made, made.clip or made.by, centred=True)
    return values


def sum_cosine_distances(vectors: Array, weights: Array) -> Array:
    """Sum 1 - cosine over all ordered pairs of different images, without computing any pair.

    The cosines of all pairs, an image with itself among them, sum to |sum_i w_i x_i|^2; of the latter each is 1.

    Args:
        vectors: Unit vectors [N, D].
        weights: How often each image counts, a row a draw [K, N].

    Returns:
        The sum of each draw [K].
    """
    alone = (weights**2) @ (vectors**2).sum(1)
    cosines = ((weights @ vectors) ** 2).sum(1) - alone
    return np.asarray(count_pairs(weights) - cosines)

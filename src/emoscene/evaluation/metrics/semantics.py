"""Whether a picture shows something definite, and whether pictures of an emotion show different things (EmoGen, 2024).

Sem-C, semantic clarity, is the mean over pictures of the larger of the top scene and the top object probability (Yang
et al. 2024). It needs a judge of scenes and a classifier of objects (`--semantics`); where only the first is at hand,
its part stands alone and is called `scene_clarity`. Sem-D, semantic
diversity, is the mean of 1 - cosine over all pairs of CLIP vectors within an emotion, averaged over emotions; their
script writes both this and a squared error, so papers' figures may be either. Without a CLIP it is left out.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.metrics.base import (
    Predictions,
    Value,
    mean_statistic,
    mean_within_emotion,
    measure,
    normalize_rows,
    require_images,
)


def semantics(made: Predictions, real: Predictions | None = None, draws: int = 500) -> dict[str, Value]:
    """Clarity where a scene judge read, diversity where a CLIP did. Raises Failure for readings of NaN."""
    found = {}
    if made.scene.size:
        require_images("clarity", 1, made.scene)
        clear = made.scene.max(1)
        if made.objects.size:
            clear = np.maximum(clear, made.objects.max(1))
        name = "sem_c" if made.objects.size else "scene_clarity"
        by = f"{made.scene_by} and {made.object_by}" if made.objects.size else made.scene_by
        found[name] = measure(mean_statistic(clear), made, draws, by=by)
    if made.vectors.size:
        require_images("semantic diversity", 2, made.vectors)
        vectors = normalize_rows(made.vectors)
        spread = mean_within_emotion(vectors, made.asked, lambda group: 1 - group @ group.T)
        found["sem_d"] = measure(spread, made, draws, centred=True, by=made.clip)
    return found

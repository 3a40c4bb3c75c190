"""Whether a picture shows the scene asked: a method that turns every scene into one fails here, however emotional."""

from __future__ import annotations

from emoscene.evaluation.metrics.base import Predictions, Value, hits, measure_share, require_images


def content(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """The share of pictures whose scene, as the scene judge sees it, is the one asked; nothing where none is known."""
    if not made.scene.size or not (made.place >= 0).any():
        return {}
    require_images("the scene kept", 1, made.scene)
    kept, known = hits(made.scene, made.place), (made.place >= 0).astype(float)
    return {"scene_accuracy": measure_share(kept, known, made, draws, made.scene_by)}

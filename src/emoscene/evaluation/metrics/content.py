"""Whether an image shows the scene asked: a method that turns every scene into one fails here, however emotional."""

from __future__ import annotations

from emoscene.evaluation.metrics.base import Predictions, Value, hits, measure_share, require_images


def content(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Measure how often the scene judge recognizes the scene that was asked.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `scene_accuracy`, from 0 to 1; empty where no scene is known.

    Raises:
        EmosceneError: Predictions are not finite.
    """
    if not made.scene.size or not (made.place >= 0).any():
        return {}
    require_images("the scene kept", 1, made.scene)
    kept, known = hits(made.scene, made.place), (made.place >= 0).astype(float)
    return {"scene_accuracy": measure_share(kept, known, made, made.scene_by)}

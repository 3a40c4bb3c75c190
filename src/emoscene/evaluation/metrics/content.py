"""Whether an image shows the scene and the object asked: a method that turns every scene into one fails here, however
emotional.
"""

from __future__ import annotations

from emoscene.evaluation.metrics.base import Predictions, Value, hits, measure_share, require_images


def content(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Measure how often judges recognize the scene and the object that were asked.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `scene_accuracy` and `object_accuracy`, from 0 to 1, each where it was asked and a judge tells it.

    Raises:
        EmosceneError: Predictions are not finite.
    """
    values: dict[str, Value] = {}
    if made.scene.size and (made.place >= 0).any():
        require_images("the scene kept", 1, made.scene)
        kept, known = hits(made.scene, made.place), (made.place >= 0).astype(float)
        values |= {"scene_accuracy": measure_share(kept, known, made, made.scene_by)}
    if made.objects.size and (made.thing >= 0).any():
        require_images("the object kept", 1, made.objects)
        kept, known = hits(made.objects, made.thing), (made.thing >= 0).astype(float)
        values |= {"object_accuracy": measure_share(kept, known, made, made.object_by)}
    return values

"""The keywords of a generation, for type checkers. Written by `python -m emoscene.core.request`."""

from typing import TypedDict

from emoscene.core.request import Emotion, ImageInput


class GenerationWords(TypedDict, total=False):
    """What `EmotionPipeline` and `generate` take beside the prompt; see `core.request`."""

    negative_prompt: str
    emotion: Emotion | list[Emotion]
    valence: float | None
    arousal: float | None
    emotion_image: ImageInput | None
    emotion_scale: float
    num_inference_steps: int
    sampler: str
    guidance_scale: float | None
    guidance_interval: tuple[float, float]
    seed: int
    num_images_per_prompt: int
    width: int | None
    height: int | None
    image: ImageInput | None
    strength: float | None

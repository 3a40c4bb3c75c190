"""Which models read the images that are prepared: the base's own, or those that the call names."""

from __future__ import annotations

from emoscene.core.errors import UsageError
from emoscene.data.encoding import Networks
from emoscene.diffusion.base_spec import ModelSpec
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import check_place, load_encoder


def choose_auxiliary_models(spec: ModelSpec, emotion_clip: str, captioner: str) -> tuple[str, str]:
    """Choose the EmotionCLIP and the captioner to use.

    Args:
        spec: What suits the base.
        emotion_clip: A folder; the base's own if empty.
        captioner: A folder or hub id; the base's own if empty or `base`, none if `none`.

    Returns:
        The places of both; empty where there is none.
    """
    places = {"": spec.captioner, "base": spec.captioner, "none": ""}
    return emotion_clip or spec.emotion_clip, places.get(captioner, captioner)


def load_networks(backbone: DiffusionModel, emotion_clip: str, captioner: str, kind: str = "png") -> Networks:
    """Load the models that read images.

    Args:
        backbone: The base.
        emotion_clip: The place of the EmotionCLIP; empty for none.
        captioner: The place of the captioner; empty for none.
        kind: The format of the files kept: `png`, `jpeg` or `webp`.

    Returns:
        The models.

    Raises:
        UsageError: A place holds something else.
    """
    reader = None
    if emotion_clip:
        reader = load_encoder("emotion_clip", emotion_clip, backbone.device)
    writer = None
    if captioner:
        writer = load_encoder("captioner", captioner, backbone.device)
    return Networks(backbone, reader, writer, kind)


def check_filter(share: float, clip: str, emotion_clip: str) -> None:
    """Check that there is a CLIP where captions are to be dropped.

    Args:
        share: The share of captions that is dropped.
        clip: The place of the CLIP that was named for it; empty for none.
        emotion_clip: The place of the EmotionCLIP; empty for none.

    Raises:
        UsageError: There is none, or one that nothing asks.
    """
    if share and not (clip or emotion_clip):
        raise UsageError("misfits= needs a CLIP that tells how captions fit: give clip=FOLDER, or an emotion_clip=")
    if clip and not share:
        raise UsageError("clip= tells how captions fit, and misfits= how many are dropped: give both, or neither")
    if clip:
        check_place(clip)

"""A new version of the miniature begins with the weights of an older one: most of what it has to know is the same.

    python -m emoscene_mini.build --begin-from src/emoscene_mini/weights/base --stage unet unet.steps=4000
    python -m emoscene_mini.build --begin-from stages/world2 --stage unet unet.steps=4000

Autoencoder and UNet have the same parts, whatever the world shows, and are taken over whole. The text encoder is taken
over but for its words: a new tokenizer numbers them anew, so each word that both know keeps its vector, and a new word
begins as chance has it. Positions, layers and the last norm stay.

The older base's EmotionCLIP, which lies beside it, begins the new one in the same way. It also lends its vision tower
to the CLIP whose text tower becomes the text encoder: only contrast with images teaches that one its words.

A folder in which finished stages lie, each as `build` left it, is an older version too: such a stage is taken over as
it is, and training goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from emoscene.core.errors import UsageError
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.learning.learner import CARD, Learner
from emoscene_mini.autoencoder import Autoencoder
from emoscene_mini.base import Base

EYES = "emotion_clip"  # the folder of an older base's EmotionCLIP, beside the base's own


def begin_from(name: str, learner: Learner, folder: Path) -> bool:
    """Give a learner the weights of an older base, where it has a part for them.

    Args:
        name: The stage, as `recipe.TRAINED` names it.
        learner: A new learner of that stage; it is changed in place.
        folder: The older base, a Stable Diffusion folder, or a folder of finished stages.

    Returns:
        Whether there was something to take over; the other stages begin from nothing.

    Raises:
        UsageError: The older part has other shapes than the new one.
    """
    if (folder / name / CARD).is_file():
        _begin_stage(learner, folder / name)
        return True
    if name not in PARTS or (name == EYES and not (folder.parent / EYES).is_dir()):
        return False
    try:
        PARTS[name](learner, folder)
    except RuntimeError as error:  # torch's word for shapes that differ
        raise UsageError(f"{folder} cannot begin {name}: {error}") from error
    return True


def _begin_stage(learner: Learner, folder: Path) -> None:
    """Give a learner the weights that an earlier one of its kind left."""
    state = {}
    for file, (own, stored) in learner.files.items():
        for name, tensor in load_file(folder / file).items():
            state[own + name.removeprefix(stored)] = tensor
    try:
        learner.load_state_dict(state)
    except RuntimeError as error:  # torch's word for shapes that differ
        raise UsageError(f"{folder} cannot begin this stage: {error}") from error


def _begin_autoencoder(learner: Learner, folder: Path) -> None:
    assert isinstance(learner, Autoencoder)
    older = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32, local_files_only=True)
    learner.vae.load_state_dict(older.state_dict())


def _begin_unet(learner: Learner, folder: Path) -> None:
    assert isinstance(learner, Base)
    older = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32, local_files_only=True)
    learner.unet.load_state_dict(older.state_dict())


def _begin_text_encoder(learner: Learner, folder: Path) -> None:
    assert isinstance(learner, EmotionCLIP)
    older = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)  # nosec B615  # a folder
    _begin_text_tower(learner, older.state_dict(), folder / "tokenizer")
    sighted = folder.parent / EYES
    if sighted.is_dir():
        _begin_vision_tower(learner, _load_clip(sighted))


def _begin_emotion_clip(learner: Learner, folder: Path) -> None:
    assert isinstance(learner, EmotionCLIP)
    older = _load_clip(folder.parent / EYES)
    _begin_text_tower(learner, older.text_model.state_dict(), folder.parent / EYES)
    _begin_vision_tower(learner, older)
    learner.model.text_projection.load_state_dict(older.text_projection.state_dict())


def _load_clip(folder: Path) -> CLIPModel:
    model: CLIPModel = CLIPModel.from_pretrained(folder, local_files_only=True)  # nosec B615  # a folder
    return model


def _begin_vision_tower(learner: EmotionCLIP, older: CLIPModel) -> None:
    learner.model.vision_model.load_state_dict(older.vision_model.state_dict())
    learner.model.visual_projection.load_state_dict(older.visual_projection.state_dict())


def _begin_text_tower(learner: EmotionCLIP, state: dict[str, torch.Tensor], tokenizer: Path) -> None:
    """Give a CLIP an older text tower; a word that both tokenizers know keeps its vector."""
    assert learner.tokenizer is not None
    older: CLIPTokenizer = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)  # nosec B615  # a folder
    target = learner.model.text_model.state_dict()
    own = _find_embedding(target)
    name = _find_embedding(state)
    carried = dict(state)
    carried[name] = carry_words(target[own], learner.tokenizer.get_vocab(), state[name], older.get_vocab())
    prefix = name.removesuffix(own)
    learner.model.text_model.load_state_dict({key.removeprefix(prefix): value for key, value in carried.items()})


def _find_embedding(state: dict[str, torch.Tensor]) -> str:
    return next(key for key in state if key.endswith("token_embedding.weight"))


def carry_words(
    vectors: torch.Tensor, numbers: dict[str, int], older: torch.Tensor, known: dict[str, int]
) -> torch.Tensor:
    """Vectors of a new vocabulary, those of the words that an older one knows taken from there.

    Args:
        vectors: The new vocabulary's vectors [V, D], as chance has them.
        numbers: The number of each token of the new vocabulary.
        older: The older vocabulary's vectors [U, D].
        known: The number of each token of the older one.

    Returns:
        Vectors [V, D].
    """
    carried = vectors.clone()
    for token, number in numbers.items():
        if token in known:
            carried[number] = older[known[token]]
    return carried


PARTS: dict[str, Callable[[Learner, Path], None]] = {
    "vae": _begin_autoencoder,
    "text_encoder": _begin_text_encoder,
    "emotion_clip": _begin_emotion_clip,
    "unet": _begin_unet,
}
"""The stages that an older base has a part for."""

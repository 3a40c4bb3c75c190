"""One image of a generation: all that it is a function of, as its row and its file say it.

    GenerationParams(prompt="a lake", emotion=emotion_weights("awe"), seed=7).to_dict()     a row of `images.jsonl`

A row carries the `version` of its form; `migration` brings older ones to today's.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.core.migration import VERSION, migrate_row
from emoscene.core.paths import fault_of_name
from emoscene.core.plain_text import SHOWN, shorten_text, show_value
from emoscene.core.request import BATCHED, NUMBERS, PARAMETERS, read_number, read_seed, read_size
from emoscene.core.setting_names import migrate_runtime_settings
from emoscene.core.taxonomy import EMOTIONS, NO_EMOTION, Weights, emotion_weights, format_emotion

LABELS = {name: one.label for name, one in PARAMETERS.items() if one.label}
TEXT = ("file", "prompt", "negative_prompt", "method", "base", "sampler")


@dataclasses.dataclass(frozen=True)
class GenerationParams:
    """One image: all that it is a function of, and the file that it went to.

    Args:
        loras: those that the base has on it, each `name:scale:digest`.
        image: the image that it was made from, at the denoising strength `strength`.
        emotion_image: the image that its emotion was read from.
        digests: the sha256 of each of these images, by name.
        settings: of the methods, each `method.key`, where they are not those that the weights were trained with.
        seconds: what it took; no part of the image.

    Raises:
        UsageError: for the first value that is off.
    """

    file: str = ""
    prompt: str = ""
    negative_prompt: str = PARAMETERS["negative_prompt"].default
    emotion: Weights = NO_EMOTION
    method: str = "none"
    emotion_scale: float = PARAMETERS["emotion_scale"].default
    base: str = "mini"
    adapters: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    image: str | None = None
    strength: float | None = None
    emotion_image: str | None = None
    digests: dict[str, str] = dataclasses.field(default_factory=dict)
    width: int = 128
    height: int = 128
    seed: int = PARAMETERS["seed"].default
    num_inference_steps: int = PARAMETERS["num_inference_steps"].default
    guidance_scale: float = 7.0
    guidance_interval: tuple[float, float] = PARAMETERS["guidance_interval"].default
    sampler: str = PARAMETERS["sampler"].default
    seconds: float | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in TEXT:
            if not isinstance(value := getattr(self, name), str):
                raise UsageError(f"{name}={shorten_text(str(value), SHOWN)} is off: it is text")
            check_text(name, value)
        for name in ("digests", "settings"):
            if not isinstance(value := getattr(self, name), dict):
                raise UsageError(f"{name}={shorten_text(str(value), SHOWN)} is off: it is a table")
        read: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            if field.name in NUMBERS and field.name not in {"width", "height", "seed"}:
                read[field.name] = read_number(field.name, getattr(self, field.name))
        if read["guidance_scale"] is None:
            raise UsageError("guidance_scale=None is off: an image has a number")
        read["emotion"] = emotion_weights(self.emotion)
        read["seed"] = read_seed(self.seed)
        read["width"], read["height"] = read_size((self.width, self.height))
        for name, value in read.items():
            object.__setattr__(self, name, value)
        if self.file and (fault := fault_of_name(self.file)):
            raise UsageError(f"file={show_value(self.file)} {fault}: give a plain name")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    @property
    def batching_key(self) -> tuple[Any, ...]:
        """What images must have in common to be generated at once."""
        return tuple(getattr(self, name) for name in BATCHED)

    def to_dict(self) -> dict[str, Any]:
        """Write the row as `images.jsonl` holds it.

        Returns:
            The fields, the emotion as weights by name, and the version of the form.
        """
        emotion = {name: weight for name, weight in zip(EMOTIONS, self.emotion, strict=True) if weight}
        return {**dataclasses.asdict(self), "emotion": emotion, "version": VERSION}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "GenerationParams":
        """Read the row of an image, of any version; what a later version may have added is left aside.

        Args:
            row: The row, as `images.jsonl` or a file's chunk has it.

        Returns:
            The parameters of the image.

        Raises:
            UsageError: for a value that is off.
        """
        row = migrate_row(row)
        known = {field.name for field in dataclasses.fields(cls)}
        words = {key: value for key, value in row.items() if key in known}
        for key in ("adapters", "loras"):
            if key in words:
                words[key] = tuple(words[key])
        if isinstance(words.get("settings"), Mapping):
            words["settings"] = migrate_runtime_settings(words["settings"], alone=False)
        return cls(**words)

    def to_a1111_text(self) -> str:
        """The image's parameters in the words of A1111, which other programs read:

            a village by a lake
            Negative prompt: blurry
            Steps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 7, Size: 128x128, Model: mini, Emotion: awe

        A value that holds a comma, a colon or a line break is quoted as JSON.

        Returns:
            The text.
        """
        words = {label: getattr(self, name) for name, label in LABELS.items()}
        words["Sampler"] = _sampler_label(self.sampler)
        words |= {"Size": f"{self.width}x{self.height}", "Model": Path(self.base).name}
        if emotion := format_emotion(self.emotion):
            words |= {"Emotion": emotion, "Emotion method": self.method, "Emotion scale": self.emotion_scale}
        loras = [text.rsplit(":", 2) for text in self.loras]
        if loras:
            words["Lora hashes"] = ", ".join(f"{name}: {digest}" for name, _, digest in loras)

        prompt = " ".join([self.prompt, *(f"<lora:{name}:{scale}>" for name, scale, _ in loras)])
        negative = [f"Negative prompt: {self.negative_prompt}"] if self.negative_prompt else []
        said = ", ".join(f"{key}: {_quote(word)}" for key, word in words.items() if word is not None)
        return "\n".join([prompt, *negative, said])


def check_text(name: str, text: str) -> None:
    """Refuse text with half a character in it, as bytes that are not UTF-8 become on a command line.

    Args:
        name: What the text is, for the error.
        text: The text.

    Raises:
        UsageError: The text cannot be written as UTF-8.
    """
    try:
        text.encode()
    except UnicodeError:
        raise UsageError(f"{name}={text!r} is off: it holds a byte that is not UTF-8; write it again") from None


def read_prompts(prompt: str | Sequence[str]) -> list[str]:
    """Read the prompts of a call as a list.

    Args:
        prompt: One prompt, or several.

    Returns:
        The prompts.

    Raises:
        UsageError: One of them is no text.
    """
    prompts = list(prompt) if isinstance(prompt, Iterable) and not isinstance(prompt, str) else [prompt]
    for one in prompts:
        if not isinstance(one, str):
            raise UsageError(f"prompt={one!r} is off: it is text, or a list of texts")
        check_text("prompt", one)
    return prompts


def _sampler_label(name: str) -> str:
    """What A1111 calls a sampler; its own name where nobody registers it."""
    known = name in registry.list_names("samplers")
    return str(registry.load_table("samplers", name)["label"]) if known else name


def _quote(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text

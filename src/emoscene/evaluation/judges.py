"""Who judges: the base's own judges and anybody's, as long as they had no part in what they would judge.

    panel = judges_of("mini", ["runs/judge", "owner/face-expression"], adapters=["runs/lora"])

A judge is a folder that `train judge` or `train emotion_clip` made, any CLIP (it reads emotions by their templates), or
any image classifier whose labels name emotions. Three roles share neither weights nor training pictures: the guide, the
selector and the judges. So a judge is refused whose fingerprint stands in an adapter's history, that learnt from the
pictures that an adapter learnt from, or from those that it is given to judge.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from typing import Any

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.image_origin import is_miniature
from emoscene.diffusion.base_spec import find_spec
from emoscene.encoders.base import Encoder, load_encoder, locate_model, read_model_config
from emoscene.encoders.emotion_clip import EmotionCLIP, load_text_clip
from emoscene.encoders.inception import Inception
from emoscene.evaluation.perceptual import Perceptual
from emoscene.learning import learner as learners

INCEPTION = "inception"
TRAINED = ("judge", "emotion_clip")
"""What `train` makes that can judge."""


@dataclass(frozen=True)
class Judges:
    """All that looks at the pictures: judges and readers of objects and features by name, a CLIP, LPIPS, and marks."""

    judges: Mapping[str, Encoder]
    clip: EmotionCLIP | None
    perceptual: Perceptual | None
    marks: Mapping[str, str]

    @classmethod
    def load(cls, call: Mapping[str, Any], adapters: Sequence[Path], device: str) -> Judges:
        """What a call asks for, on the CPU in mps's place. Raises Usage for what is none, and what may not judge."""
        device = "cpu" if device.startswith("mps") else device
        kin = [str(path) for path in adapters]
        judges = load_judges(call["base"], call["judge"], kin, call["pictures"], device)
        marks = judge_fingerprints(call["base"], call["judge"])
        for key, kind, more in (("semantics", "classifier", {"target": "object"}), ("features", "vision", {})):
            if place := call.get(key):
                name = _unused_name(Path(place).name.partition(":")[0], judges)
                judges[name], marks[name] = load_reader(kind, place, device, **more)
        clip = load_clip(call["clip"], kin, device) if "clip" in call else None
        return cls(judges, clip, Perceptual.load(call["lpips"], device) if "lpips" in call else None, marks)


def load_reader(kind: str, place: str | Path, device: str = "cpu", **settings: Any) -> tuple[Encoder, str]:
    """A reader of objects or features, and its mark; `inception` and `inception:FILE` are torch-fidelity's."""
    name, _, file = str(place).partition(":")
    if name != INCEPTION:
        return load_encoder(kind, place, device, **settings), run_dir.fingerprint_folder(locate_model(place))
    found = Inception.from_scratch(Inception.Config(file), None)
    mark = sha256(Path(file).read_bytes()).hexdigest() if file else INCEPTION
    return found.requires_grad_(False).eval().to(device), mark


def load_judges(
    base: str,
    more: Sequence[str] = (),
    adapters: Sequence[str] = (),
    pictures: str | Path | None = None,
    device: str = "cpu",
) -> dict[str, Encoder]:
    """The base's own judges and `more`, folders or hub ids, by name.

    Raises Usage for what is no judge, for one akin to an adapter or to the pictures, and where none tells emotions.
    """
    found = {}
    for name, place in _judge_places(base, more).items():
        check_unrelated(place, adapters, pictures)
        found[name] = load_judge(place, device)
    if not any(judge.target == "emotion" for judge in found.values()):
        raise UsageError(f"the base {base!r} has no judge of emotions: give one with --judge DIR")
    return found


def load_judge(place: str | Path, device: str = "cpu") -> Encoder:
    """The judge at a place, whatever kind it is of. Raises Usage where there is none."""
    folder = locate_model(place)
    if (folder / learners.CARD).is_file():
        kind = learners.read_card(folder)["learner"]
    else:
        config = read_model_config(folder)
        kind = "emotion_clip" if config.get("model_type") == "clip" else "classifier" if config else ""
    if kind not in (*TRAINED, "classifier"):
        raise UsageError(f"{place} is no judge: emoscene train judge makes one")
    judge: Encoder = load_encoder(kind, folder, device)
    return judge


def load_clip(place: str | Path, adapters: Sequence[str] = (), device: str = "cpu") -> EmotionCLIP:
    """The CLIP at a place, any that `CLIPModel.save_pretrained` wrote with its tokenizer.

    Raises Usage where there is none, and for one that helped to make an adapter.
    """
    check_unrelated(place, adapters)
    return load_text_clip(place, device)


def judge_fingerprints(base: str, more: Sequence[str] = ()) -> dict[str, str]:
    """The fingerprints of the judges by name: scores by other judges do not compare."""
    return {name: run_dir.fingerprint_folder(locate_model(place)) for name, place in _judge_places(base, more).items()}


def name_miniature(base: str, more: Sequence[str] = ()) -> list[str]:
    """The names of those of these judges that are the miniature's, and know its world alone."""
    return [name for name, place in _judge_places(base, more).items() if is_miniature(place)]


def _judge_places(base: str, more: Sequence[str]) -> dict[str, str]:
    """Where each judge is; two of one name are told apart by a number."""
    found = dict(find_spec(base).judges)
    for place in dict.fromkeys(more):
        found[_unused_name(Path(place).name.partition("@")[0], found)] = place
    return found


def _unused_name(name: str, taken: Container[str]) -> str:
    """The name, or with the first number that makes it one of its own."""
    return next(one for one in chain([name], (f"{name}-{number}" for number in count(2))) if one not in taken)


def check_unrelated(place: str | Path, adapters: Sequence[str], pictures: str | Path | None = None) -> None:
    """Raises Usage where what judges has had a part in what it would judge."""
    folder = locate_model(place)
    mark, (role, data) = run_dir.fingerprint_folder(folder), training_history(folder)
    for adapter in adapters:
        past = learners.read_history(Path(adapter))
        if mark in past:
            raise UsageError(
                f"{place} helped to make {adapter} ({mark[:12]}) and cannot judge it: give another --judge"
            )
        if data and role == "methods" and data in past:
            raise UsageError(
                f"{place} learnt from the pictures that {adapter} learnt from ({data[:12]}) and cannot judge it: train "
                "one with role=judges"
            )
    given = (
        pictures
        and (Path(pictures) / run_dir.MANIFEST).is_file()
        and run_dir.read_manifest(pictures).get("fingerprint")
    )
    if given and given == data:
        raise UsageError(f"{place} learnt from {pictures} ({given[:12]}) and cannot judge it: give another --judge")


def training_history(folder: Path) -> tuple[str, str]:
    """Whose pictures an encoder learnt from, and the fingerprint of the data they are part of; empty where untold."""
    card = learners.read_card(folder) if (folder / learners.CARD).is_file() else {}
    if "data" not in card:
        return "", ""
    role = "methods" if card["learner"] == "emotion_clip" else "judges"
    return card.get("config", {}).get("role", role), str(card["data"])

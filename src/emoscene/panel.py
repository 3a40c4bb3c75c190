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

from emoscene import learner as learners
from emoscene import stage
from emoscene.basespec import spec
from emoscene.encoders.base import Encoder, about, located, opened
from emoscene.encoders.emotion_clip import EmotionCLIP, worded
from emoscene.encoders.inception import Inception
from emoscene.errors import Usage
from emoscene.perception import Perceptual
from emoscene.world.marks import is_miniature

HOME = Path(__file__).parent
INCEPTION = "inception"
TRAINED = ("judge", "emotion_clip")
"""What `train` makes that can judge."""


@dataclass(frozen=True)
class Eyes:
    """All that looks at the pictures: judges and readers of objects and features by name, a CLIP, LPIPS, and marks."""

    judges: Mapping[str, Encoder]
    clip: EmotionCLIP | None
    perceptual: Perceptual | None
    marks: Mapping[str, str]

    @classmethod
    def of(cls, call: Mapping[str, Any], adapters: Sequence[Path], device: str) -> Eyes:
        """What a call asks for, on the CPU in mps's place. Raises Usage for what is none, and what may not judge."""
        device = "cpu" if device.startswith("mps") else device
        kin = [str(path) for path in adapters]
        judges = judges_of(call["base"], call["judge"], kin, call["pictures"], device)
        marks = fingerprints(call["base"], call["judge"])
        for key, kind, more in (("semantics", "classifier", {"target": "object"}), ("features", "vision", {})):
            if place := call.get(key):
                name = _free(Path(place).name.partition(":")[0], judges)
                judges[name], marks[name] = reader(kind, place, device, **more)
        clip = clip_of(call["clip"], kin, device) if "clip" in call else None
        return cls(judges, clip, Perceptual.of(call["lpips"], device) if "lpips" in call else None, marks)


def reader(kind: str, place: str | Path, device: str = "cpu", **settings: Any) -> tuple[Encoder, str]:
    """A reader of objects or features, and its mark; `inception` and `inception:FILE` are torch-fidelity's."""
    name, _, file = str(place).partition(":")
    if name != INCEPTION:
        return opened(kind, place, device, **settings), stage.fingerprint(located(place))
    found = Inception.start(Inception.Config(file), None)
    mark = sha256(Path(file).read_bytes()).hexdigest() if file else INCEPTION
    return found.requires_grad_(False).eval().to(device), mark


def judges_of(
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
    for name, place in _places(base, more).items():
        unrelated(place, adapters, pictures)
        found[name] = judge_at(place, device)
    if not any(judge.target == "emotion" for judge in found.values()):
        raise Usage(f"the base {base!r} has no judge of emotions: give one with --judge DIR")
    return found


def judge_at(place: str | Path, device: str = "cpu") -> Encoder:
    """The judge at a place, whatever kind it is of. Raises Usage where there is none."""
    folder = located(place)
    if (folder / learners.CARD).is_file():
        kind = learners.card(folder)["learner"]
    else:
        config = about(folder)
        kind = "emotion_clip" if config.get("model_type") == "clip" else "classifier" if config else ""
    if kind not in (*TRAINED, "classifier"):
        raise Usage(f"{place} is no judge: emoscene train judge makes one")
    judge: Encoder = opened(kind, folder, device)
    return judge


def clip_of(place: str | Path, adapters: Sequence[str] = (), device: str = "cpu") -> EmotionCLIP:
    """The CLIP at a place, any that `CLIPModel.save_pretrained` wrote with its tokenizer.

    Raises Usage where there is none, and for one that helped to make an adapter.
    """
    unrelated(place, adapters)
    return worded(place, device)


def fingerprints(base: str, more: Sequence[str] = ()) -> dict[str, str]:
    """The fingerprints of the judges by name: scores by other judges do not compare."""
    return {name: stage.fingerprint(located(place)) for name, place in _places(base, more).items()}


def name_miniature(base: str, more: Sequence[str] = ()) -> list[str]:
    """The names of those of these judges that are the miniature's, and know its world alone."""
    return [name for name, place in _places(base, more).items() if is_miniature(place)]


def _places(base: str, more: Sequence[str]) -> dict[str, str]:
    """Where each judge is; two of one name are told apart by a number."""
    found = {name: str(HOME / folder) for name, folder in spec(base).judges.items()}
    for place in dict.fromkeys(more):
        found[_free(Path(place).name.partition("@")[0], found)] = place
    return found


def _free(name: str, taken: Container[str]) -> str:
    """The name, or with the first number that makes it one of its own."""
    return next(one for one in chain([name], (f"{name}-{number}" for number in count(2))) if one not in taken)


def unrelated(place: str | Path, adapters: Sequence[str], pictures: str | Path | None = None) -> None:
    """Raises Usage where what judges has had a part in what it would judge."""
    folder = located(place)
    mark, (role, data) = stage.fingerprint(folder), learnt(folder)
    for adapter in adapters:
        past = learners.history(Path(adapter))
        if mark in past:
            raise Usage(f"{place} helped to make {adapter} ({mark[:12]}) and cannot judge it: give another --judge")
        if data and role == "methods" and data in past:
            raise Usage(
                f"{place} learnt from the pictures that {adapter} learnt from ({data[:12]}) and cannot judge it: train "
                "one with role=judges"
            )
    given = pictures and (Path(pictures) / stage.MANIFEST).is_file() and stage.read(pictures).get("fingerprint")
    if given and given == data:
        raise Usage(f"{place} learnt from {pictures} ({given[:12]}) and cannot judge it: give another --judge")


def learnt(folder: Path) -> tuple[str, str]:
    """Whose pictures an encoder learnt from, and the fingerprint of the data they are part of; empty where untold."""
    card = learners.card(folder) if (folder / learners.CARD).is_file() else {}
    if "data" not in card:
        return "", ""
    role = "methods" if card["learner"] == "emotion_clip" else "judges"
    return card.get("config", {}).get("role", role), str(card["data"])

"""Who judges: the base's own judges and anybody's, as long as they had no part in what they would judge.

    panel = judges_of("mini", ["runs/judge", "owner/face-expression"], adapters=["runs/lora"])

A judge is a folder that `train judge` or `train emotion_clip` made, any CLIP (it reads emotions by their templates), or
any image classifier whose labels name emotions, or are named so by a file: `owner/classifier=LABELS.toml`. Three roles
share neither weights nor training images: the guide, the selector and the judges. So a judge is refused whose
fingerprint stands in an adapter's history, that learnt from the images that an adapter learnt from, or from those that
it is given to judge.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.file_reading import digest_file, read_bytes
from emoscene.core.image_origin import is_of_rendered_world
from emoscene.diffusion.base_spec import find_spec
from emoscene.encoders.base import Encoder, check_place, load_encoder, locate_model, read_model_config
from emoscene.encoders.classifier import read_label_table
from emoscene.encoders.emotion_clip import EmotionCLIP, load_text_clip
from emoscene.encoders.inception import Inception
from emoscene.evaluation.perceptual import Perceptual
from emoscene.learning import learner as learners

MOST_MAP_BYTES = 2**20  # of a file of labels
INCEPTION = "inception"
TRAINED = ("judge", "emotion_clip")
"""What `train` makes that can judge."""


@dataclass(frozen=True)
class Judges:
    """All that looks at the images: judges and readers of objects and features by name, a CLIP, LPIPS, and marks."""

    judges: Mapping[str, Encoder]
    clip: EmotionCLIP | None
    perceptual: Perceptual | None
    marks: Mapping[str, str]

    @classmethod
    def load(cls, call: Mapping[str, Any], adapters: Sequence[Path], device: str) -> Judges:
        """Load everything that a call asks for.

        Args:
            call: The arguments of `evaluate`.
            adapters: The adapters whose images are judged.
            device: Where it computes; the CPU in place of mps.

        Returns:
            The judges.

        Raises:
            UsageError: A place holds no judge, or the judge shares weights or training images with an adapter.
        """
        if device.startswith("mps"):
            device = "cpu"
        kin = [str(path) for path in adapters]
        judges = load_judges(call["base"], call["judge"], kin, call["pictures"], device)
        marks = judge_fingerprints(call["base"], call["judge"])
        for key, kind, more in (("semantics", "classifier", {"target": "object"}), ("features", "vision", {})):
            place = call.get(key)
            if place:
                name = _unused_name(Path(place).name.partition(":")[0], judges)
                judges[name], marks[name] = load_reader(kind, place, device, **more)
        clip, perceptual = None, None
        if "clip" in call:
            clip = load_clip(call["clip"], kin, device)
        if "lpips" in call:
            perceptual = Perceptual.load(call["lpips"], device)
        return cls(judges, clip, perceptual, marks)


def load_reader(kind: str, place: str | Path, device: str = "cpu", **settings: Any) -> tuple[Encoder, str]:
    """Load a model of objects or features.

    Args:
        kind: `classifier` or `vision`.
        place: A folder or a hub id; `inception` and `inception:FILE` are torch-fidelity's.
        device: Where it computes.
        settings: Fields of its `Config`.

    Returns:
        The model and its fingerprint.
    """
    name, _, file = str(place).partition(":")
    if name != INCEPTION:
        return load_encoder(kind, place, device, **settings), run_dir.fingerprint_folder(locate_model(place))
    encoder = Inception.from_scratch(Inception.Config(file), None)
    mark = INCEPTION
    if file:
        mark = digest_file(file)
    return encoder.requires_grad_(False).eval().to(device), mark


def load_judges(
    base: str,
    more: Sequence[str] = (),
    adapters: Sequence[str] = (),
    images: str | Path | None = None,
    device: str = "cpu",
) -> dict[str, Encoder]:
    """Load the base's own judges and others.

    Args:
        base: The base.
        more: Folders or hub ids of further judges; `=LABELS.toml` after a classifier says what its labels mean.
        adapters: The adapters whose images are judged.
        images: The folder of images that are judged, if any.
        device: Where they compute.

    Returns:
        The judges by name.

    Raises:
        UsageError: A place holds no judge, a judge shares weights or training images with an adapter or learned
            from the images, or none of them judges emotions.
    """
    judges = {}
    for name, place in _judge_places(base, more).items():
        check_unrelated(place, adapters, images)
        judges[name] = load_judge(place, device)
    if not any(judge.target == "emotion" for judge in judges.values()):
        raise _lacks_judge(base)
    return judges


def check_judges(base: str, more: Sequence[str]) -> None:
    """Check, before anything is loaded or downloaded, that folders hold judges and that label maps can be read.

    Args:
        base: The base.
        more: Folders or hub ids of further judges, perhaps with label maps.

    Raises:
        UsageError: There is no judge, a folder holds none, or a label map is not there or says no emotions.
    """
    if not _judge_places(base, more):
        raise _lacks_judge(base)
    for place in more:
        model, file = split_label_map(place)
        if file:
            read_label_table(file)
        check_place(model)
        if Path(model).exists():
            _find_kind(model, file, Path(model))


def _lacks_judge(base: str) -> UsageError:
    return UsageError(
        f"the base {base!r} has no judge of emotions: give --judge with a folder that `train judge` made, or with a "
        "classifier of the hub"
    )


def load_judge(place: str | Path, device: str = "cpu") -> Encoder:
    """Load a judge of any kind.

    Args:
        place: A folder or a hub id; `=LABELS.toml` after it says what a classifier's labels mean.
        device: Where it computes.

    Returns:
        The judge.

    Raises:
        UsageError: There is no judge.
    """
    place, labels = split_label_map(place)
    folder = locate_model(place)
    kind = _find_kind(place, labels, folder)
    settings = {}
    if labels:
        settings["label_map"] = labels
    judge: Encoder = load_encoder(kind, folder, device, **settings)
    return judge


def _find_kind(place: str, labels: str, folder: Path) -> str:
    """Which encoder reads a judge. Raises UsageError where there is none, or where its labels need no map."""
    if (folder / learners.CARD).is_file():
        kind = learners.read_card(folder)["learner"]
    else:
        config = read_model_config(folder)
        kind = ""
        if config.get("model_type") == "clip":
            kind = "emotion_clip"
        elif config:
            kind = "classifier"
    if kind not in (*TRAINED, "classifier"):
        raise UsageError(f"{place} is no judge: emoscene train judge makes one")
    if labels and kind != "classifier":
        raise UsageError(f"{place} says the eight emotions itself: leave out ={labels}")
    return str(kind)


def locate_judge(place: str | Path) -> Path:
    """Find the folder of a judge.

    Args:
        place: A folder or a hub id, perhaps with a label map.

    Returns:
        The folder.
    """
    return locate_model(split_label_map(place)[0])


def digest_label_maps(more: Sequence[str]) -> dict[str, str]:
    """Digest the label maps of judges: with other maps, a call is another one.

    Args:
        more: Folders or hub ids of judges, perhaps with label maps.

    Returns:
        The SHA-256 digest of each file by its name.
    """
    digests = {}
    for place in more:
        _, file = split_label_map(place)
        if file:
            digests[file] = sha256(_read_label_map(file)).hexdigest()
    return digests


def _read_label_map(file: str) -> bytes:
    try:
        return read_bytes(file, MOST_MAP_BYTES)
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror or error}): give a label map in TOML") from error


def split_label_map(place: str | Path) -> tuple[str, str]:
    """Split `owner/classifier=LABELS.toml`.

    Args:
        place: A folder or a hub id, perhaps with a label map.

    Returns:
        The folder or the hub id, and the file of the label map; empty where there is none.

    Raises:
        UsageError: The file is not there, or is no TOML file.
    """
    model, equals, file = str(place).rpartition("=")
    if not equals or Path(place).exists():
        return str(place), ""
    fault = ""
    if not file.endswith(".toml"):
        if not Path(file).is_file():
            return str(place), ""
        fault = "does not end in .toml"
    elif not Path(file).exists():
        fault = "is not there"
    elif not Path(file).is_file():
        fault = "is no regular file"
    if fault:
        raise UsageError(
            f"{file} {fault}: {model}=LABELS.toml names a file with a table [labels], of lines such as joy = 'awe'"
        )
    return model, file


def load_clip(place: str | Path, adapters: Sequence[str] = (), device: str = "cpu") -> EmotionCLIP:
    """Load a CLIP that compares images with words.

    Args:
        place: The folder that `CLIPModel.save_pretrained` wrote, with its tokenizer, or a hub id.
        adapters: The adapters whose images are judged.
        device: Where it computes.

    Returns:
        The CLIP.

    Raises:
        UsageError: There is no CLIP, or an adapter was made with it.
    """
    check_unrelated(place, adapters)
    return load_text_clip(place, device)


def judge_fingerprints(base: str, more: Sequence[str] = ()) -> dict[str, str]:
    """Compute the fingerprints of judges; scores by other judges cannot be compared.

    Args:
        base: The base.
        more: Folders or hub ids of further judges.

    Returns:
        The fingerprints by name.
    """
    fingerprints = {}
    for name, place in _judge_places(base, more).items():
        model, labels = split_label_map(place)
        fingerprints[name] = run_dir.fingerprint_folder(locate_model(model))
        if labels:
            fingerprints[name] = sha256(fingerprints[name].encode() + read_bytes(labels)).hexdigest()
    return fingerprints


def name_miniature(base: str, more: Sequence[str] = ()) -> list[str]:
    """Name the judges that belong to the miniature, which know only the rendered world.

    Args:
        base: The base.
        more: Folders or hub ids of further judges.

    Returns:
        Their names.
    """
    places = _judge_places(base, more)
    return [name for name, place in places.items() if is_of_rendered_world(place)]


def _judge_places(base: str, more: Sequence[str]) -> dict[str, str]:
    """Where each judge is; two of one name are told apart by a number."""
    found = dict(find_spec(base).judges)
    for place in dict.fromkeys(more):
        model, _ = split_label_map(place)
        found[_unused_name(Path(model).name.partition("@")[0], found)] = place
    return found


def _unused_name(name: str, taken: Container[str]) -> str:
    """The name, or with the first number that makes it one of its own."""
    unused, number = name, 1
    while unused in taken:
        number += 1
        unused = f"{name}-{number}"
    return unused


def check_unrelated(place: str | Path, adapters: Sequence[str], images: str | Path | None = None) -> None:
    """Check that a judge has no part in what it judges.

    Args:
        place: The judge.
        adapters: The adapters whose images are judged.
        images: The folder of images that are judged, if any.

    Raises:
        UsageError: The judge shares weights or training images with an adapter, or learned from the images.
    """
    folder = locate_judge(place)
    mark, (role, data) = run_dir.fingerprint_folder(folder), training_history(folder)
    for adapter in adapters:
        past = learners.read_history(Path(adapter))
        if mark in past or mark == run_dir.fingerprint_folder(Path(adapter)):
            raise UsageError(
                f"{place} helped to make {adapter} ({mark[:12]}) and cannot judge it: give another --judge"
            )
        if data and role == "methods" and data in past:
            raise UsageError(
                f"{place} learnt from the images that {adapter} learnt from ({data[:12]}) and cannot judge it: train "
                "one with role=judges"
            )
    given = None
    if images and (Path(images) / run_dir.MANIFEST).is_file():
        given = run_dir.read_manifest(images).get("fingerprint")
    if given and given == data:
        raise UsageError(f"{place} learnt from {images} ({given[:12]}) and cannot judge it: give another --judge")


def training_history(folder: Path) -> tuple[str, str]:
    """Find out which images an encoder learned from.

    Args:
        folder: The encoder's folder.

    Returns:
        The role, and the fingerprint of the data; both empty where they are not known.
    """
    if not (folder / learners.CARD).is_file():
        return "", ""
    card = learners.read_card(folder)
    if "data" not in card:
        return "", ""
    role = "judges"
    if card["learner"] == "emotion_clip":
        role = "methods"
    return card.get("config", {}).get("role", role), str(card["data"])

"""Whatever learns: a method, a judge, the miniature's own parts.

A learner is a module whose `forward` is its loss, one number a sample, so that distributed wrappers see every use of
its parameters. It owns what it saves; of that, what requires a gradient is trained. The frozen backbone it stands on is
not a submodule. Training knows nothing else about it.

Randomness belongs to the sample: a learner draws only from its `Batch`, whose numbers are a pure function of
(seed, step, slot), so that a resumed run, or one on more machines, is the same run.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NotRequired, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import TypedDict

from emoscene.core import config as configs
from emoscene.core import registry, run_dir, seeds
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import MOST_LISTED_BYTES, check_files_of, describe_fault, read_json, read_utf8
from emoscene.core.paths import check_utf8, resolve_inside
from emoscene.core.plain_text import shorten_text, show_value
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.architecture import Architecture, read_header
from emoscene.diffusion.digests import is_old_form
from emoscene.diffusion.loading import check_finite
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.diffusion.transfer import move_to_device

CARD = "learner.json"
DESCRIPTIONS = ("shape", "words")  # settings by which a saved encoder says all that it needs to be loaded
AGAIN = "train or fetch it again"
ODD = 200  # characters of what torch says of weights that do not fit


class RecordedArchitecture(TypedDict):
    """`Architecture` as a card has it."""

    family: str
    channels: list[int]
    text_dim: int


class RecordedBase(TypedDict):
    """`base_facts` as a card has them; older cards have no architecture, nor what the base predicts."""

    name: str
    fingerprint: str
    width: int
    architecture: NotRequired[RecordedArchitecture | None]
    prediction: NotRequired[str]


class Card(TypedDict):
    """What every `learner.json` has."""

    learner: str
    config: dict[str, Any]
    emotions: list[str]
    base: RecordedBase | None


@dataclass(frozen=True)
class Batch:
    """Columns of some samples, and the samples' own randomness.

    columns: tensors [B, ...] or lists of B; slots: each sample's place in the global batch, 0 .. batch - 1. drawn: the
    random numbers that were asked for already, by their kind, word and shape; source: the batch in main memory that
    this one on a device is a copy of.
    """

    columns: Mapping[str, Any]
    seed: int
    step: int
    slots: Sequence[int]
    device: torch.device | str = "cpu"
    drawn: dict[tuple[Any, str, tuple[int, ...]], Tensor] = field(default_factory=dict)
    source: Batch | None = None

    def __getitem__(self, column: str) -> Any:
        return self.columns[column]

    def __len__(self) -> int:
        return len(self.slots)

    def _draw(self, word: str, fill: Any, shape: tuple[int, ...]) -> Tensor:
        key = fill, word, shape
        if key not in self.drawn:
            numbers, generator = torch.empty(len(self.slots), *shape), torch.Generator()
            derived = seeds.derive_seeds(self.seed, word, self.step, last=self.slots)
            for row, seed in zip(numbers, derived, strict=True):
                fill(row, generator=generator.manual_seed(seed))
            self.drawn[key] = move_to_device(numbers, self.device)
        return self.drawn[key]

    def normal(self, word: str, *shape: int) -> Tensor:
        """Draw standard normal numbers, the same for the same (seed, word, step, slot).

        Args:
            word: What they are for, such as `noise`; another word draws others.
            *shape: A sample's own shape.

        Returns:
            [B, *shape], on the batch's device.
        """
        return self._draw(word, Tensor.normal_, shape)

    def uniform(self, word: str, *shape: int) -> Tensor:
        """Draw uniform numbers, the same for the same (seed, word, step, slot).

        Args:
            word: What they are for, such as `timestep`; another word draws others.
            *shape: A sample's own shape.

        Returns:
            [B, *shape] in [0, 1), on the batch's device.
        """
        return self._draw(word, Tensor.uniform_, shape)

    def timesteps(self, total: int = 1000) -> Tensor:
        """Draw a timestep a sample, all equally likely.

        Args:
            total: How many there are.

        Returns:
            [B] integers, 0 to total - 1.
        """
        return (self.uniform("timestep") * total).long()

    def select(self, index: slice) -> Batch:
        """Take a part of the batch.

        Args:
            index: Which samples, counted within this batch.

        Returns:
            These samples; they keep their slots and so their randomness.
        """
        columns = {name: value[index] for name, value in self.columns.items()}
        drawn = {key: value[index] for key, value in self.drawn.items()}
        source = None
        if self.source is not None:
            source = self.source.select(index)
        return Batch(columns, self.seed, self.step, self.slots[index], self.device, drawn, source)

    def to(self, device: torch.device | str) -> Batch:
        """Copy the batch to a device, with what was drawn of it; a GPU is not waited for.

        Args:
            device: The device.

        Returns:
            The batch there, which keeps this one as its `source`; this one for the CPU.
        """
        if torch.device(device).type == "cpu":
            return self
        columns = {name: move_to_device(value, device) for name, value in self.columns.items()}
        drawn = {key: move_to_device(value, device) for key, value in self.drawn.items()}
        return Batch(columns, self.seed, self.step, self.slots, device, drawn, self)

    @property
    def on_host(self) -> Batch:
        """The same samples in main memory: what decides which work is asked of a device is read and drawn there."""
        if self.source is not None or torch.device(self.device).type == "cpu":
            return self.source or self
        columns = {name: move_to_device(value, "cpu") for name, value in self.columns.items()}
        return Batch(columns, self.seed, self.step, self.slots)


def soft_targets(batch: Batch) -> Tensor:
    """Read the viewers' votes of a batch's images as what is to be learnt.

    Args:
        batch: The batch, with its columns `weights` and `votes`.

    Returns:
        8 shares an image [B, 8]: its votes; the label where no votes are known, and of an image without emotion.
    """
    weights, votes = batch["weights"].clamp(min=0), batch["votes"]
    known = (votes.sum(1) > 0) & (weights.sum(1) > 0)
    return torch.where(known[:, None], votes, weights)


class Learner(nn.Module, ABC):
    """The contract of all that trains. A subclass is final and its file bears its name.

    A method or an encoder implements `from_scratch` and `compute_loss` and names the columns that it reads; all else
    has a default. The parameters that require a gradient are trained; the state that `state_dict` gives is saved.

    Attributes:
        Config: A frozen dataclass whose defaults run.
        columns: The columns of a prepared folder that it learns from; one without columns has nothing to learn.
        split: The role of the images that it learns from, as `prepare` gives them out.
        files: Which part of the state goes to which file: file name -> (prefix of the state's names, prefix in the
            file).
        save_dtype: The type of the numbers in its files.
        base_parts: The parts of the base that its loss computes with: they are on the device before training begins,
            and others come when they are first used.
        separable: Whether a sample's loss is the same in any batch. That of a contrast is not, so its batch cannot be
            taken in parts when memory is short.
        history: What the folder that it was loaded from says of its origin, as text; None for a new one.
        remark: A sentence on one that was loaded on another base than it was trained on, else empty.
    """

    Config: ClassVar[type]
    columns: ClassVar[tuple[str, ...]] = ()
    split: ClassVar[str] = "methods"
    files: ClassVar[Mapping[str, tuple[str, str]]] = {"model.safetensors": ("", "")}
    save_dtype: ClassVar[torch.dtype] = torch.float32
    base_parts: ClassVar[tuple[str, ...]] = ()
    separable: ClassVar[bool] = True

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.history: str | None = None
        self.remark = ""

    @classmethod
    @abstractmethod
    def from_scratch(cls, config: Any, base: DiffusionModel | None, data: Any = None) -> Self:
        """Make a new learner, sized by the base that it stands on.

        Its first weights come from torch's global generator, which the caller seeds.

        Args:
            config: Its settings, a `cls.Config`.
            base: The frozen diffusion model; None for an encoder that needs none.
            data: What it will train on, a `PreparedDataset`; None where saved weights are loaded next.

        Returns:
            The learner, in float32.

        Raises:
            UsageError: The settings or the data do not suit it.
        """

    @abstractmethod
    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the loss of each sample.

        It draws randomness from the batch alone, and a sample's loss depends on no other sample (unless `separable` is
        false): so the loss is the same in parts, after a resumption and on any number of processes.

        Args:
            batch: B samples with the columns in `columns`, on the learner's device.

        Returns:
            [B] floats, whose mean over the global batch is what training lowers.
        """

    def draw_ahead(self, batch: Batch) -> None:
        """Draw random numbers that `compute_loss` will ask the batch for; those who read ahead call it.

        What is not drawn here is drawn when it is asked for, and is the same.

        Args:
            batch: B samples in main memory, which remember what was drawn.
        """

    def forward(self, batch: Batch) -> Tensor:
        """Compute the loss by `compute_loss`; distributed wrappers synchronise what goes through `forward`.

        Args:
            batch: B samples.

        Returns:
            [B] floats.
        """
        return self.compute_loss(batch)

    def validate(self, data: Any) -> dict[str, Any]:
        """Measure the trained learner on images that it did not learn from.

        Args:
            data: These images, a `PreparedDataset`.

        Returns:
            Figures by name, plain numbers and lists, which its card keeps; none by default.
        """
        return {}

    def finish(self) -> None:
        """Bring the trained weights into the form in which they are kept; called once, when training has ended."""

    def lr_multiplier(self, name: str) -> float:
        """Say at which multiple of the learning rate a parameter trains.

        Args:
            name: The parameter, one of `trainable`.

        Returns:
            The multiple, above 0; 1 by default.
        """
        return 1.0

    def use_muon(self, name: str) -> bool:
        """Say whether Muon may move a matrix, where `muon` is set (see `optimizers`).

        Args:
            name: The parameter, one of `trainable`, with two dimensions.

        Returns:
            By default whether it belongs to a transformer's block, as transformers names them (`.layer`).
        """
        return ".layer" in name

    def extra_files(self) -> dict[str, dict[str, Any]]:
        """Make the JSON files that other programs expect beside the weights.

        Returns:
            Their content by file name; none by default.
        """
        return {}

    @contextmanager
    def attach(self, condition: Condition | None = None) -> Iterator[None]:
        """Attach the learner to the base inside the `with` block; nothing of it is left outside.

        Args:
            condition: What the images are to show, where the learner's layers ask for it at generation; None while it
                learns, for then each loss sets its own.

        Yields:
            Nothing.
        """
        yield

    @property
    def models(self) -> list[nn.Module]:
        """What a step computes with: their size says which precision pays."""
        return [self]

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training moves, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def save_learner(learner: Learner, name: str, folder: Path, base: DiffusionModel | None, **facts: Any) -> None:
    """Write the weights and `learner.json`, which is enough to load them, each file atomically.

    Args:
        learner: What was trained.
        name: Its class's name in the registry.
        folder: The artifact's folder, which exists.
        base: What it was trained on; None where it stands on nothing.
        **facts: What else the card says, such as the data's fingerprint.
    """
    state = {}
    for key, value in learner.state_dict().items():
        here = value.detach().cpu()
        if here.is_floating_point():
            here = here.to(learner.save_dtype)
        state[key] = here.contiguous()
    for file, (mine, theirs) in learner.files.items():
        part = {theirs + key[len(mine) :]: value for key, value in state.items() if key.startswith(mine)}
        if part:
            run_dir.write_atomic(folder / file, partial(save_file, part, metadata={"format": "pt"}))
    for file, note in learner.extra_files().items():
        run_dir.write_atomic(folder / file, json.dumps(note, indent=1).encode())
    card = {
        "learner": name,
        "config": configs.to_dict(learner.config),
        "emotions": EMOTIONS,
        "base": None if base is None else base_facts(base),
        **facts,
    }
    run_dir.write_atomic(folder / CARD, json.dumps(card, indent=1).encode())


def base_facts(base: DiffusionModel) -> dict[str, Any]:
    """Describe the base that a learner was trained on, for its card.

    Args:
        base: The base.

    Returns:
        Its name, fingerprint, architecture, what it predicts, the shapes of its weights and the width of its text.
    """
    return {
        "name": base.name,
        "fingerprint": base.fingerprint,
        "architecture": base.architecture._asdict(),
        "prediction": base.noise_process.prediction,
        "shapes": base.shapes,
        "width": base.text_dim,
    }


def read_card(folder: Path) -> dict[str, Any]:
    """Read what a saved learner says of itself.

    Args:
        folder: The artifact's folder.

    Returns:
        Its card, which has what `Card` says.

    Raises:
        UsageError: There is none.
        EmosceneError: It is damaged.
    """
    if not (folder / CARD).is_file():
        raise UsageError(f"no artifact in {folder}: {CARD} is missing (emoscene train NAME --out {folder} makes one)")
    check_utf8(folder, "folder")
    card: dict[str, Any] = read_json(resolve_inside(folder, CARD), Card, AGAIN)
    return card


def read_history(folder: Path) -> str:
    """Read all that a folder says of where it comes from; whose fingerprint stands in it helped to make it.

    Args:
        folder: The artifact's folder.

    Returns:
        The text of its card and its manifest; empty where it has neither.
    """
    text = ""
    for name in (CARD, run_dir.MANIFEST):
        if (folder / name).is_file():
            text += read_utf8(folder / name, MOST_LISTED_BYTES)
    return text


def load_learner(kind: str, folder: Path, base: DiffusionModel | None, **late: Any) -> Learner:
    """Load a saved learner.

    Args:
        kind: `methods` or `encoders`.
        folder: The artifact's folder.
        base: What it is used on; None for an encoder that needs none. Another checkpoint of the architecture that it
            was trained on will do, and its `remark` then says so.
        **late: Settings that replace those of the training; only such as may change at use.

    Returns:
        The learner, frozen, on the base's device or else the CPU.

    Raises:
        UsageError: Its weights are for another architecture or another order of emotions, or a setting was settled by
            the training.
        EmosceneError: A file is damaged.
    """
    about = read_card(folder)
    check_files_of(folder)
    remark = ""
    if base is not None and about["base"] is not None:
        check_architecture(folder, about["base"], base.architecture, base.name)
        if not base.matches(about["base"]["fingerprint"]):
            remark = compare_bases(folder, about["base"], base)
    if tuple(about["emotions"]) != EMOTIONS:
        order = shorten_text(", ".join(about["emotions"]), ODD)
        raise UsageError(f"{folder} has another order of emotions: {order}")
    cls: type[Learner] = registry.load_plugin(kind, about["learner"])
    if base is not None and about["base"] is not None and "unet" in cls.base_parts:
        _check_prediction(folder, about["base"], base)
    for option in configs.list_options(cls.Config):
        if option.name in late and not option.runtime:
            raise UsageError(f"{option.name} was settled when {folder} was trained (emoscene show {about['learner']})")
    settings = configs.replace_fields(configs.read_saved_fields(cls.Config(), about["config"]), late)
    _check_places(cls, settings, folder)
    if kind == "encoders":
        _check_description(cls, settings, base, folder)
    learner = cls.from_scratch(settings, base)
    try:
        _load_weights(learner, folder)
    except MismatchError as error:
        if base is not None and remark and "shapes" not in about["base"]:
            raise _refusal(folder, about["base"], base.name, str(error)) from error
        raise EmosceneError(f"{folder} holds other weights than its {CARD} says ({error}): {AGAIN}") from error
    learner.remark = remark
    learner.history = read_history(folder)
    return learner.to(base.device if base else "cpu").requires_grad_(False).eval()


def _check_places(cls: type[Learner], settings: Any, folder: Path) -> None:
    """Refuse a card that leads to another folder instead of describing what lies beside it."""
    if any(getattr(settings, name, "") for name in DESCRIPTIONS):
        return
    for name in (getattr(cls, "borrows", ""), "tokenizer"):
        if place := getattr(settings, name, ""):
            raise EmosceneError(
                f"{folder / CARD} leads to {name}={str(place)[:80]} and describes no weights of its own: {AGAIN}"
            )


def _check_description(cls: type[Learner], settings: Any, base: DiffusionModel | None, folder: Path) -> None:
    """Refuse a card that describes no model, or one of more numbers than its files hold, before memory is taken."""
    try:
        with torch.device("meta"):
            wanted = sum(value.numel() for value in cls.from_scratch(settings, base).state_dict().values())
    except (UsageError, EmosceneError):
        raise
    except Exception as error:  # what a stranger describes makes transformers raise nearly everything
        raise EmosceneError(f"{folder / CARD} describes no model ({describe_fault(error)}): {AGAIN}") from error
    held = 0
    for file in cls.files:
        if (folder / file).is_file():
            held += sum(math.prod(entry.shape) for entry in read_header(folder / file).tensors.values())
    if wanted > held:
        raise EmosceneError(
            f"{folder / CARD} describes a model of {wanted:,} numbers, and its files hold {held:,}: {AGAIN}"
        )


def compare_bases(folder: Path, made_for: Mapping[str, Any], base: DiffusionModel) -> str:
    """Compare the base that a saved learner was trained on with another one of its architecture, by its card.

    Args:
        folder: The saved learner's.
        made_for: What its card says of the base it was trained on.
        base: The one it is to be used on.

    Returns:
        The remark that the base is another checkpoint.

    Raises:
        UsageError: Its weights have other shapes.
    """
    if made_for.get("shapes", base.shapes) != base.shapes:
        raise _refusal(folder, made_for, base.name, "its weights have other shapes")
    known = "was trained"
    if is_old_form(made_for["fingerprint"]):
        known = "may have been trained"
    return (
        f"{folder} {known} on other weights ('{made_for['name']}') than those of the base '{base.name}', whose "
        "architecture is the same: its effect may differ"
    )


def _check_prediction(folder: Path, made_for: Mapping[str, Any], base: DiffusionModel) -> None:
    """Refuse what learnt to change another kind of prediction than the base's, such as eps and not v."""
    there, here = made_for.get("prediction"), base.noise_process.prediction
    if there not in {None, here}:
        raise _refusal(folder, made_for, base.name, f"its UNet predicts {show_value(there)} there and {here!r} here")


def check_architecture(folder: Path, made_for: Mapping[str, Any], here: Architecture, name: str) -> None:
    """Check that a saved learner is for a base's architecture, as far as its card tells; no weight is needed.

    Args:
        folder: The saved learner's.
        made_for: What its card says of the base it was trained on; older cards say the width of its text alone.
        here: The architecture of the base that it is to be used on.
        name: What the user calls that base.

    Raises:
        UsageError: It is for another architecture.
    """
    there = Architecture(here.family, here.channels, made_for["width"])
    recorded = made_for.get("architecture")
    if recorded:
        there = Architecture(recorded["family"], tuple(recorded["channels"]), recorded["text_dim"])
    if there.family != here.family:
        raise _refusal(folder, made_for, name, f"it is of the family {there.family} there and of {here.family} here")
    if there.text_dim != here.text_dim:
        raise _refusal(folder, made_for, name, f"its text is {there.text_dim} wide there and {here.text_dim} here")
    if there.channels != here.channels:
        raise _refusal(folder, made_for, name, f"its UNet is {there.channels} wide there and {here.channels} here")


def _refusal(folder: Path, made_for: Mapping[str, Any], name: str, reason: str) -> UsageError:
    return UsageError(
        f"{folder} was trained on the base '{made_for['name']}', and '{name}' is of another architecture "
        f"({reason}): give --base {made_for['name']}"
    )


class MismatchError(Exception):
    """Weights that have no place in a learner, or not the shape of theirs."""


def _load_weights(learner: Learner, folder: Path) -> None:
    """Put the weights in their places, from those files that this learner, with its settings, has a use for."""
    state: dict[str, Tensor] = {}
    for file, (mine, theirs) in learner.files.items():
        if any(key.startswith(mine) for key in learner.state_dict()):
            try:
                part = load_file(str(folder / file))
            except (SafetensorError, OSError) as error:
                raise EmosceneError(f"{folder / file} is missing or damaged ({error}): {AGAIN}") from error
            for key, value in part.items():
                state[mine + key[len(theirs) :]] = value
    check_finite(state, folder, AGAIN)
    try:
        learner.load_state_dict(state)
    except RuntimeError as error:
        odd = shorten_text(str(error).splitlines()[-1].strip(), ODD)
        raise MismatchError(odd) from error

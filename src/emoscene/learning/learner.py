"""Whatever learns: a method, a judge, the miniature's own parts.

A learner is a module whose `forward` is its loss, one number a sample, so that distributed wrappers see every use of
its parameters. It owns what it saves; of that, what requires a gradient is trained. The frozen backbone it stands on is
not a submodule. Training knows nothing else about it.

Randomness belongs to the sample: a learner draws only from its `Batch`, whose numbers are a pure function of
(seed, step, slot), so that a resumed run, or one on more machines, is the same run.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emoscene.core import config as configs
from emoscene.core import registry, run_dir, seeds
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.loading import check_finite
from emoscene.diffusion.model import Condition, DiffusionModel

CARD = "learner.json"
DESCRIPTIONS = ("shape", "words")  # settings by which a saved encoder says all that it needs to be loaded
AGAIN = "train or fetch it again"


@dataclass(frozen=True)
class Batch:
    """Columns of some samples, and the samples' own randomness.

    columns: tensors [B, ...] or lists of B; slots: each sample's place in the global batch, 0 .. batch - 1.
    """

    columns: Mapping[str, Any]
    seed: int
    step: int
    slots: Sequence[int]
    device: torch.device | str = "cpu"

    def __getitem__(self, column: str) -> Any:
        return self.columns[column]

    def __len__(self) -> int:
        return len(self.slots)

    def _draw(self, word: str, kind: Any, *shape: int) -> Tensor:
        generators = (seeds.torch_generator(self.seed, word, self.step, slot) for slot in self.slots)
        drawn = torch.stack([kind(shape, generator=g) for g in generators])
        return move_to_device(drawn, self.device)

    def normal(self, word: str, *shape: int) -> Tensor:
        """Standard normal numbers [B, *shape], the same for the same (seed, word, step, slot)."""
        return self._draw(word, torch.randn, *shape)

    def uniform(self, word: str, *shape: int) -> Tensor:
        """Uniform numbers [B, *shape] in [0, 1)."""
        return self._draw(word, torch.rand, *shape)

    def timesteps(self, total: int = 1000) -> Tensor:
        """Timesteps [B], uniform over 0 .. total - 1."""
        return (self.uniform("timestep") * total).long()

    def select(self, index: slice) -> Batch:
        """A part of the batch; its samples keep their slots and so their randomness."""
        columns = {name: value[index] for name, value in self.columns.items()}
        return Batch(columns, self.seed, self.step, self.slots[index], self.device)


class Learner(nn.Module, ABC):
    """The contract of all that trains. A subclass is final and its file bears its name.

    Config: a frozen dataclass whose defaults run. reads: the columns it learns from. role: whose pictures those are.
    files: which part of the state goes to which file, file name -> (prefix of the state's names, prefix in the file).
    stored: the precision its files are written in. alone: whether a sample's loss is the same in any company; that of a
    contrast is not, so its batch cannot be taken in parts when memory is short.
    """

    Config: ClassVar[type]
    columns: ClassVar[tuple[str, ...]] = ()
    split: ClassVar[str] = "methods"
    files: ClassVar[Mapping[str, tuple[str, str]]] = {"model.safetensors": ("", "")}
    save_dtype: ClassVar[torch.dtype] = torch.float32
    separable: ClassVar[bool] = True

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.history: str | None = None  # of one that was loaded
        self.remark = ""  # a sentence on one that was loaded on another base than it was trained on

    @classmethod
    @abstractmethod
    def from_scratch(cls, config: Any, base: DiffusionModel | None, data: Any = None) -> Self:
        """A new learner, sized by what it stands on. `data` is what it will train on, None where it is loaded."""

    @abstractmethod
    def compute_loss(self, batch: Batch) -> Tensor:
        """One number a sample [B]."""

    def forward(self, batch: Batch) -> Tensor:
        """The loss: distributed wrappers synchronise what goes through `forward`."""
        return self.compute_loss(batch)

    def validate(self, data: Any) -> dict[str, Any]:
        """What it measures of itself once trained, on pictures that it did not learn from; kept in its card."""
        return {}

    def lr_multiplier(self, name: str) -> float:
        """The multiple of the learning rate at which the parameter `name` trains."""
        return 1.0

    def use_muon(self, name: str) -> bool:
        """Whether Muon may move the matrix `name`: one of a transformer's blocks, as transformers names them."""
        return ".layer" in name

    def extra_files(self) -> dict[str, dict[str, Any]]:
        """JSON files that other programs expect beside the weights."""
        return {}

    @contextmanager
    def attach(self, condition: Condition | None = None) -> Iterator[None]:
        """The learner is attached to the backbone inside, and nothing of it is left outside."""
        yield

    @property
    def models(self) -> list[nn.Module]:
        """What a step computes with: their size says which precision pays."""
        return [self]

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training moves, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def move_to_device(value: Any, device: torch.device | str) -> Any:
    """A column where it is computed with; a tensor's way to the GPU keeps nobody waiting."""
    if not isinstance(value, Tensor):
        return value
    if torch.device(device).type == "cuda":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)


def save_learner(learner: Learner, name: str, folder: Path, base: DiffusionModel | None, **facts: Any) -> None:
    """Write the weights and `learner.json`, which is enough to load them, each file atomically."""
    state = {
        key: value.detach().to("cpu", learner.save_dtype if value.is_floating_point() else value.dtype).contiguous()
        for key, value in learner.state_dict().items()
    }
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
    """What a card says of the base that a learner was trained on."""
    return {"name": base.name, "fingerprint": base.fingerprint, "shapes": base.shapes, "width": base.text_dim}


def read_card(folder: Path) -> dict[str, Any]:
    """What a saved learner says of itself. Raises Usage where there is none, Failure where it cannot be read."""
    if not (folder / CARD).is_file():
        raise UsageError(f"no artifact in {folder}: {CARD} is missing (emoscene train NAME --out {folder} makes one)")
    try:
        found: dict[str, Any] = run_dir.parse_json((folder / CARD).read_text(encoding="utf8"))
        check_card(found)
    except (ValueError, KeyError, TypeError) as error:
        raise EmosceneError(f"{folder / CARD} is damaged ({type(error).__name__}: {error}): {AGAIN}") from error
    return found


def check_card(card: Any) -> None:
    """Check that a card, which a stranger may have written, has what every card has.

    Raises:
        KeyError: for a value that is missing.
        TypeError: for a value of another kind.
    """
    kinds: dict[str, type] = {"learner": str, "config": dict, "emotions": list}
    for name, kind in kinds.items():
        if not isinstance(card[name], kind):
            raise TypeError(f"{name} is no {kind.__name__}")
    if card["base"] is None:
        return
    itemgetter("width")(card["base"])
    for name in ("name", "fingerprint"):
        if not isinstance(card["base"][name], str):
            raise TypeError(f"{name} of the base is no text")


def read_history(folder: Path) -> str:
    """All that a folder says of where it comes from, as text: whose fingerprint stands in it helped to make it."""
    files = (folder / name for name in (CARD, run_dir.MANIFEST))
    return "".join(file.read_text(encoding="utf8", errors="replace") for file in files if file.is_file())


def load_learner(kind: str, folder: Path, base: DiffusionModel | None, **late: Any) -> Learner:
    """The learner saved in `folder`; `late` replaces settings that may change at use.

    On another checkpoint of the architecture that it was trained on, its `remark` says so. Raises Usage for weights of
    another architecture or another label order, Failure for a damaged file.
    """
    about = read_card(folder)
    remark = ""
    if base is not None and about["base"] is not None and not base.matches(about["base"]["fingerprint"]):
        remark = compare_bases(folder, about["base"], base)
    if tuple(about["emotions"]) != EMOTIONS:
        raise UsageError(f"{folder} has another order of emotions: {', '.join(about['emotions'])}")
    cls: type[Learner] = registry.load_plugin(kind, about["learner"])
    for key in {option.name for option in configs.list_options(cls.Config) if not option.runtime} & late.keys():
        raise UsageError(f"{key} was settled when {folder} was trained (emoscene show {about['learner']})")
    settings = configs.replace_fields(configs.replace_fields(cls.Config(), about["config"]), late)
    _check_places(cls, settings, folder)
    learner = cls.from_scratch(settings, base)
    try:
        _load_weights(learner, folder)
    except Misfit as error:
        if base is not None and remark and "shapes" not in about["base"]:
            raise _refusal(folder, about["base"], base, str(error)) from error
        raise EmosceneError(f"{folder} holds other weights than its {CARD} says ({error}): {AGAIN}") from error
    learner.remark = remark
    learner.history = read_history(folder)
    return learner.to(base.device if base else "cpu").requires_grad_(False).eval()


def _check_places(cls: type[Learner], settings: Any, folder: Path) -> None:
    """Raises Failure for a card that leads to another folder instead of describing what lies beside it."""
    if any(getattr(settings, name, "") for name in DESCRIPTIONS):
        return
    for name in (getattr(cls, "borrows", ""), "tokenizer"):
        if place := getattr(settings, name, ""):
            raise EmosceneError(
                f"{folder / CARD} leads to {name}={str(place)[:80]} and describes no weights of its own: {AGAIN}"
            )


def compare_bases(folder: Path, made_for: Mapping[str, Any], base: DiffusionModel) -> str:
    """Compare the base that a saved learner was trained on with another one, as far as its card tells.

    Args:
        folder: the saved learner's.
        made_for: what its card says of the base it was trained on.
        base: the one it is to be used on.

    Returns:
        The remark that the base is another checkpoint.

    Raises:
        Usage: where it is another architecture.
    """
    if made_for["width"] != base.text_dim:
        raise _refusal(folder, made_for, base, f"its text is {made_for['width']} wide there and {base.text_dim} here")
    if made_for.get("shapes", base.shapes) != base.shapes:
        raise _refusal(folder, made_for, base, "its weights have other shapes")
    return (
        f"{folder} was trained on other weights ('{made_for['name']}') than those of the base '{base.name}', whose "
        "architecture is the same: its effect may differ"
    )


def _refusal(folder: Path, made_for: Mapping[str, Any], base: DiffusionModel, reason: str) -> UsageError:
    return UsageError(
        f"{folder} was trained on the base '{made_for['name']}', and '{base.name}' is of another architecture "
        f"({reason}): give --base {made_for['name']}"
    )


class Misfit(Exception):
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
            state |= {mine + key[len(theirs) :]: value for key, value in part.items()}
    check_finite(state, folder, AGAIN)
    try:
        learner.load_state_dict(state)
    except RuntimeError as error:
        odd = str(error).splitlines()[-1].strip()
        raise Misfit(odd) from error

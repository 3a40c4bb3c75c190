"""The smallest learners there are, and data for them: tests of training import them, other processes too."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from emoscene.learning import checkpoints
from emoscene.learning.learner import Batch, Learner
from emoscene.training.state import Config

FAST = Config(steps=24, batch_size=6, precision="fp32", checkpoint_every=5, lr=1e-2)
MUON = Config(**{**vars(FAST), "muon": 2.0})


class Line(Learner):
    """y = w x + b, with drop-out of its own drawn from the batch."""

    columns = ("x", "y")

    def __init__(self) -> None:
        super().__init__(None)
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)

    @classmethod
    def from_scratch(cls, config: object, base: object, data: object = None) -> "Line":
        return cls()

    def compute_loss(self, batch: Batch) -> Tensor:
        kept = batch.uniform("drop", 3) < 0.8
        return ((self.layer(batch["x"] * kept) + batch.normal("noise", 1) * 0.01 - batch["y"]) ** 2).mean(1)


class Deep(Line):
    """A line behind a matrix that Muon moves."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 3)

    def use_muon(self, name: str) -> bool:
        return name == "hidden.weight"

    def compute_loss(self, batch: Batch) -> Tensor:
        return ((self.layer(self.hidden(batch["x"])) - batch["y"]) ** 2).mean(1)


class Points:
    """Twenty points of a plane; `bad` rows are not finite."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [0.5]])
        self.y[list(bad)] = float("nan")

    def __len__(self) -> int:
        return 20

    def read(self, indices: list[int], columns: tuple[str, ...]) -> dict[str, Tensor]:
        return {"x": self.x[indices], "y": self.y[indices]}


def quiet(message: str) -> None:
    """Tell nobody."""


def state_of(folder: Path) -> dict[str, Tensor]:
    newest = checkpoints.list_checkpoints(folder)[-1]
    names = ("weights", "average", "moments")
    return {f"{n}.{k}": v.clone() for n in names for k, v in load_file(newest / f"{n}.safetensors").items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)

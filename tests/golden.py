"""Golden values: the first losses of every learner and the size of their gradient. `python tests/golden.py` makes them.

They change when the arithmetic of a loss does, and only then: all weights, the base's too, are drawn from their names,
so no library's way of initialising takes part. Where a change was meant, make them anew and say why in the commit.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import tiny
from emoscene.core import config, registry, seeds
from emoscene.diffusion.model import DiffusionModel

FILE = Path(__file__).parent / "data/golden.json"
SMALL = {"side": 32, "patch": 16, "width": 32, "layers": 1, "heads": 2, "vector": 16, "text_width": 32}
SMALL |= {"text_layers": 1, "text_heads": 2}
STEPS = 2  # batches of four


class Eight:
    """Eight samples with every column that a learner may read."""

    def __len__(self) -> int:
        return 8

    def column(self, column: str) -> Any:
        return self.read(range(len(self)), [column])[column]

    def read(self, indices: Any, names: Any) -> dict[str, Any]:
        every = tiny.columns(len(self))
        every["image"] = torch.rand(8, 3, 32, 32, generator=seeds.torch_generator(0, "picture")) * 2 - 1
        every |= {"scene": ["lake", "hill"] * 4, "caption": ["a dog", "a cat"] * 4}
        kept = list(indices)
        return {k: v[kept] if isinstance(v, torch.Tensor) else [v[i] for i in kept] for k, v in every.items()}


def filled(module: torch.nn.Module, name: str) -> None:
    """Matrices and kernels drawn anew from their names, vectors moved by a little."""
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=seeds.torch_generator(0, name, key))
            if parameter.ndim > 1:
                parameter.copy_(drawn * parameter[0].numel() ** -0.5)
            else:
                parameter.add_(0.05 * drawn)


def learners() -> list[tuple[str, str]]:
    """Kind and name of all that learns, found and not listed."""
    both = ((kind, name) for kind in ("encoders", "methods") for name in registry.list_names(kind))
    return [(kind, name) for kind, name in both if registry.load_plugin(kind, name).columns]


def standing(folder: Path) -> DiffusionModel:
    base = DiffusionModel.load(str(tiny.make(folder)))
    for part in ("unet", "text_encoder"):
        filled(getattr(base, part), part)
    return base


def measured(kind: str, name: str, base: DiffusionModel) -> dict[str, list[float]]:
    """Each sample's loss, and each batch's norm of the gradient."""
    cls, data = registry.load_plugin(kind, name), Eight()
    fields = {field.name for field in config.list_options(cls.Config)}
    small = {key: value for key, value in SMALL.items() if kind == "encoders" and key in fields}
    learner = cls.from_scratch(config.replace_fields(cls.Config(), small), base, data)
    filled(learner, name)
    found: dict[str, list[float]] = {"losses": [], "gradient": []}
    for step in range(STEPS):
        slots = range(4 * step, 4 * step + 4)
        with learner.attach():
            losses = learner(tiny.Batch(data.read(slots, learner.columns), 5, step, slots))
            losses.sum().backward()
        squares = [p.grad.double().square().sum() for p in learner.trainable.values() if p.grad is not None]
        found["losses"] += losses.tolist()
        found["gradient"].append(float(torch.stack(squares).sum().sqrt()))
        learner.zero_grad()
    return found


def main() -> int:
    with TemporaryDirectory() as folder:
        base = standing(Path(folder) / "base")
        found = {name: measured(kind, name, base) for kind, name in learners()}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{FILE}: {', '.join(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A run that watches itself: how many steps suit the data, which weights are kept, and what is said of a poor run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import emoscene
import tiny
from emoscene.core import run_dir
from emoscene.core.callbacks import Callbacks
from emoscene.data.preparation import prepare
from emoscene.learning.learner import Batch, Learner
from emoscene.training import callbacks, dry_run, loop
from emoscene.training.callbacks import TrainingCallbacks, is_best
from emoscene.training.cautions import caution_data, caution_history
from emoscene.training.state import Config
from lines import FAST, Line, Points, quiet


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def data(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare("mini", out=tmp_path_factory.mktemp("data") / "prepared", limit=24, base=base, workers=0)


def train(data: Path, out: Path, base: str, told: list[str], **settings: object) -> Path:
    call = {"batch_size": 4, "precision": "fp32", "on_message": told.append, **settings}
    return emoscene.train("inversion", data=data, out=out, base=base, **call)


def test_steps_are_proposed_from_the_size_of_the_data() -> None:
    """A hundred passes at most, two hundred steps at least, and never more than the recipe has."""
    config = Config(steps=15_000, batch_size=32)
    cases = {47_000: 15_000, 4_800: 15_000, 4_799: 14_996, 200: 625, 64: 200, 8: 200}
    for images, steps in cases.items():
        assert dry_run.propose_steps(config, images).steps == steps
    assert dry_run.propose_steps(config, 47_000) is config
    assert dry_run.propose_steps(config, 200).validate_every == 625 // 8
    assert dry_run.propose_steps(Config(steps=50, batch_size=32), 8).steps == 50


def test_a_call_without_steps_takes_those_that_suit_and_says_so(data: Path, base: str, tmp_path: Path) -> None:
    told: list[str] = []
    train(data, tmp_path / "out", base, told, dry_run=True)
    images = run_dir.read_manifest(data)["roles"]["methods"]
    [line] = [line for line in told if "suit" in line]
    assert line.startswith(f"{100 * images // 4} steps suit {images} images, each seen 100 times, better than the")
    assert any(line.startswith(f"steps: {100 * images // 4} of 4, 100.0 times {images} images") for line in told)
    told.clear()
    train(data, tmp_path / "out", base, told, dry_run=True, steps=1234)
    assert not [line for line in told if "suit" in line]


def test_little_data_and_many_passes_are_told() -> None:
    config = Config(steps=1000, batch_size=32)
    assert caution_data(config, 33, 64) == []
    [sentence] = caution_data(config, 32, 64)
    assert sentence.startswith("each of 32 images is seen 1,000 times")
    [sentence] = caution_data(config, 5000, 2)
    assert sentence.startswith("its validation has 2 images")
    assert caution_data(config, 5000, 16) == []
    [sentence] = caution_data(config, 5000, 0)
    assert sentence.startswith("no image has the role selector")
    assert "more images" in sentence, "few images leave a share of a twentieth empty, with no --split at all"
    assert caution_data(Config(validation_images=0), 5000, 0) == []


def test_a_loss_that_rises_from_the_start_is_told() -> None:
    def rows(*losses: float) -> list[dict[str, object]]:
        return [{"step": step, "loss": {"all": loss}} for step, loss in enumerate(losses)]

    assert caution_history(rows(0.5, 0.6)) == []
    assert caution_history(rows(0.5, 0.49, 0.7)) == []
    [sentence] = caution_history(rows(0.5, 0.625, 0.7))
    assert sentence.startswith("the loss on unseen images rises from the start, from 0.5000 to 0.6250 at its best")
    assert caution_history([]) == []
    assert caution_history(rows(0.5, 0.625, 0.7, 0.4)) == [], "it fell after all"


class Deaf(Line):
    """A line whose loss does not depend on it."""

    def compute_loss(self, batch: Batch) -> Tensor:
        return 0 * super().compute_loss(batch)


@pytest.mark.parametrize(("kind", "sentences"), [(Deaf, 1), (Line, 0)])
def test_a_gradient_that_is_zero_throughout_is_told(kind: type[Line], sentences: int, tmp_path: Path) -> None:
    told: list[str] = []
    history = TrainingCallbacks(tmp_path, FAST, None, None, told.append)
    loop.run_training(kind(), Points(), FAST, tmp_path, callbacks=Callbacks(quiet, on_step=history.on_step))
    history.close()
    assert len(history.list_cautions()) == sentences
    assert told == [f"take care: {sentence}" for sentence in history.list_cautions()]
    if sentences:
        assert told[0].startswith("take care: the gradient was zero at all of 24 steps, and nothing was learnt")


def test_later_weights_are_kept_within_a_standard_error_of_the_lowest() -> None:
    """The differences +3, -1, +3, -1 have mean 1, deviation 2 and standard error 1."""
    lowest: dict[str, Tensor] = {}
    first = torch.tensor([9.0, 1.0, 5.0, 2.0])
    assert is_best(first, lowest)
    assert lowest["losses"] is first
    assert not is_best(first + torch.tensor([3.0, -1.0, 3.0, -1.0]), lowest)
    assert is_best(first + torch.tensor([2.9, -1.1, 2.9, -1.1]), lowest)
    assert lowest["losses"] is first, "what is compared with stays the lowest"
    assert not is_best(first.clone(), lowest), "of two that are equal the first is kept"
    assert is_best(first - 0.001, lowest)
    assert lowest["losses"] is not first


def test_the_best_weights_are_kept_by_default(
    data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 0 counts as no training; the lowest of the others is kept, and a rise from the start is said."""
    kept: list[Tensor] = []
    figures = iter([1.0, 3.0, 2.0, 4.0, 1.0, 3.0, 2.0, 4.0])

    def measure(learner: Learner, *rest: object) -> tuple[Tensor, Tensor]:
        kept.append(next(iter(learner.trainable.values())).detach().clone())
        return torch.full((2,), next(figures)), torch.zeros(2)

    monkeypatch.setattr(callbacks, "image_losses", measure)
    for best in (True, False):
        told: list[str] = []
        own = {"steps": 3, "validate_every": 1, "load_best_model_at_end": best}
        out = train(data, tmp_path / str(best), base, told, **own)
        manifest = run_dir.read_manifest(out)
        assert [row["loss"]["all"] for row in manifest["history"]] == [1.0, 3.0, 2.0, 4.0]
        said = [line.removeprefix("take care: ") for line in told if line.startswith("take care")]
        assert [line.partition(",")[0] for line in said] == [
            f"its validation has {run_dir.read_manifest(data)['roles']['selector']} image",
            "the loss on unseen images rises from the start",
        ]
        assert [line.partition(",")[0] for line in manifest["cautions"]] == [line.partition(",")[0] for line in said]
        assert manifest["cautions"][1].endswith(
            "from 1.0000 to 2.0000 at its best: try a smaller lr, and look at the captions and labels of the data"
        )
        expected = kept[2] if best else kept[3]
        assert torch.equal(load_file(out / "tokens.safetensors")["tokens"], expected.half())
        kept.clear()

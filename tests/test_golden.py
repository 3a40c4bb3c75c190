"""The first losses of every learner are those that were written down."""

import json

import pytest
import torch

import golden
import tiny
from emoscene.diffusion import noise_process
from emoscene.diffusion.model import DiffusionModel

KNOWN = json.loads(golden.FILE.read_text())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return golden.standing(tmp_path_factory.mktemp("golden") / "base")


def test_every_learner_has_its_golden_values() -> None:
    assert set(KNOWN) == {name for _, name in golden.learners()}, "python tests/golden.py"


@pytest.mark.parametrize(("kind", "name"), golden.learners())
def test_the_first_losses_are_as_they_were(kind: str, name: str, base: DiffusionModel) -> None:
    found = golden.measured(kind, name, base)
    for what, values in KNOWN[name].items():
        assert found[what] == pytest.approx(values, rel=2e-4), f"{what}: if it was meant, python tests/golden.py"


def test_a_change_of_the_arithmetic_is_seen(base: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = noise_process.min_snr_loss
    monkeypatch.setattr(noise_process, "min_snr_loss", lambda *given: plain(*given) * 1.001)
    losses = golden.measured("methods", "lora", base)["losses"]
    assert losses != pytest.approx(KNOWN["lora"]["losses"], rel=2e-4)
    assert len(losses) == 4 * golden.STEPS
    assert all(torch.isfinite(torch.tensor(losses)))
    assert tiny.columns(8)["weights"].sum() == 8

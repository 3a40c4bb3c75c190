"""Training, tuning and preparing on the stand-in accelerator: every learner, in every precision, on each card.

The losses are the CPU's within rounding, no operator is given tensors of two devices, and the host never waits for the
device in a step (`pytest -rP` prints where it did).
"""

import json
import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import emoscene
import tiny
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError
from emoscene.core.plain_text import format_count
from emoscene.data.dataset import PreparedDataset
from emoscene.diffusion.model import PARTS, DiffusionModel
from emoscene.learning import checkpoints
from emoscene.learning.optimizers import apply_step
from emoscene.training.state import Config
from emoscene.training.train import find_learner, load_training_model
from standin_accelerator import H100, T4, Card, Record, format_waits, small_card, use_card

CLIP = str(registry.package_folder("bases", "mini") / "weights/emotion_clip")
STEPS = 3
RUN = {
    "steps": STEPS,
    "batch_size": 8,
    "micro_batch_size": 0,
    "validation_images": 8,
    "validate_every": STEPS,
    "checkpoint_every": STEPS,
    "on_message": str,
}
SMALL = {
    "lora": {"rank": 2, "layers": "attention"},
    "guidance": {"width": 16},
    "judge": {"pretrained": "", "side": 64, "width": 32, "layers": 1, "heads": 2},
    "emotion_clip": {"side": 64, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "heads": 2},
    "captioner": {
        "side": 64,
        "width": 32,
        "layers": 1,
        "heads": 2,
        "text_width": 32,
        "text_layers": 1,
        "text_heads": 2,
        "length": 8,
        "beams": 2,
    },
}
"""Settings with which a learner takes a second."""

TRAINED = ("inversion", "lora", "guidance", "multimodal", "judge", "emotion_clip", "captioner")
"""What `train` makes from nothing but data and a base."""
CARDS = {"fp32": H100, "bf16": H100, "fp16": T4}
"""A card for each precision; a T4 takes fp16 by itself."""
QUICK = {
    "inversion": "bf16",
    "lora": "fp16",
    "guidance": "bf16",
    "multimodal": "fp16",
    "judge": "fp32",
    "emotion_clip": "fp32",
    "captioner": "bf16",
}
"""The precision of each learner in the default tier; the other two take a minute."""
PRODIGY_WAITS = 1, 2
"""How often the host waits with that optimizer: in a step, and for each tensor that it moves."""


def list_learners() -> list[str]:
    """All plug-ins that train."""
    found = []
    for kind in ("methods", "encoders"):
        found += [name for name in registry.list_names(kind) if registry.load_plugin(kind, name).columns]
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def data(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("data") / "prepared", base)


def prepare(out: Path, base: str) -> Path:
    """A prepared set of the rendered world, with EmotionCLIP's vectors."""
    return emoscene.prepare("mini", out=out, base=base, limit=48, workers=0, emotion_clip=CLIP, on_message=str)


def train(name: str, data: Path, base: str, out: Path, **settings: object) -> Path:
    """Train for a few steps."""
    return emoscene.train(name, data=data, base=base, out=out, **{**RUN, **SMALL.get(name, {}), **settings})


def read_losses(folder: Path) -> list[float]:
    """The losses on unseen images at each validation."""
    return [row["loss"]["all"] for row in run_dir.read_manifest(folder)["history"]]


@pytest.fixture(scope="module")
def train_on_cpu(base: str, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[float]]:
    """The losses of a learner in single precision on the CPU, by name; each trains once."""

    @cache
    def compute_losses(name: str) -> list[float]:
        return read_losses(train(name, data, base, tmp_path_factory.mktemp(name) / "cpu", precision="fp32"))

    return compute_losses


def train_and_measure(
    name: str, data: Path, base: str, out: Path, card: Card = H100, **settings: object
) -> tuple[Record, Counter]:
    """Train on a card; returns its record, and the waits of the second step alone."""
    marks = []
    with use_card(card) as record:
        train(name, data, base, out, on_step_end=lambda state: marks.append(record.waits.copy()), **settings)
    return record, marks[2] - marks[1]


def list_trainings() -> list[Any]:
    """Each learner in each precision, all but one of them in the slow tier."""
    trainings = []
    for name, precision in product(TRAINED, CARDS):
        marks = [] if QUICK[name] == precision else [pytest.mark.slow]
        trainings.append(pytest.param(name, precision, marks=marks))
    return trainings


@pytest.mark.parametrize(("name", "precision"), list_trainings())
def test_every_learner_trains(
    name: str, precision: str, base: str, data: Path, train_on_cpu: Callable[[str], list[float]], tmp_path: Path
) -> None:
    record, waits = train_and_measure(name, data, base, tmp_path / "card", CARDS[precision], precision=precision)
    print(format_waits(waits, f"{name} in {precision}, waits a step"))
    on_card, on_cpu = read_losses(tmp_path / "card"), train_on_cpu(name)
    assert len(on_card) == 2
    assert all(map(math.isfinite, on_card))
    assert on_card == pytest.approx(on_cpu, rel=1e-4 if precision == "fp32" else 0.03)
    assert not record.errors
    assert record.memory.peak > record.memory.allocated
    assert not waits, format_waits(waits, name)
    used = {kind for kind in (torch.bfloat16, torch.float16) if record.dtypes[kind]}
    assert used == {"fp32": set(), "bf16": {torch.bfloat16}, "fp16": {torch.float16}}[precision]


def test_no_learner_is_forgotten() -> None:
    assert set(list_learners()) == set(TRAINED)


def test_prodigy_waits_for_each_tensor(base: str, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("prodigyopt")
    settings = {"optimizer": "prodigy", "lr": 1.0, "precision": "fp32"}
    record, waits = train_and_measure("inversion", data, base, tmp_path / "card", **settings)
    print(format_waits(waits, "inversion with prodigy, waits a step"))
    assert not record.errors
    assert sum(waits.values()) <= sum(PRODIGY_WAITS), format_waits(waits)


def test_muon_waits_for_nothing(base: str, data: Path, tmp_path: Path) -> None:
    record, waits = train_and_measure("judge", data, base, tmp_path / "card", muon=2.0, precision="fp32")
    assert not record.errors
    assert not waits, format_waits(waits)


def test_micro_batches_wait_for_nothing(base: str, data: Path, tmp_path: Path) -> None:
    settings = {"micro_batch_size": 2, "noise_offset": 0.1, "checkpointing": True, "precision": "fp32"}
    _, waits = train_and_measure("multimodal", data, base, tmp_path / "card", **settings)
    assert not waits, format_waits(waits)


@pytest.mark.slow
def test_images_are_encoded_as_on_the_cpu(base: str, data: Path, tmp_path: Path) -> None:
    with use_card(H100) as record:
        there = prepare(tmp_path / "there", base)
    print(format_waits(record.waits, "prepare, waits in all"))
    assert not record.errors
    assert record.operators > 0
    for column in ("latent", "vector"):
        ours, theirs = (PreparedDataset(folder).column(column) for folder in (data, there))
        np.testing.assert_allclose(np.asarray(theirs, float), np.asarray(ours, float), atol=2e-2)
    assert PreparedDataset(there).column("caption") == PreparedDataset(data).column("caption")


@pytest.mark.parametrize(
    ("name", "precision"), [pytest.param("inversion", "fp32", marks=pytest.mark.slow), ("lora", "fp16")]
)
def test_a_run_goes_on_where_it_stopped(name: str, precision: str, base: str, data: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        """What ends the run."""

    def stop(state: object) -> None:
        if state.step == 2:
            raise Stop

    settings, card = {"precision": precision, "checkpoint_every": 1}, CARDS[precision]
    with use_card(card):
        whole = train(name, data, base, tmp_path / "whole", **settings)
    with use_card(card), pytest.raises(Stop):
        train(name, data, base, tmp_path / "parts", **settings, on_step_end=stop)
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path / "parts/checkpoints")] == ["step-0", "step-1"]
    with use_card(card):
        parts = train(name, data, base, tmp_path / "parts", **settings, resume=True)
    assert run_dir.read_manifest(parts)["fingerprint"] == run_dir.read_manifest(whole)["fingerprint"]


def test_a_dry_run_says_what_the_card_held(base: str, data: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with use_card(H100) as record:
        train("lora", data, base, tmp_path / "none", dry_run=True, precision="fp32", on_message=told.append)
    [memory] = [line for line in told if line.startswith("memory: ")]
    assert memory.startswith(f"memory: {record.memory.peak / 1e6:.1f} MB so far, 8 samples at a time")
    assert not record.errors


@pytest.mark.slow
def test_settings_are_tuned_on_the_card(base: str, data: Path, tmp_path: Path) -> None:
    """Training, looks on the way, and the final evaluation of one trial."""
    tiny.judges(tmp_path, data="the judges' own")
    (tmp_path / "prompts.txt").write_text("a beach\n")
    call = {"selector": CLIP, "judge": [tmp_path / "emotion", tmp_path / "scene"], "prompts": tmp_path / "prompts.txt"}
    few = {"steps": 2, "batch_size": 4, "rank": 2, "looks": 2, "rungs": 1, "pulse": 1, "precision": "fp32"}
    with use_card(H100) as record:
        out = emoscene.tune(
            "lora",
            trials=1,
            lr="1e-4..1e-2",
            data=data,
            base=base,
            seeds="0:1",
            out=tmp_path / "tuned",
            on_message=str,
            **call,
            **few,
        )
        assert not record.errors
        assert record.dtypes[torch.float16] > 0, "images are generated in half precision"
    told = json.loads((out / "comparison.json").read_text())
    assert told["winner"]["trial"] == told["default"]["trial"] == 0


def measure_memory(name: str, data: Path, base: str, out: Path) -> tuple[int, int]:
    """Bytes that a run holds before its first step, and at most."""
    held = []
    with use_card(H100) as record:
        look = lambda state: held.append(record.memory.allocated)  # noqa: E731
        train(name, data, base, out, precision="fp32", validation_images=0, on_step_end=look)
    return held[0], record.memory.peak


def test_a_small_card_takes_fewer_samples_at_a_time(base: str, data: Path, tmp_path: Path) -> None:
    """Three quarters of what a step of 8 takes beside the base do not suffice for it, and do for two of 4."""
    held, peak = measure_memory("inversion", data, base, tmp_path / "plain")
    room, told = held + 3 * (peak - held) // 4, []
    with use_card(small_card(room)) as small:
        train(
            "inversion", data, base, tmp_path / "small", precision="fp32", validation_images=0, on_message=told.append
        )
    assert "out of memory: 4 samples at a time from now on; the batch of 8 stays" in told
    assert small.memory.peak <= room < peak
    for file in (tmp_path / "plain").glob("*.safetensors"):
        plain, found = load_file(file), load_file(tmp_path / "small" / file.name)
        for key, value in plain.items():
            torch.testing.assert_close(found[key], value, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize(("name", "share"), [("lora", 0.1), ("emotion_clip", 0.5)])
def test_a_card_with_too_little_memory_is_one_sentence(
    name: str, share: float, base: str, data: Path, tmp_path: Path
) -> None:
    """A contrast is never taken in parts: half of what it needs is too little."""
    held, peak = measure_memory(name, data, base, tmp_path / "plain")
    count = {"lora": 1, "emotion_clip": 8}[name]
    with (
        use_card(small_card(held + int(share * (peak - held)))),
        pytest.raises(
            EmosceneError, match=f"out of memory with {format_count(count, 'sample')} at a time: checkpointing=yes"
        ),
    ):
        train(name, data, base, tmp_path / "small", precision="fp32", validation_images=0)


@pytest.mark.parametrize("lacking", ["base", "batch"])
def test_a_card_without_room_for_base_or_batch_is_one_sentence(
    lacking: str, base: str, data: Path, tmp_path: Path
) -> None:
    held, _ = measure_memory("inversion", data, base, tmp_path / "plain")
    room = {"base": 1000, "batch": held + 4096}[lacking]
    with (
        use_card(small_card(room)),
        pytest.raises(EmosceneError, match="out of memory with the base, the optimizer and a batch on the device"),
    ):
        train("inversion", data, base, tmp_path / "small", precision="fp32", validation_images=0)


def test_images_that_a_card_has_no_room_for_are_one_sentence(base: str, tmp_path: Path) -> None:
    with use_card(small_card(1000)), pytest.raises(EmosceneError, match=r"does not fit into the device's memory"):
        prepare(tmp_path / "none", base)
    with use_card(H100) as record:
        DiffusionModel.load(base, "cuda")
    with (
        use_card(small_card(record.memory.peak)),
        pytest.raises(EmosceneError, match=r"does not suffice to encode 32 images"),
    ):
        emoscene.prepare("mini", out=tmp_path / "few", base=base, limit=8, workers=0, on_message=str)


def test_a_t4_trains_in_half_precision(base: str, data: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with use_card(T4) as record:
        out = train("lora", data, base, tmp_path / "t4", on_message=told.append)
    assert any(f"training on cuda ({T4.name}) in fp16 (" in line for line in told)
    assert record.dtypes[torch.bfloat16] == 0
    assert record.dtypes[torch.float16] > record.dtypes[torch.float32] / 2
    assert all(map(math.isfinite, read_losses(out)))


@pytest.mark.parametrize(("name", "used"), [("lora", {"text_encoder", "unet"}), ("guidance", set()), ("judge", set())])
def test_what_training_does_not_use_stays_in_main_memory(name: str, used: set[str], base: str) -> None:
    """Until it is used after all, as the autoencoder is by a sheet of images."""

    def list_parts_on_card(model: DiffusionModel) -> set[str]:
        return {part for part in PARTS if next(getattr(model, part).parameters()).is_cuda}

    with use_card(H100):
        model = load_training_model(base, Config(), find_learner(name))
        assert list_parts_on_card(model) == used
        model.decode_latents(torch.zeros(1, 4, 8, 8, device="cuda"))
        assert list_parts_on_card(model) == used | {"vae"}


def test_a_step_of_muon_that_is_not_finite_is_taken_back() -> None:
    with use_card(H100) as record:
        matrix = nn.Parameter(torch.eye(3, device="cuda"))
        optimizer = torch.optim.Muon([matrix], lr=0.1)
        kept = []
        for value, finite in ((1.0, True), (math.nan, False), (2.0, True)):
            matrix.grad = torch.full((3, 3), value, device="cuda")
            apply_step(optimizer, torch.full((), finite, device="cuda"))
            kept.append([matrix.detach().cpu(), optimizer.state[matrix]["momentum_buffer"].cpu()])
        asked = sum(count for (_, line), count in record.waits.items() if "apply_step" in line)
        assert asked == 1, "only before the first step, when Muon remembers nothing"
    assert torch.equal(kept[0][0], kept[1][0])
    assert torch.equal(kept[0][1], kept[1][1])
    assert not torch.equal(kept[1][0], kept[2][0])
    assert kept[2][0].isfinite().all()


def test_an_h100_trains_in_bfloat16(base: str, data: Path, tmp_path: Path) -> None:
    told: list[str] = []
    with use_card(H100) as record:
        train("lora", data, base, tmp_path / "h100", on_message=told.append)
    assert any(f"training on cuda ({H100.name}) in bf16" in line for line in told)
    assert record.dtypes[torch.bfloat16] > record.dtypes[torch.float32] / 2

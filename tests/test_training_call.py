"""What the verb `train` settles around the loop: the base's arithmetic, sheets of images, what is recorded."""

from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

import tiny
from emoscene.core import registry
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.plain_text import format_bytes
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.preparation import prepare
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning.checkpoints import save_checkpoint
from emoscene.learning.learner import read_card
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.training import checks, dry_run, provision
from emoscene.training import train as train_verb
from emoscene.training.state import Config


def config_of(**settings: object) -> Config:
    plain = {"precision": "fp32", "steps": 4, "batch_size": 4}
    return Config(**{**plain, **settings})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def base(folder: str) -> DiffusionModel:
    return DiffusionModel.load(folder)


def kind(name: str) -> Any:
    return registry.load_plugin("methods", name)


@pytest.mark.parametrize(
    ("name", "precision", "rounded"),
    [("lora", "bf16", True), ("lora", "fp32", False), ("guidance", "bf16", False), ("guidance", "fp32", False)],
)
def test_the_base_is_rounded_where_it_is_trained_through_in_bf16(
    name: str, precision: str, rounded: bool, folder: str, base: DiffusionModel
) -> None:
    found = train_verb.load_training_model(folder, config_of(precision=precision), kind(name))
    weights, before = found.unet.state_dict(), base.unet.state_dict()
    changed = [key for key, value in before.items() if not torch.equal(value, weights[key].float())]
    assert bool(changed) == rounded
    for key in changed:
        assert torch.equal(weights[key].float(), before[key].bfloat16().float())
    assert not found.unet.is_gradient_checkpointing


def test_activations_are_computed_again_where_that_is_asked(folder: str) -> None:
    found = train_verb.load_training_model(folder, config_of(checkpointing=True), kind("lora"))
    assert found.unet.is_gradient_checkpointing
    for words in ({"checkpointing": True}, {"compile": True}):
        with pytest.raises(UsageError, match="are for methods that train through the UNet"):
            checks.check_learner("guidance", kind("guidance"), config_of(**words))


class Captions:
    """Five images of which only the captions matter."""

    def __len__(self) -> int:
        return 5

    def read(self, indices: Any, columns: list[str]) -> dict[str, list[str]]:
        assert columns == ["caption"]
        return {"caption": [f"scene {place}" for place in indices]}


def test_a_sheet_has_three_captions_without_and_with_each_emotion(
    base: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, tuple[float, ...]]] = []
    batches: list[int] = []

    def generate(self: EmotionPipeline, rows: Any, batch: int = 8) -> Any:
        batches.append(batch)
        for row in rows:
            asked.append((row.prompt, row.emotion))
            yield row, Image.new("RGB", (64, 64), (len(asked), 0, 0))

    monkeypatch.setattr(EmotionPipeline, "generate", generate)
    sheets: list[Any] = []
    monkeypatch.setattr(train_verb, "contact_sheet", lambda lines, columns: sheets.append((lines, columns)) or lines)
    method = tiny.made("lora", base)
    job = SimpleNamespace(config=config_of(images_every=2), name="lora", backbone=base, data=Captions())
    paint = train_verb.make_sheet_generator(job, method, None)
    paint()
    expected = []
    for scene in ("scene 0", "scene 1", "scene 2"):
        expected.append((scene, (0.0,) * 8))
        for number in range(8):
            expected.append((scene, tuple(float(other == number) for other in range(8))))
    assert asked == expected
    assert batches == [9]
    [(lines, columns)] = sheets
    assert columns == ["base", *EMOTIONS]
    assert [[image.getpixel((0, 0))[0] for image in line] for line in lines] == [
        list(range(first, first + 9)) for first in (1, 10, 19)
    ]
    job.config = config_of(images_every=0)
    assert train_verb.make_sheet_generator(job, method, None) is None
    job.config = config_of(images_every=2)
    with pytest.raises(UsageError, match="lora generates no images"):
        train_verb.make_sheet_generator(job, torch.nn.Linear(1, 1), None)


def test_the_newest_whole_checkpoint_says_how_the_base_was_recorded(base: DiffusionModel, tmp_path: Path) -> None:
    """In the form of the version that began, where it is this base; a damaged checkpoint is passed over."""
    assert train_verb.recorded_base(tmp_path, base) == base.fingerprint
    old = base._old_fingerprint
    assert old != base.fingerprint
    save_checkpoint(tmp_path, 1, {}, 9, about={"base": "another"})
    assert train_verb.recorded_base(tmp_path, base) == base.fingerprint
    save_checkpoint(tmp_path, 2, {}, 9, about={"base": old})
    assert train_verb.recorded_base(tmp_path, base) == old
    save_checkpoint(tmp_path, 3, {}, 9, about={"base": base.fingerprint})
    assert train_verb.recorded_base(tmp_path, base) == base.fingerprint
    (tmp_path / "step-3/state.json").write_text("{")
    assert train_verb.recorded_base(tmp_path, base) == old


@pytest.mark.parametrize(
    ("pixels", "fits"), [(32, False), (40, False), (48, True), (64, True), (88, True), (96, False)]
)
def test_latents_of_half_to_twice_the_bases_area_fit(pixels: int, fits: bool, base: DiffusionModel) -> None:
    """The base paints 64 x 64; half of it are 45.3 pixels a side, twice 90.5."""
    latents = torch.zeros(1, 4, pixels // 8, pixels // 8)
    data = SimpleNamespace(
        folder=Path("data"),
        vae_fingerprint=base.vae_fingerprint,
        read=lambda rows, columns: {"latent": latents},
        check_soft_labels=lambda settings: None,
    )
    job = SimpleNamespace(cls=kind("lora"), data=data, backbone=base, own=None)
    if fits:
        train_verb.check_data(job)
        return
    share = pixels * pixels / 4096
    with pytest.raises(UsageError, match=f"of {pixels} x {pixels} pixels, {share:.1f} times what"):
        train_verb.check_data(job)
    job.cls = kind("prompt")
    train_verb.check_data(job)


def test_what_checkpoints_take_by_hand() -> None:
    """Weights as they are, and of what trains: two moments, the average, the best, four bytes each."""

    class Two(torch.nn.Module):
        save_dtype = torch.float16

        def __init__(self) -> None:
            super().__init__()
            self.moved = torch.nn.Parameter(torch.zeros(10))
            self.fixed = torch.nn.Parameter(torch.zeros(5), requires_grad=False)

        @property
        def trainable(self) -> dict[str, torch.nn.Parameter]:
            return {"moved": self.moved}

    weights, trained = 15 * 4, 10 * 4
    cases = [((0.0, 0, 1), 2), ((0.9, 0, 1), 3), ((0.0, 3, 1), 3), ((0.9, 3, 4), 4)]
    for (decay, patience, kept), copies in cases:
        config = config_of(
            ema_decay=decay, patience=patience, checkpoints_total_limit=kept, load_best_model_at_end=False
        )
        assert dry_run.estimate_disk(Two(), config) == ((kept + 1) * (weights + copies * trained), 15 * 2)


def test_the_first_weights_are_drawn_from_the_runs_seed() -> None:
    """31 bits of the seed's own 63, which are BLAKE2b of the JSON list of its words."""

    class Start:
        @classmethod
        def from_scratch(cls, *given: object) -> tuple[object, ...]:
            return (torch.initial_seed(), *given)

    config = config_of(seed=9)
    job = train_verb.TrainJob("start", Start, config, "own", "base", "data", str)
    number = int.from_bytes(blake2b(b'[9, "start"]', digest_size=8).digest(), "big") // 2
    assert job.make_learner() == (number % 2147483648, "own", "base", "data")


def test_a_dry_run_counts_the_middle_one_of_three_warm_steps(
    base: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 90, 80, 1, 6 and 2 seconds by a clock of the test's: the first two do not count, and 2 is the middle."""
    clock = [1000.0]

    def steps(state: object, data: object, config: object) -> Any:
        for seconds in (90.0, 80.0, 1.0, 6.0, 2.0, 500.0):
            clock[0] += seconds
            yield SimpleNamespace(loss=0.25)

    monkeypatch.setattr(dry_run, "train_steps", steps)
    monkeypatch.setattr(dry_run.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda folder: SimpleNamespace(free=3_500_000_000))
    learner = kind("lora").from_scratch(kind("lora").Config(rank=2), base)
    config = config_of(steps=1800, batch_size=8)
    lines = list(dry_run.report_lines(learner, Captions(), config, tmp_path / "not/there"))
    assert lines[0] == "steps: 1800 of 8, 2880.0 times 5 images"
    assert lines[1].endswith("so far, 8 samples at a time")
    assert lines[2].endswith("3.5 GB are free")
    assert lines[3] == "time: about 1:00:00 here, 2.000 s a step, 4 images a second; the loss is 0.2500"
    assert clock[0] == 1000 + 179


def test_a_billion_bytes_are_a_gigabyte(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dry_run, "estimate_disk", lambda learner, config: (1_500_000_000, 1))
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000_000))
    with pytest.raises(EmosceneError, match=r"has 1\.0 GB free, and checkpoints take 1\.5 GB"):
        dry_run.check_disk_space(None, None, tmp_path)
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda folder: SimpleNamespace(free=999_900_000))
    with pytest.raises(EmosceneError, match=r"has 999\.9 MB free"):
        dry_run.check_disk_space(None, None, tmp_path)


def test_a_disk_is_enough_to_the_byte(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dry_run, "estimate_disk", lambda learner, config: (700, 300))
    for free in (1000, 1001):
        monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda folder, free=free: SimpleNamespace(free=free))
        dry_run.check_disk_space(None, None, tmp_path)
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda folder: SimpleNamespace(free=999))
    with pytest.raises(EmosceneError, match="checkpoints take"):
        dry_run.check_disk_space(None, None, tmp_path)


def test_the_card_holds_what_a_learner_measured_of_itself(folder: str, tmp_path: Path) -> None:
    """A classifier for guidance measures itself on unseen images; a LoRA does not."""
    data = prepare("mini", out=tmp_path / "data", limit=24, base=folder, workers=0)
    few = {"base": folder, "steps": 1, "batch_size": 2, "precision": "fp32", "on_message": str}
    guided = train_verb.train("guidance", data=data, out=tmp_path / "guidance", width=16, **few)
    proof = read_card(guided)["proof"]
    assert proof["t"] == list(range(50, 1000, 100))
    assert len(proof["accuracy"]) == 10 and proof["pictures"] > 0
    plain = train_verb.train("lora", data=data, out=tmp_path / "lora", rank=2, **few)
    assert "proof" not in read_card(plain)
    assert read_card(plain)["data"] == read_card(guided)["data"] != ""


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (950_050_001, "950.1 MB"),
        (999_999_999, "1000.0 MB"),
        (1e9, "1.0 GB"),
        (1_250_000_001, "1.3 GB"),
        (0, "0.0 MB"),
        (4100, "4.1 kB"),
    ],
)
def test_sizes_are_in_decimal_units(number, text):
    assert format_bytes(number) == text


def test_data_of_version_0_1_without_captions_are_prepared_again_without_them() -> None:
    """Its manifests said captioner: false; true and a name stay as they are."""
    lacking = {"emotion_clip": "EmotionCLIP's vectors"}
    for said, meant in ((False, "none"), ("some/blip", "some/blip")):
        call = {"source": "imagefolder", "root": "photos", "captioner": said, "base": "mini", "out": "there"}
        given = provision.describe_preparation(call, lacking)
        assert given == {"source": "imagefolder", "root": "photos", "captioner": meant}

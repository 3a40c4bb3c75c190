"""Generating, editing and evaluating on the stand-in accelerator: every method and every pair, every sampler.

In single precision the images are the CPU's within one level of 255, no operator is given tensors of two devices, and
no method makes the host wait for the device in a step; the samplers' waits, diffusers' own, are printed (`pytest -rP`)
and bounded at today's count.
"""

import json
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import emoscene
import tiny
from emoscene.core import registry
from emoscene.core.errors import EmosceneError
from emoscene.core.params import GenerationParams
from emoscene.core.request import GenerationRequest
from emoscene.diffusion import device
from emoscene.encoders.base import load_encoder
from emoscene.evaluation.evaluate import evaluate
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.web.session import Session
from standin_accelerator import H100, T4, Card, Record, format_waits, small_card, use_card
from standin_accelerator.record import Waits

METHODS = registry.list_names("methods")
CHAINS = [*METHODS, *("+".join(pair) for pair in combinations([name for name in METHODS if name != "none"], 2))]
QUICK = [*METHODS, "guidance+lora"]
"""What runs in the default tier; the other pairs take a minute."""

SAMPLER_WAITS = {
    "ddim": 6,
    "dpm++": 0,
    "dpm++_2m_sde": 1,
    "dpm++_karras": 0,
    "dpm++_sde": 1,
    "dpm++_sde_karras": 1,
    "euler": 0,
    "euler_a": 1,
    "heun": 0,
    "lcm": 4,
    "pndm": 3,
    "tcd": 5,
    "unipc": 7,
}
"""How often the host waits for the device in one sampling step, by sampler: diffusers' own."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def record() -> Iterator[Record]:
    """An H100 for all tests of this file that name it."""
    with use_card(H100) as record:
        yield record


@pytest.fixture(scope="module")
def pipes(record: Record, folder: str) -> dict[str, dict[str, EmotionPipeline]]:
    """Every method and pair, on the CPU and on the card in both precisions, by the place's name."""
    places = {"cpu": ("cpu", "float32"), "single": ("cuda", "float32"), "default": (None, None)}
    return {name: make_pipes(folder, *place) for name, place in places.items()}


def make_pipes(folder: str, place: str | None, dtype: str | None) -> dict[str, EmotionPipeline]:
    """Every method and pair on one base."""
    base = device.load_model(folder, place, dtype)
    methods = {name: tiny.made(name, base) for name in METHODS}
    return {chain: EmotionPipeline(base, {name: methods[name] for name in chain.split("+")}) for chain in CHAINS}


def plan(pipe: EmotionPipeline, **settings: object) -> list[GenerationParams]:
    """An image of an emotion, one of a mixture that suppresses, one of none."""
    emotions = ["awe", "fear:0.5,sadness:-0.5", None]
    return pipe.plan("a dog", emotion=emotions, **{"num_inference_steps": 2, "guidance_scale": 2.0, **settings})


def generate(pipe: EmotionPipeline, rows: list[GenerationParams]) -> np.ndarray:
    """Images as numbers [B, H, W, 3]."""
    return np.stack([np.asarray(image, float) for _, image in pipe.generate(rows)])


def measure_step(record: Record, pipe: EmotionPipeline, rows: list[GenerationParams]) -> Waits:
    """The waits of the step that waits most, the first left out."""
    marks = [record.waits.copy() for _ in pipe.denoise(rows)]
    steps = [after - before for before, after in pairwise(marks)]
    return max(steps, key=lambda waits: sum(waits.values()))


def list_chains() -> list[Any]:
    """All chains, those of two methods but one in the slow tier."""
    chains = []
    for chain in CHAINS:
        marks = [] if chain in QUICK else [pytest.mark.slow]
        chains.append(pytest.param(chain, marks=marks))
    return chains


@pytest.mark.parametrize("chain", list_chains())
def test_every_method_and_pair_generates(
    chain: str, record: Record, pipes: dict[str, dict[str, EmotionPipeline]]
) -> None:
    images = {place: generate(some[chain], plan(some[chain])) for place, some in pipes.items()}
    assert np.abs(images["single"] - images["cpu"]).max() <= 1
    assert np.abs(images["default"] - images["cpu"]).mean() < 2
    assert pipes["default"][chain].base.dtype == torch.float16

    pipe = pipes["single"][chain]
    for sampler in ("dpm++", "euler"):
        waits = measure_step(record, pipe, plan(pipe, num_inference_steps=3, sampler=sampler))
        assert not waits, format_waits(waits, f"{chain} by {sampler}, waits a step")
    assert not record.errors


@pytest.mark.parametrize("sampler", registry.list_names("samplers"))
def test_every_sampler_generates(sampler: str, record: Record, pipes: dict[str, dict[str, EmotionPipeline]]) -> None:
    images = [
        generate(pipes[place]["none"], plan(pipes[place]["none"], sampler=sampler)) for place in ("cpu", "single")
    ]
    assert np.abs(images[0] - images[1]).max() <= 1

    pipe = pipes["single"]["none"]
    waits = measure_step(record, pipe, plan(pipe, sampler=sampler, num_inference_steps=5))
    print(format_waits(waits, f"{sampler}, waits a step"))
    assert sum(waits.values()) <= SAMPLER_WAITS[sampler], format_waits(waits)
    assert not record.errors


@pytest.mark.parametrize("chain", ["none", "lora", "guidance+multimodal"])
@pytest.mark.parametrize("keep", [0.5, 1.0])
def test_an_image_is_edited(
    chain: str, keep: float, record: Record, pipes: dict[str, dict[str, EmotionPipeline]]
) -> None:
    draw = np.random.default_rng(0)
    image = Image.fromarray(draw.integers(0, 255, (64, 64, 3), np.uint8))
    found = [
        generate(pipe, plan(pipe, image=image, strength=1 - keep))
        for pipe in (pipes["cpu"][chain], pipes["single"][chain])
    ]
    assert np.abs(found[0] - found[1]).max() <= 1
    assert not record.errors


@pytest.mark.slow
def test_the_miniature_captions_and_feels_an_image_on_the_card() -> None:
    """The shipped base, its captioner and its EmotionCLIP."""
    draw = np.random.default_rng(0)
    image = Image.fromarray(draw.integers(0, 255, (8, 8, 3), np.uint8)).resize((128, 128))
    asked = {"image": image, "emotion_image": image, "strength": 0.5, "num_inference_steps": 2}
    with pytest.warns(UserWarning, match="know only its rendered world"):
        on_cpu = emoscene.load("mini", method="lora", device="cpu")(**asked)
    with use_card(H100) as record:
        pipe = emoscene.load("mini", method="lora", dtype="float32")
        with pytest.warns(UserWarning, match="know only its rendered world"):
            on_card = pipe(**asked)
        assert not record.errors
    assert on_card.params[0].prompt == on_cpu.params[0].prompt
    assert on_card.params[0].emotion == pytest.approx(on_cpu.params[0].emotion, abs=2e-4)
    difference = np.asarray(on_card.images[0], float) - np.asarray(on_cpu.images[0], float)
    assert np.abs(difference).max() <= 2


def test_scores_are_the_cpus(folder: str, tmp_path: Path) -> None:
    judges = tiny.judges(tmp_path / "judges")
    prompts = tmp_path / "one.toml"
    prompts.write_text('prompt = [{ text = "a beach", scene = "beach" }]')
    call = {
        "base": folder,
        "judge": judges,
        "prompts": prompts,
        "seeds": "0:2",
        "num_inference_steps": 1,
        "on_message": str,
        "method": "prompt",
    }
    scores = {}
    with use_card(H100) as record:
        for place in ("cuda", "cpu"):
            out = evaluate(out=tmp_path / place, device=place, **call)
            scores[place] = json.loads((out / "scores.json").read_text())
        assert not record.errors
        assert record.dtypes[torch.float16] > 0
    print(format_waits(record.waits, "evaluate, waits in all"))
    on_card, on_cpu = (scores[place]["metrics"] for place in ("cuda", "cpu"))
    assert on_card.keys() == on_cpu.keys()
    for name, metric in on_cpu.items():
        assert on_card[name]["value"] == pytest.approx(metric["value"], abs=0.05, rel=0.05), name


def test_a_folder_of_images_is_generated(folder: str, tmp_path: Path) -> None:
    told: list[str] = []
    with use_card(T4) as record:
        out = emoscene.generate(
            "a dog",
            emotion="awe",
            base=folder,
            method="prompt",
            out=tmp_path,
            num_inference_steps=1,
            on_message=told.append,
        )
        assert not record.errors
    assert any(line.startswith(f"generating on cuda ({T4.name}) in float16 (") for line in told)
    assert len(list(Path(out).glob("*.png"))) == 1


@pytest.mark.parametrize("card", [pytest.param(H100, marks=pytest.mark.slow), T4])
def test_what_the_page_calls_runs_on_the_card(card: Card, folder: str, tmp_path: Path) -> None:
    """Views of a generation, of a grid, of an edit, and a judge's verdict."""
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "noise.png")
    judges = [str(place) for place in tiny.judges(tmp_path / "judges")]
    asked = GenerationRequest(prompt="a dog", emotion="awe", method="prompt", num_inference_steps=2, seed=5)
    with use_card(card) as record:
        session = Session(folder, judge=judges)
        *_, view = session.generate(asked)
        *_, grid = session.compare(asked, ["prompt", "none"], ["", "fear"], [1.0]).views()
        before, views = session.edit(asked, str(tmp_path / "noise.png"))
        *_, edited = views
        verdicts = session.judge([str(tmp_path / "noise.png")])
        assert not record.errors
        assert record.dtypes[torch.float16] > 0
    assert len(view.finished) == len(edited.finished) == 1
    assert before.size == (64, 64)
    assert len(grid.finished) == 4
    [[verdict]] = verdicts.values()
    assert sum(verdict.likely.values()) == pytest.approx(1, abs=1e-4)


def load_and_measure(folder: str, method: str, record: Record) -> tuple[EmotionPipeline, int]:
    """A pipe, and what loading it took at most."""
    pipe = emoscene.load(folder, method=method, dtype="float32")
    loading = record.memory.peak
    torch.cuda.reset_peak_memory_stats()
    return pipe, loading


def test_a_small_card_generates_the_same_images(folder: str) -> None:
    """With half of what eight images take beside the base, fewer are made at once."""
    asked = {"emotion": "all", "num_inference_steps": 1, "seed": 3}
    with use_card(H100) as large:
        pipe, _ = load_and_measure(folder, "none", large)
        held = large.memory.allocated
        images = generate(pipe, pipe.plan("a dog", **asked))
    room, told = held + (large.memory.peak - held) // 2, []
    with use_card(small_card(room)) as small:
        pipe, _ = load_and_measure(folder, "none", small)
        pipe.on_message = told.append
        again = generate(pipe, pipe.plan("a dog", **asked))
    assert told[0] == "memory ran out over 8 images at once: going on with 4"
    assert small.memory.peak <= room
    assert np.abs(images - again).max() <= 1


def test_a_card_without_room_for_one_image_keeps_parts_in_main_memory(folder: str) -> None:
    told: list[str] = []
    with use_card(H100) as large:
        pipe, loading = load_and_measure(folder, "none", large)
        images = generate(pipe, pipe.plan("a dog", num_inference_steps=1))
    assert loading < large.memory.peak
    with use_card(small_card(loading)) as small:
        pipe, _ = load_and_measure(folder, "none", small)
        pipe.on_message = told.append
        again = generate(pipe, pipe.plan("a dog", num_inference_steps=1))
        assert not small.errors
    assert [remark.partition(": ")[2] for remark in told] == [
        "going on with the autoencoder in tiles",
        "going on with each part of the base in main memory until it is needed",
    ]
    assert np.abs(images - again).max() <= 1


def test_a_base_that_does_not_fit_is_one_sentence(folder: str) -> None:
    with (
        use_card(small_card(1000)),
        pytest.raises(EmosceneError, match=r"does not fit into the device's memory: .*--device"),
    ):
        emoscene.load(folder)


def test_images_that_a_judge_has_no_room_for_are_one_sentence(tmp_path: Path) -> None:
    judges = tiny.judges(tmp_path)
    images = [Image.new("RGB", (64, 64))] * 8
    with use_card(H100) as record:
        judge = load_encoder("judge", judges[0], "cuda")
        room = record.memory.allocated + 8 * 64 * 64 * 3 * 4
        assert judge.read(images).probabilities.shape == (8, 8)
    with use_card(small_card(room)):
        judge = load_encoder("judge", judges[0], "cuda")
        with pytest.raises(EmosceneError, match="does not suffice to read 8 images at once: give --device cpu"):
            judge.read(images)

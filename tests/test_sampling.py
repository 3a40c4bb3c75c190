import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import emoscene
import tiny
from emoscene.cli.app import read_call
from emoscene.cli.verbs import load_verb
from emoscene.core import registry, seeds
from emoscene.core.a1111_text import parse_a1111_text
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import read_params
from emoscene.core.params import GenerationParams
from emoscene.diffusion.model import DiffusionModel
from emoscene.diffusion.noise_process import read_noise_process
from emoscene.pipeline import samplers
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.web import page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pipe(folder: Path) -> EmotionPipeline:
    return emoscene.load(str(folder))


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    """diffusers' own pipeline, and the config of its scheduler."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(str(folder))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, pipeline.scheduler.config


def test_a_batch_of_one_and_of_eight_give_the_same_pictures(pipe: EmotionPipeline) -> None:
    one = pipe("a dog", num_images_per_prompt=8, num_inference_steps=3, batch=1).images
    eight = pipe("a dog", num_images_per_prompt=8, num_inference_steps=3, batch=8).images
    gaps = [np.abs(np.asarray(a, int) - np.asarray(b, int)).max() for a, b in zip(one, eight, strict=True)]
    assert max(gaps) <= 1
    assert np.abs(np.asarray(one[0], int) - np.asarray(one[1], int)).max() > 5


@pytest.mark.parametrize("name", ["EulerAncestralDiscreteScheduler", "DDPMScheduler"])
def test_a_stochastic_solver_draws_from_its_image_s_seed(
    name: str, pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load_table", lambda kind, sampler: {"scheduler": name, "label": name})
    both = pipe("a dog", num_images_per_prompt=2, num_inference_steps=4, seed=5, batch=2).images
    torch.manual_seed(1)
    alone = pipe("a dog", num_inference_steps=4, seed=6).images[0]
    assert np.abs(np.asarray(alone, int) - np.asarray(both[1], int)).max() <= 1
    assert np.abs(np.asarray(alone, int) - np.asarray(both[0], int)).max() > 5


@pytest.mark.filterwarnings("ignore:the sampler .* is made for")
@pytest.mark.parametrize("sampler", registry.list_names("samplers"))
def test_every_sampler_equals_diffusers_own_pipeline(sampler: str, pipe: EmotionPipeline, theirs: Any) -> None:
    table = registry.load_table("samplers", sampler)
    pipeline, config = theirs
    pipeline.scheduler = getattr(diffusers, table["scheduler"]).from_config(config, **table.get("settings", {}))
    call: dict[str, Any] = {"generator": seeds.torch_generator(4, "sampler"), "output_type": "np"}
    call["latents"] = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(4))
    if sampler == "tcd":
        call["eta"] = 0.3  # the scheduler's own; the pipeline says 0
    made = pipeline("a dog", negative_prompt="a cat", num_inference_steps=6, guidance_scale=3.0, **call)
    ours = pipe(
        "a dog", negative_prompt="a cat", num_inference_steps=6, guidance_scale=3.0, seed=4, sampler=sampler
    ).images[0]
    assert np.abs(np.asarray(ours, int) - 255 * made.images[0]).max() <= 0.5 + 1e-3 * 255


@pytest.mark.parametrize("sampler", registry.list_names("samplers"))
def test_the_same_call_twice_and_rows_alone(sampler: str, pipe: EmotionPipeline) -> None:
    """The same bits again, whatever torch's own stream has drawn; a row of a batch of eight is the row alone."""
    rows = pipe.plan("a dog", num_images_per_prompt=8, num_inference_steps=3, sampler=sampler, seed=2)
    torch.manual_seed(1)
    *_, first = pipe.denoise(rows)
    torch.manual_seed(2)
    *_, again = pipe.denoise(rows)
    assert torch.equal(first, again)
    *_, alone = pipe.denoise(rows[5:6])
    assert (first[5] - alone[0]).abs().max() <= 1e-2 * float(first.max() - first.min())
    assert (first[5] - first[4]).abs().max() > 0.1


@pytest.mark.parametrize("sampler", registry.list_names("samplers"))
def test_a_single_step_is_enough_for_numbers(sampler: str, pipe: EmotionPipeline) -> None:
    *_, x = pipe.denoise(pipe.plan("a dog", num_inference_steps=1, sampler=sampler))
    assert x.isfinite().all()


NAMES = {
    "DPM++ 2M": "dpm++",
    "DPM++ 2M Karras": "dpm++_karras",
    "DPM++ SDE": "dpm++_sde",
    "DPM++ SDE Karras": "dpm++_sde_karras",
    "DPM++ 2M SDE": "dpm++_2m_sde",
    "Euler": "euler",
    "Euler a": "euler_a",
    "Heun": "heun",
    "DDIM": "ddim",
    "PLMS": "pndm",
    "UniPC": "unipc",
    "LCM": "lcm",
    "TCD": "tcd",
    "dpmpp_2m": "dpm++",
    "euler_ancestral": "euler_a",
    "dpm++-karras": "dpm++_karras",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_answers_to_what_others_call_it(name: str, pipe: EmotionPipeline) -> None:
    assert pipe.plan("a dog", sampler=name)[0].sampler == NAMES[name]
    assert read_call("generate", ["a dog", "--sampler", name]).given["sampler"] == NAMES[name]


def test_a_schedule_that_is_named_apart_chooses_the_sampler() -> None:
    """As newer versions of A1111 write it."""
    text = "a\nSteps: 20, Sampler: DPM++ 2M, Schedule type: {}, CFG scale: 7, Seed: 1, Size: 64x64"
    found = parse_a1111_text(text.format("Karras"))
    assert (found.fields["sampler"], found.rest) == ("dpm++_karras", {})
    found = parse_a1111_text(text.format("Automatic"))
    assert (found.fields["sampler"], found.rest) == ("dpm++", {"Schedule type": "Automatic"})


def test_few_step_samplers_say_what_they_are_made_for(pipe: EmotionPipeline) -> None:
    [remark] = pipe.row_remarks(pipe.plan("a dog", sampler="lcm", guidance_scale=7.0))
    assert "guidance scales from 1 to 2" in remark
    assert pipe.row_remarks(pipe.plan("a dog", sampler="lcm", guidance_scale=1.5)) == []
    with pytest.raises(UsageError, match="the sampler tcd takes from 1 to 50 of them"):
        next(pipe.denoise(pipe.plan("a dog", sampler="tcd", num_inference_steps=51)))


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_a_base_that_predicts_otherwise_answers_in_eps(prediction: str, tmp_path: Path, folder: Path) -> None:
    other = DiffusionModel.load(str(tiny.make(tmp_path / "other", prediction=prediction)))
    eps = DiffusionModel.load(str(folder))
    x, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    with torch.no_grad():
        raw, answer = (b.predict_noise(x, t, b.encode_condition(["a"])) for b in (eps, other))
    alphabar = other.noise_process.alphas_cumprod[300]
    if prediction == "sample":
        torch.testing.assert_close(other.noise_process.add_noise(raw, answer, t), x)
    else:
        torch.testing.assert_close(answer, alphabar.sqrt() * raw + (1 - alphabar).sqrt() * x)


STOCK = {"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}


@pytest.mark.parametrize(
    "more",
    [
        {"beta_schedule": "scaled_linear"},
        {"beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "scaled_linear", "trained_betas": [0.001, 0.002, 0.004]},
    ],
    ids=str,
)
def test_the_noise_is_as_diffusers_has_it(more: dict[str, Any]) -> None:
    config = {"_class_name": "PNDMScheduler", **STOCK, **more}
    process = read_noise_process(config, Path("base"))
    theirs = diffusers.DDIMScheduler.from_config({**STOCK, **more}).alphas_cumprod
    assert process.prediction == "epsilon"
    torch.testing.assert_close(process.alphas_cumprod, theirs, rtol=1e-5, atol=0)


def test_the_noise_of_the_stock_schedule_keeps_its_bits() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    expected = torch.cumprod(1 - betas, 0).float()
    for place in (registry.HOME / "diffusion/bases/sd15", registry.package_folder("bases", "mini") / "weights/base"):
        config = json.loads((place / "scheduler/scheduler_config.json").read_text())
        assert torch.equal(read_noise_process(config, Path(place)).alphas_cumprod, expected)


@pytest.mark.parametrize("more", [{"prediction_type": "score"}, {"rescale_betas_zero_snr": True}], ids=str)
def test_a_base_that_can_say_no_eps_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"some/base .*give another base"):
        read_noise_process({**STOCK, "beta_schedule": "scaled_linear", **more}, Path("some/base"))


def test_generate_writes_rows_that_make_the_pictures_again(pipe: EmotionPipeline, folder: Path, tmp_path: Path) -> None:
    call = {
        "base": str(folder),
        "method": "none",
        "emotion": ["awe", "fear"],
        "num_images_per_prompt": 2,
        "seed": 3,
        "num_inference_steps": 2,
    }
    out = emoscene.generate("a dog", out=tmp_path / "out", **call)
    rows = [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["awe-0003.png", "awe-0004.png", "fear-0003.png", "fear-0004.png"]
    row = read_params(out / "fear-0004.png")
    [(_, again)] = pipe.generate([row])
    from PIL import Image

    with Image.open(out / "fear-0004.png") as kept:
        assert np.abs(np.asarray(kept, int) - np.asarray(again, int)).max() <= 1
        assert "Seed: 4" in kept.text["parameters"]


def test_generate_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    call = {
        "base": str(folder),
        "emotion": "awe",
        "num_images_per_prompt": 4,
        "num_inference_steps": 2,
        "batch": 1,
        "out": tmp_path / "out",
    }

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        emoscene.generate("a dog", on_progress=interrupt, **call)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert len(kept) == 2
    seen = []
    emoscene.generate("a dog", on_progress=lambda done, total: seen.append(done), **call)
    assert seen == [3, 4]
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == time for name, time in kept.items())
    with pytest.raises(UsageError, match="another call"):
        emoscene.generate("a cat", **call)


def test_someones_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="did not make"):
        emoscene.generate("a dog", base=str(folder), out=tmp_path, num_inference_steps=1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_words_that_are_off_name_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError, match="lora"):
        emoscene.load(str(folder), method="lorra")
    with pytest.raises(UsageError, match="mini"):
        emoscene.load("minni")
    with pytest.raises(UsageError, match="no lora of its own"):
        emoscene.load(str(folder), method="lora")
    pipe = emoscene.load(str(folder))
    with pytest.raises(UsageError, match=r"sampler.*dpm"):
        pipe("a", sampler="dpm")
    for name in ("emotion_scale", "guidance_scale"):
        for number in (float("nan"), float("inf"), float("-inf")):
            with pytest.raises(UsageError, match=name):
                pipe.plan("a", **{name: number})
            with pytest.raises(UsageError, match="guidance_interval"):
                pipe.plan("a", guidance_interval=(0.0, number))
    with pytest.raises(UsageError, match="num_inference_steps=0 is out of range: it goes from 1 to 999"):
        pipe.plan("a", num_inference_steps=0)
    with pytest.raises(UsageError, match="no setting 'lexicn': did you mean 'lexicon'"):
        emoscene.load(str(folder), method="prompt", lexicn="x.toml")
    with pytest.raises(UsageError, match="no setting 'classifier_scale'"):
        emoscene.load(str(folder), classifier_scale=3)
    with pytest.raises(UsageError, match=r"multiples of 16, and 4 megapixels at most"):
        pipe("a", width=100)
    with pytest.raises(UsageError, match="did you mean 'awe'"):
        pipe("a", emotion="aw")


def test_samplers_have_one_list() -> None:
    names = registry.list_names("samplers")
    assert set(names) == set(NAMES.values())
    lists = load_verb("generate").options["sampler"].choices, page.OPTIONS["sampler"].choices
    assert all(list(one) == names for one in lists)
    for name in names:
        label = GenerationParams(sampler=name).to_a1111_text().split("Sampler: ")[1].split(",")[0]
        assert NAMES[label] == name
    assert "Sampler: deis," in GenerationParams(sampler="deis").to_a1111_text()  # a row of a package that is gone


def test_a_sampler_that_is_off_leaves_no_folder(folder: Path, tmp_path: Path) -> None:
    for off in ({"sampler": "dpm"}, {"emotion_scale": float("inf")}):
        with pytest.raises(UsageError):
            emoscene.generate("a dog", base=str(folder), num_inference_steps=1, out=tmp_path / "out", **off)
        assert not (tmp_path / "out").exists()


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EmosceneError, match=r"hf download nobody/nothing.*--base mini"):
        DiffusionModel.load("nobody/nothing")


def test_a_damaged_weight_file_is_named(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "base")
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(EmosceneError, match="unet is damaged"):
        DiffusionModel.load(str(folder))


@pytest.mark.parametrize("text", ["", '{"beta_start": ', None])
def test_a_damaged_schedule_is_named(text: str | None, tmp_path: Path) -> None:
    file = tiny.make(tmp_path / "base") / "scheduler/scheduler_config.json"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(
        EmosceneError, match=r"scheduler_config\.json (is damaged|cannot be read) \(.*\): fetch or install it"
    ):
        DiffusionModel.load(str(tmp_path / "base"))


def test_a_long_prompt_is_told_and_the_emotion_is_not_what_is_cut(pipe: EmotionPipeline, folder: Path) -> None:
    worded = emoscene.load(str(folder), method="prompt")
    long = "dog " * 60
    with pytest.warns(UserWarning, match="its end is not read"):
        worded(long, emotion="awe", num_inference_steps=1)
    awe, fear = (
        worded.chain.condition(worded.base.encode_condition([long], row)).prompt_embeds
        for row in torch.eye(8)[[1, 6], None]
    )
    assert (awe - fear).abs().max() > 1e-3
    assert pipe.remarks("a dog") == []


def spied(pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples the UNet sees at each step."""
    seen: list[int] = []
    predict = pipe.base.predict

    def spy(x_t: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(len(x_t))
        return predict(x_t, *rest)

    monkeypatch.setattr(pipe.base, "predict", spy)
    return seen


def test_guidance_rests_outside_its_interval(pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(pipe, monkeypatch)
    call = {"num_inference_steps": 8, "guidance_scale": 30.0, "sampler": "ddim"}
    whole, narrow, never, plain = (
        np.asarray(next(pipe.generate(pipe.plan("a dog", **call | more)))[1], int)
        for more in (
            {"guidance_interval": (0.0, 1.0)},
            {"guidance_interval": (0.3, 0.6)},
            {"guidance_interval": (1.0, 1.0)},
            {"guidance_scale": 1.0},
        )
    )
    levels = samplers.make_scheduler(pipe.base, "ddim", 8).timesteps / 1000
    inside = ((levels >= 0.3) & (levels <= 0.6)).tolist()
    assert 0 < sum(inside) < 8
    assert seen == [2] * 8 + [1 + one for one in inside] + [1] * 16
    assert np.array_equal(never, plain)
    assert min(np.abs(narrow - other).max() for other in (whole, plain)) > 1


def test_rows_with_other_intervals_are_not_painted_at_once(
    pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(pipe, monkeypatch)
    rows = [
        *pipe.plan("a dog", num_inference_steps=1, num_images_per_prompt=2),
        *pipe.plan("a dog", num_inference_steps=1, guidance_interval=(0, 0.5), num_images_per_prompt=3),
    ]
    assert [row.guidance_interval[1] for row, _ in pipe.generate(rows)] == [1.0] * 2 + [0.5] * 3
    assert seen == [4, 3]
    with pytest.raises(UsageError, match=r"guidance_interval=0.9 0.2 is off: 0.9 is above 0.2"):
        pipe.plan("a dog", guidance_interval=(0.9, 0.2))


def test_fast_takes_a_third_of_the_stock_passes(pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spied(pipe, monkeypatch)
    passes = {}
    for name in ("fast", "best"):
        options = read_call("generate", ["a dog", "--recipe", name]).given
        assert read_call("evaluate", ["--recipe", name, "--out", "o"]).given.items() - {("out", "o")} < options.items()
        seen.clear()
        pipe(guidance_scale=3.0, **options)
        passes[name] = sum(seen)
    stock = len(samplers.remaining_timesteps(samplers.make_scheduler(pipe.base, "pndm", 50))) * 2
    assert stock == 102
    assert 3 * passes["fast"] <= stock
    assert passes["fast"] < passes["best"] <= stock

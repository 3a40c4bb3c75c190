"""Editing: what is kept of a picture, at every size and by every sampler."""

import copy
import dataclasses
import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import emoscene
import tiny
from emoscene.core import registry, run_dir
from emoscene.core.errors import UsageError
from emoscene.core.images import open_image, read_params
from emoscene.core.request import DEFAULT_STRENGTH
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import to_tensor
from emoscene.encoders.captioner import MARKS, Captioner
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.learning import learner as learners
from emoscene.pipeline import image_inputs, pipeline, samplers
from emoscene.pipeline.pipeline import EmotionPipeline


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


@pytest.fixture(scope="module")
def pipe(base: DiffusionModel) -> EmotionPipeline:
    return EmotionPipeline(base, {})


def painted(wide: int = 64, high: int = 64, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((wide, high), Image.Resampling.BICUBIC)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int64)


@pytest.mark.filterwarnings("ignore:a denoising strength of 0")
def test_all_kept_is_decoded_as_encoded(pipe: EmotionPipeline) -> None:
    [image] = pipe("a dog", image=painted(), strength=0.0, num_inference_steps=3).images
    [expected] = pipeline.to_pil(pipe.base.decode_latents(pipe.base.encode_images(to_tensor([painted()]))))
    assert np.array_equal(pixels(image), pixels(expected))


@pytest.mark.parametrize("sampler", registry.list_names("samplers"))
def test_nothing_kept_is_a_plain_generation(sampler: str, pipe: EmotionPipeline) -> None:
    call = {"seed": 4, "num_inference_steps": 3, "sampler": sampler, "guidance_scale": 2.0}
    [edited] = pipe("a dog", image=painted(), strength=1.0, **call).images
    [plain] = pipe("a dog", **call).images
    assert np.array_equal(pixels(edited), pixels(plain))


@pytest.mark.parametrize(("keep", "count"), [(0.0, 10), (0.25, 8), (0.5, 5), (0.7, 3), (0.9, 1), (1.0, 0)])
def test_the_last_steps_are_run(keep: float, count: int, pipe: EmotionPipeline) -> None:
    [row] = pipe.plan("a dog", image=painted(), strength=1 - keep, num_inference_steps=10)
    assert image_inputs.num_steps_run(row) == count
    assert len(list(pipe.denoise([row]))) == max(1, count)


@pytest.mark.parametrize("sampler", registry.list_names("samplers"))
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_perfect_prediction_brings_the_picture_back(sampler: str, count: int, base: DiffusionModel) -> None:
    """With the noise that is in x_t predicted at every pass, any level that it was noised to leads back to x_0."""
    solver = samplers.make_scheduler(base, sampler, 6)
    process = base.noise_process
    draw = torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(2, 4, 8, 8, generator=draw), torch.randn(2, 4, 8, 8, generator=draw)
    x = samplers.noise_to_level(solver, x_0, noise, samplers.keep_last_steps(solver, count))
    assert (x - x_0).abs().mean() > 0.01
    assert len(samplers.remaining_timesteps(solver).unique()) == count
    for t in samplers.remaining_timesteps(solver):
        x_t = samplers.scale_input(solver, x, t)
        there = (x_t - process.signal_level(t) * x_0) / process.noise_level(t)
        x = solver.step(there, t, x, return_dict=False)[0]
    alphabar = base.noise_process.alphas_cumprod[0]
    assert (x - x_0).abs().max() < 1.5 * float((1 - alphabar).sqrt()) * noise.abs().max()


@pytest.mark.parametrize("sampler", ["dpm++", "dpm++_karras", "ddim", "euler", "heun", "unipc"])
def test_without_noise_of_its_own_it_equals_diffusers_pipeline(
    sampler: str, pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    monkeypatch.setattr(image_inputs, "OWN", 0.0)
    theirs = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(str(pipe.base.folder))
    theirs.set_progress_bar_config(disable=True)
    table = registry.load_table("samplers", sampler)
    theirs.scheduler = getattr(diffusers, table["scheduler"]).from_config(
        theirs.scheduler.config, **table.get("settings", {})
    )
    latent = pipe.base.encode_images(to_tensor([painted()])) / pipe.base.vae.config.scaling_factor
    call = {"negative_prompt": "a cat", "num_inference_steps": 8, "guidance_scale": 3.0, "strength": 0.5}
    noise = torch.Generator().manual_seed(4)
    made = theirs("a dog", image=latent * pipe.base.vae.config.scaling_factor, generator=noise, **call)
    asked = {"negative_prompt": "a cat", "num_inference_steps": 8, "guidance_scale": 3.0, "seed": 4, "sampler": sampler}
    [ours] = pipe("a dog", image=painted(), strength=0.5, **asked).images
    assert np.abs(pixels(ours) - pixels(made.images[0])).max() <= 1


@pytest.mark.parametrize("sampler", ["dpm++", "euler"])
def test_from_its_own_noise_a_picture_comes_back(
    sampler: str, pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent, lost = pipe.base.encode_images(to_tensor([painted()])), {}
    for share in (0.0, 0.8, 1.0):
        monkeypatch.setattr(image_inputs, "OWN", share)
        rows = pipe.plan(
            "a dog", image=painted(), strength=0.8, num_inference_steps=40, guidance_scale=1.0, sampler=sampler
        )
        *_, x = pipe.denoise(rows)
        lost[share] = float((x - latent).abs().mean())
    assert lost[1.0] < 0.1 * lost[0.0]
    assert lost[1.0] < lost[0.8] < lost[0.0]


def test_seeds_differ_in_what_is_not_the_pictures_own(pipe: EmotionPipeline) -> None:
    one, other = pipe("a dog", image=painted(), strength=0.8, num_inference_steps=4, num_images_per_prompt=2).images
    assert (pixels(one) != pixels(other)).any()


def test_more_kept_is_nearer(pipe: EmotionPipeline) -> None:
    latent = pipe.base.encode_images(to_tensor([painted()]))
    gaps = []
    for keep in (0.1, 0.5, 0.9):
        *_, x = pipe.denoise(
            pipe.plan("a dog", image=painted(), strength=1 - keep, num_inference_steps=10, guidance_scale=1.0)
        )
        gaps.append(float((x - latent).abs().mean()))
    assert gaps[0] > gaps[1] > gaps[2] > 0


def test_a_mixed_batch_is_its_rows_alone(pipe: EmotionPipeline) -> None:
    rows = [
        pipe.plan("a dog", image=painted(), strength=0.5, num_inference_steps=4, guidance_scale=3.0)[0],
        pipe.plan("a cat", image=painted(seed=1), strength=0.5, num_inference_steps=4, guidance_scale=3.0, seed=7)[0],
        pipe.plan("a cat", image=painted(seed=1), strength=0.1, num_inference_steps=4, guidance_scale=3.0, seed=7)[0],
        pipe.plan("a cat", num_inference_steps=4, guidance_scale=3.0, seed=7)[0],
    ]
    together = [image for _, image in pipe.generate(rows)]
    alone = [image for row in rows for _, image in pipe.generate([row])]
    assert max(np.abs(pixels(a) - pixels(b)).max() for a, b in zip(together, alone, strict=True)) <= 1


@pytest.mark.parametrize(
    ("size", "asked", "framed"),
    [
        ((64, 64), None, (64, 64)),
        ((100, 75), None, (100, 75)),
        ((75, 100), None, (75, 100)),
        ((128, 128), None, (128, 128)),
        ((4000, 3000), None, (4000, 3000)),
        ((40, 20), None, (40, 20)),
        ((200, 50), 64, (128, 32)),
        ((200, 50), (96, 64), (96, 64)),
        ((1, 1), None, (1, 1)),
    ],
)
def test_the_framing_stays(size: tuple[int, int], asked: object, framed: tuple[int, int], base: DiffusionModel) -> None:
    assert image_inputs.output_size(base, size, asked) == framed
    worked = image_inputs.working_size(base, framed)
    if asked is None:
        worked = image_inputs.working_size(base, image_inputs.bound_edit(base, framed))
    assert image_inputs.check_size(base, worked) == worked


@pytest.mark.filterwarnings("ignore:a denoising strength of 0 is no step")
def test_any_size_and_orientation_comes_back(pipe: EmotionPipeline, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    painted(100, 75).save(tmp_path / "lying.jpg", exif=exif)
    result = pipe("a dog", image=tmp_path / "lying.jpg", strength=0.0, num_inference_steps=2)
    assert result.images[0].size == result.params[0].size == (75, 100)
    direct = pipe("a dog", image=open_image(tmp_path / "lying.jpg"), strength=0.0, num_inference_steps=2).images[0]
    assert np.array_equal(pixels(result.images[0]), pixels(direct))
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    white = Image.new("RGB", (64, 64), "white")
    seen = [pipe("a dog", image=picture, strength=0.0, num_inference_steps=2).images[0] for picture in (clear, white)]
    assert np.array_equal(pixels(seen[0]), pixels(seen[1]))


def test_a_row_is_enough_to_make_it_again(base: DiffusionModel, tmp_path: Path) -> None:
    painted().save(tmp_path / "lake.png")
    call = {
        "base": str(base.folder),
        "image": tmp_path / "lake.png",
        "strength": 0.5,
        "num_inference_steps": 4,
        "seed": 3,
    }
    told: list[str] = []
    out = emoscene.generate("a dog", out=tmp_path / "out", on_message=told.append, **call)
    row = read_params(out / "base-0003.png")
    assert (row.image, row.strength, row.size) == (str(tmp_path / "lake.png"), 0.5, (64, 64))
    assert json.loads((out / "images.jsonl").read_text())["image"] == row.image
    [(_, again)] = EmotionPipeline(base, {}).generate([row])
    with Image.open(out / "base-0003.png") as kept:
        assert np.abs(pixels(kept) - pixels(again)).max() <= 1
        assert "Denoising strength: 0.5" in kept.text["parameters"]
    assert told == ["generating on cpu in float32 (no accelerator is found here; a CPU's default)"]
    painted(seed=1).save(tmp_path / "lake.png")
    with pytest.raises(UsageError, match="not the image that it was"):
        list(EmotionPipeline(base, {}).generate([row]))
    with pytest.raises(UsageError, match="another call"):
        emoscene.generate("a dog", out=tmp_path / "out", **call)
    (tmp_path / "lake.png").unlink()
    with pytest.raises(UsageError, match="is not there"):
        list(EmotionPipeline(base, {}).generate([row]))


def test_what_is_done_with_a_picture_is_told(base: DiffusionModel, tmp_path: Path) -> None:
    painted(300, 200).save(tmp_path / "wide.png")
    told: list[str] = []
    call = {
        "base": str(base.folder),
        "image": tmp_path / "wide.png",
        "num_inference_steps": 2,
        "on_message": told.append,
    }
    out = emoscene.generate("a dog", out=tmp_path / "out", **call)
    assert told[1:] == [f"{tmp_path / 'wide.png'} is 300x200 pixels, is worked on at 160x112 and comes back as 300x200"]
    with Image.open(out / "base-0000.png") as kept:
        assert kept.size == (300, 200)
    assert read_params(out / "base-0000.png").strength == DEFAULT_STRENGTH == 0.75


def test_words_that_are_off(pipe: EmotionPipeline, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(UsageError, match="cannot be read as an image"):
        emoscene.generate("a", base=str(pipe.base.folder), image=tmp_path / "notes.png", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="give the image with --image"):
        pipe("a", strength=0.5)
    for keep in (1.1, -0.1, float("nan")):
        with pytest.raises(UsageError, match=r"strength=.* is (off|out of range)"):
            pipe("a", image=painted(), strength=1 - keep)
    with pytest.raises(UsageError, match="multiples of"):
        pipe("a", image=painted(), width=100, height=64)
    with pytest.raises(UsageError, match="megapixels"):
        pipe("a", image=Image.new("RGB", (4_000_000, 1)))


class Speaker(torch.nn.Module):
    """Says one thing of every picture."""

    def caption(self, images: torch.Tensor) -> list[str]:
        assert images.shape[1:] == (3, 64, 64)
        assert images.abs().max() <= 1
        return ["a dog"] * len(images)


def test_a_caption_stands_in_for_a_missing_prompt(base: DiffusionModel, tmp_path: Path) -> None:
    pipe = EmotionPipeline(base, {})
    with pytest.raises(UsageError, match="no captioner of its own: give a PROMPT"):
        pipe(image=painted(), num_inference_steps=2)
    pipe.base = pipe.image_inputs.base = with_spec(base, captioner="somewhere")
    pipe.image_inputs.auxiliary["captioner"] = Speaker()
    captioned = pipe(image=painted(), num_inference_steps=2)
    assert captioned.params[0].prompt == "a dog"
    assert np.array_equal(
        pixels(captioned.images[0]), pixels(pipe("a dog", image=painted(), num_inference_steps=2).images[0])
    )
    assert [row.prompt for row in pipe.plan(["", "a cat"], image=painted())] == ["a dog", "a cat"]
    painted().save(tmp_path / "lake.png")
    [row] = pipe.plan(image=tmp_path / "lake.png")
    assert pipe.image_inputs.remarks(row, "") == [f"{tmp_path / 'lake.png'} shows 'a dog', and that is the prompt"]


def test_a_like_is_felt_with_the_eyes_that_the_adapter_knows(base: DiffusionModel, tmp_path: Path) -> None:
    small = {"side": 32, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "heads": 2, "vector": 8}
    clip = EmotionCLIP.from_scratch(EmotionCLIP.Config(**small), base)
    learners.save_learner(clip, "emotion_clip", tmp_path, None)
    taker = types.SimpleNamespace(columns=("vector",), history=f"made with {run_dir.fingerprint_folder(tmp_path)}")
    given = image_inputs.ImageInputs(with_spec(base, emotion_clip=str(tmp_path)), [taker])
    weights, vector = given.read_emotion(*given.register(painted()))
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    assert vector.shape == (8,)
    for history in ("made with another", ""):
        taker.history = history
        other = image_inputs.ImageInputs(given.base, [taker])
        with pytest.raises(UsageError, match="learnt from another EmotionCLIP than that of the base"):
            other.read_emotion(*other.register(painted()))


def test_a_picture_is_opened_and_hashed_once(
    pipe: EmotionPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted().save(tmp_path / "lake.png")
    opened: list[str] = []
    known = image_inputs.read_image
    monkeypatch.setattr(image_inputs, "read_image", lambda path, enough: opened.append(path) or known(path, enough))
    pipe.image_inputs.source_fields(tmp_path / "lake.png", 0.5, None)
    assert opened == [str(tmp_path / "lake.png")]


def with_spec(base: DiffusionModel, **companions: str) -> DiffusionModel:
    """The same base, with companions."""
    other = copy.copy(base)
    other.spec = dataclasses.replace(base.spec, **companions)
    return other


def test_the_captioner_is_the_bases_own_or_anybodys_blip(base: DiffusionModel, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"side": 16, "patch": 8, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "length": 3}
    captioner = Captioner.from_scratch(Captioner.Config(words=(*MARKS, "dog", "lake"), **sizes), None).eval()
    learners.save_learner(captioner, "captioner", tmp_path, None)
    painted().save(tmp_path / "lake.png")
    own = image_inputs.ImageInputs(with_spec(base, captioner=str(tmp_path))).caption(str(tmp_path / "lake.png"))
    (tmp_path / learners.CARD).unlink()
    anybodys = image_inputs.ImageInputs(with_spec(base, captioner=str(tmp_path))).caption(str(tmp_path / "lake.png"))
    assert [own] == captioner.caption(to_tensor([painted()]))
    assert anybodys.startswith(own)  # whose length is a setting of ours

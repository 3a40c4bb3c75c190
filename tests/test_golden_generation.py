"""Generation against values that the test computes itself from the UNet, the text encoder and alphabar alone."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import tiny
from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.families.base import TextEncoding
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.methods.base import ConditioningShare, GuidanceShare, Method, MethodChain, interpolate_embeds
from emoscene.pipeline import samplers
from emoscene.pipeline.image_inputs import ImageInputs, check_size, num_steps_run, working_size
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.tuning.selector import Selector


def edit(image: Image.Image, kept: float) -> dict[str, Any]:
    """What asks for an edit that keeps this share of an image."""
    return {"image": image, "strength": 1 - kept}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


@pytest.fixture(scope="module")
def pipe(base: DiffusionModel) -> EmotionPipeline:
    return EmotionPipeline(base, {})


@pytest.fixture(scope="module")
def image() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)


def alphabars() -> Tensor:
    """Stable Diffusion's: the product of 1 - beta, whose roots are evenly spaced."""
    product, found = 1.0, []
    for step in range(1000):
        root = 0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * step / 999
        product *= 1 - root**2
        found.append(product)
    return torch.tensor(found, dtype=torch.float64)


def text_of(base: DiffusionModel, prompt: str) -> Tensor:
    words = base.tokenizer(prompt, padding="max_length", max_length=77, return_tensors="pt")
    return base.text_encoder(words["input_ids"]).last_hidden_state


def noise_of(seed: int) -> Tensor:
    return torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


SOLVERS = {"ddim": "DDIMScheduler", "dpm++": "DPMSolverMultistepScheduler", "euler": "EulerDiscreteScheduler"}


def timesteps_of(sampler: str, base: DiffusionModel, steps: int) -> list[float]:
    """Those of diffusers' own scheduler."""
    config = dict(base.scheduler_config)
    solver = getattr(diffusers, SOLVERS[sampler]).from_config(config)
    solver.set_timesteps(steps)
    return [float(t) for t in solver.timesteps]


def inverted_noise(base: DiffusionModel, prompt: str, x_0: Tensor, times: list[float]) -> Tensor:
    """The noise that deterministic DDIM would have painted x_0 from: from timestep 1 up, by each of these."""
    table, text, x, at = alphabars(), text_of(base, prompt), x_0, 1.0
    for after in sorted(set(times)):
        eps = base.unet(x, torch.tensor(at), text).sample
        now, then = alphabar_at(table, at), alphabar_at(table, after)
        clean = (x - (1 - now) ** 0.5 * eps) / now**0.5
        x, at = then**0.5 * clean + (1 - then) ** 0.5 * eps, after
    level = alphabar_at(table, at)
    return (x - level**0.5 * x_0) / (1 - level) ** 0.5


def alphabar_at(table: Tensor, t: float) -> float:
    """Between whole timesteps on a line of its logarithm."""
    low = int(t)
    if low == t:
        return float(table[low])
    return float(table[low] ** (low + 1 - t) * table[low + 1] ** (t - low))


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "euler"])
@pytest.mark.parametrize(("kept", "count", "own_share"), [(0.05, 19, 0.4), (0.3, 14, 0.8), (0.9, 2, 0.8)])
@torch.no_grad()
def test_the_start_of_an_edit(
    kept: float, count: int, own_share: float, sampler: str, pipe: EmotionPipeline, image: Image.Image
) -> None:
    """x_t = sqrt(alphabar) x_0 + sqrt(1 - alphabar) (sqrt(c) eps_own + sqrt(1 - c) eps_seed), c = min(.8, 8 kept)."""
    base = pipe.base
    rows = pipe.plan(
        "a dog", **edit(image, kept), num_inference_steps=20, seed=5, num_images_per_prompt=2, sampler=sampler
    )
    solver = samplers.make_scheduler(base, sampler, 20)
    found = pipe.image_inputs.start_latents(solver, rows)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    x_0 = base.vae.encode(pixels).latent_dist.mode() * base.vae.config.scaling_factor
    times = timesteps_of(sampler, base, 20)[-count:]
    own = inverted_noise(base, "a dog", x_0, times)
    alphabar = alphabar_at(alphabars(), times[0])
    for row, seed in zip(found, (5, 6), strict=True):
        noise = own_share**0.5 * own + (1 - own_share) ** 0.5 * noise_of(seed)
        x_t = alphabar**0.5 * x_0 + (1 - alphabar) ** 0.5 * noise
        if sampler == "euler":  # its latents are x_0 + sigma eps
            x_t = x_t / alphabar**0.5
        torch.testing.assert_close(row[None], x_t.float(), rtol=2e-3, atol=2e-3)


def test_the_start_of_an_image_is_its_seeds_noise_in_the_samplers_units(pipe: EmotionPipeline) -> None:
    rows = pipe.plan("a dog", num_inference_steps=10, seed=3, num_images_per_prompt=2)
    plain = pipe.image_inputs.start_latents(samplers.make_scheduler(pipe.base, "ddim", 10), rows)
    assert torch.equal(plain, torch.cat([noise_of(3), noise_of(4)]))
    found = pipe.image_inputs.start_latents(samplers.make_scheduler(pipe.base, "euler", 10), rows)
    level = alphabar_at(alphabars(), timesteps_of("euler", pipe.base, 10)[0])
    sigma = ((1 - level) / level) ** 0.5
    torch.testing.assert_close(found, plain * sigma, rtol=1e-4, atol=1e-4)


SCALES = (1.0, 3.0, 7.5)
WORDS = (("a dog", ""), ("a cat", "a dog"), ("a tree", "the sea"))


def denoise_by_hand(
    base: DiffusionModel, prompt: str, away: str, scale: float, seed: int, steps: int
) -> list[tuple[Tensor, Tensor]]:
    """DDIM with eps = eps_u + s (eps_c - eps_u): x and x_0 after each step."""
    table, x, found = alphabars(), noise_of(seed).double(), []
    times = timesteps_of("ddim", base, steps)
    levels = [alphabar_at(table, t) for t in times] + [float(table[0])]
    for t, level, then in zip(times, levels, levels[1:], strict=False):
        eps_c = base.unet(x.float(), torch.tensor(t), text_of(base, prompt)).sample.double()
        eps_u = base.unet(x.float(), torch.tensor(t), text_of(base, away)).sample.double()
        eps = eps_u + scale * (eps_c - eps_u)
        x_0 = (x - (1 - level) ** 0.5 * eps) / level**0.5
        x = then**0.5 * x_0 + (1 - then) ** 0.5 * eps
        found.append((x, x_0))
    return found


@torch.no_grad()
def test_mixed_guidance_scales_in_a_batch_and_the_x_0_of_previews(pipe: EmotionPipeline) -> None:
    rows = []
    for place, (scale, (prompt, away)) in enumerate(zip(SCALES, WORDS, strict=True)):
        words = {"guidance_scale": scale, "negative_prompt": away}
        rows += pipe.plan(prompt, **words, seed=place, num_inference_steps=4, sampler="ddim")
    together = list(pipe.denoise_with_x0(rows))
    latents = list(pipe.denoise(rows))
    assert len(together) == len(latents) == 4
    for place, (scale, (prompt, away)) in enumerate(zip(SCALES, WORDS, strict=True)):
        expected = denoise_by_hand(pipe.base, prompt, away, scale, place, 4)
        alone = list(pipe.denoise_with_x0(rows[place : place + 1]))
        for step in range(4):
            for part in (0, 1):
                wanted = expected[step][part][0].float()
                torch.testing.assert_close(together[step][part][place], wanted, rtol=1e-3, atol=1e-3)
                torch.testing.assert_close(alone[step][part][0], wanted, rtol=1e-3, atol=1e-3)
            assert torch.equal(latents[step], together[step][0])


@torch.no_grad()
def test_the_x_0_of_a_preview_in_the_units_of_euler(pipe: EmotionPipeline) -> None:
    """x = x_0 + sigma eps there, and the UNet sees x / sqrt(sigma^2 + 1)."""
    [row] = pipe.plan("a dog", guidance_scale=3.0, seed=2, num_inference_steps=4, sampler="euler")
    found = list(pipe.denoise_with_x0([row]))
    table, times = alphabars(), timesteps_of("euler", pipe.base, 4)
    sigmas = [((1 - alphabar_at(table, t)) / alphabar_at(table, t)) ** 0.5 for t in times] + [0.0]
    x = noise_of(2) * sigmas[0]
    for step, t in enumerate(times):
        seen = x / (sigmas[step] ** 2 + 1) ** 0.5
        eps_c = pipe.base.unet(seen, torch.tensor(t), text_of(pipe.base, "a dog")).sample
        eps_u = pipe.base.unet(seen, torch.tensor(t), text_of(pipe.base, "")).sample
        eps = eps_u + 3 * (eps_c - eps_u)
        torch.testing.assert_close(found[step][1], x - sigmas[step] * eps, rtol=3e-3, atol=3e-3)
        x = x + (sigmas[step + 1] - sigmas[step]) * eps
        torch.testing.assert_close(found[step][0], x, rtol=3e-3, atol=3e-3)


def test_both_halves_of_guidance_know_the_emotion(pipe: EmotionPipeline) -> None:
    """The positive half has scale x weights; the negative what is suppressed, its sign turned, and the same gain."""
    words = {"emotion_scale": 1.5, "guidance_scale": 2.0}
    rows = pipe.plan("a dog", emotion=[{EMOTIONS[0]: 0.8, EMOTIONS[3]: -0.4}, None], **words)
    positive, negative = pipe.encode_conditions(rows)
    weights = torch.zeros(2, 8)
    weights[0, 0], weights[0, 3] = 1.2, -0.6
    torch.testing.assert_close(positive.emotion_weights, weights)
    torch.testing.assert_close(positive.emotion_gain, torch.tensor([1.8, 0.0]))
    turned = torch.zeros(2, 8)
    turned[0, 3] = 0.6
    torch.testing.assert_close(negative.emotion_weights, turned)
    torch.testing.assert_close(negative.emotion_gain, torch.tensor([1.8, 0.0]))
    alone = pipe.plan("a dog", guidance_scale=1.0)
    assert pipe.encode_conditions(alone)[1] is None
    assert pipe.encode_conditions([*alone, *rows])[1] is not None


class Words(Method):
    """Conditions, and keeps what it was asked."""

    asked: Condition

    def condition(self, plain: Condition) -> Condition:
        self.asked = plain
        return plain


class Pull(Method):
    """Guides, and keeps what it was asked."""

    asked: Condition

    def apply_guidance(self, prediction: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.asked = condition
        return prediction + 1


@pytest.mark.parametrize(
    ("words", "pulls", "word_share", "pull_share"),
    [
        (1, 0, 1.0, None),
        (2, 0, 0.70710678, None),
        (3, 0, 0.57735027, None),
        (4, 0, 0.5, None),
        (0, 1, None, 1.0),
        (0, 2, None, 1.0),
        (1, 1, 1.0, 0.25),
        (2, 1, 0.70710678, 0.25),
        (3, 2, 0.57735027, 0.25),
    ],
)
def test_how_methods_share_the_emotion(
    words: int, pulls: int, word_share: float | None, pull_share: float | None, base: DiffusionModel
) -> None:
    methods = [Words(ConditioningShare(), base) for _ in range(words)]
    methods += [Pull(GuidanceShare(), base) for _ in range(pulls)]
    chain = MethodChain(methods)
    a = torch.zeros(1, 8)
    a[0, 2], a[0, 5] = 1.2, -0.4
    text = torch.zeros(1, 77, 32)
    found = chain.condition(Condition(text, text, a, torch.tensor([1.6]), ("a dog",)))
    noise = chain.apply_guidance(torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1), found)
    assert torch.equal(noise, torch.full((1, 4, 8, 8), float(pulls))), "each in turn"
    for method in methods:
        share = word_share if isinstance(method, Words) else pull_share
        torch.testing.assert_close(method.asked.emotion_weights, share * a)
        if isinstance(method, Words):
            torch.testing.assert_close(method.asked.emotion_gain, torch.tensor([1.6 * share]))


def test_text_moves_towards_each_emotion_as_far_as_its_weight() -> None:
    """E0 + sum_i a_i (E_i - E0), a mixture times sum |a| / sqrt(sum a^2)."""
    plain = torch.tensor([[[1.0, 2.0]], [[-1.0, 0.5]], [[3.0, 3.0]]])
    ends = {0: torch.tensor([[2.0, 0.0]]), 4: torch.tensor([[0.0, 5.0]])}
    a = torch.zeros(3, 8)
    a[0, 0], a[1, 0], a[1, 4] = 0.5, 0.6, -0.8
    asked = Condition(plain, plain, a, a.abs().sum(1), ("x", "y", "z"))
    found = interpolate_embeds(
        asked, lambda prompts, emotion: TextEncoding(torch.stack([ends[int(e)] for e in emotion]))
    )
    longer = (0.6 + 0.8) / (0.36 + 0.64) ** 0.5
    expected = [
        plain[0] + 0.5 * (ends[0] - plain[0]),
        plain[1] + longer * (0.6 * (ends[0] - plain[1]) - 0.8 * (ends[4] - plain[1])),
        plain[2],
    ]
    torch.testing.assert_close(found.prompt_embeds, torch.stack(expected))
    assert torch.equal(found.base_embeds, plain)


class Painter:
    """A pipeline that keeps what is asked of it; its images are numbers."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def plan(self, prompt: str, emotion: str | None = None, **asked: Any) -> list[int]:
        self.calls.append({"prompt": prompt, "emotion": emotion, **asked})
        return [len(self.calls) - 1]

    def generate(self, rows: list[int], batch: int = 8) -> Iterator[tuple[int, int]]:
        for row in rows:
            yield row, row


@pytest.fixture
def selector() -> Selector:
    """One that reads of image n: emotion n modulo 8 at .5, the rest shared; features of prompt n // 8."""
    made = Selector.__new__(Selector)
    made.prompts = ("a beach", "a park", "a road")

    def read(images: list[int]) -> SimpleNamespace:
        probabilities, features = np.full((len(images), 8), 0.5 / 7), np.zeros((len(images), 3))
        for place, number in enumerate(images):
            probabilities[place, number % 8] = 0.5
            features[place, number // 8] = 1.0
        return SimpleNamespace(probabilities=torch.from_numpy(probabilities), features=torch.from_numpy(features))

    made.reader = made.clip = SimpleNamespace(read=read)
    made.texts = torch.eye(3, dtype=torch.float64)
    return made


def test_the_selector_has_a_seed_for_each_prompt(selector: Selector) -> None:
    """All eight emotions of a prompt share one, a million and the prompt's place; so does the base without emotion."""
    painter = Painter()
    seen = selector.observe(painter, 5.5)
    expected = []
    for place, prompt in enumerate(["a beach", "a park", "a road"]):
        for emotion in EMOTIONS:
            expected.append({"prompt": prompt, "emotion": emotion, "seed": 1_000_000 + place})
    scales = [call.pop("guidance_scale") for call in painter.calls]
    assert painter.calls == expected
    assert scales == [5.5] * 24
    assert (seen.probability, seen.accuracy, seen.content) == pytest.approx((0.5, 1.0, 1.0))
    plain = Painter()
    selector.observe_base(plain, 5.5)
    assert [(call["prompt"], call["emotion"], call["seed"]) for call in plain.calls] == [
        ("a beach", None, 1_000_000),
        ("a park", None, 1_000_001),
        ("a road", None, 1_000_002),
    ]


def test_how_many_images_are_kept_in_memory(base: DiffusionModel) -> None:
    """Sixty-four: the oldest goes first."""
    inputs = ImageInputs(base)
    names = [inputs.register(Image.new("RGB", (4, 4), (number, 0, 0)))[0] for number in range(66)]
    assert list(inputs.held) == names[2:]
    for number in (2, 65):
        assert inputs.open_registered(names[number]).getpixel((1, 1)) == (number, 0, 0)


def test_sizes_end_at_four_megapixels_and_begin_at_a_latent(base: DiffusionModel) -> None:
    """The UNet halves latents of eight pixels once, so sides are multiples of sixteen."""
    assert check_size(base, None) == (64, 64)
    assert check_size(base, (2000, 2000)) == (2000, 2000)
    assert check_size(base, 16) == (16, 16)
    assert check_size(base, (16, 32)) == (16, 32)
    for size in ((2000, 2016), (8, 64), (64, 8), (64, 72), (72, 64)):
        with pytest.raises(UsageError, match="multiples of 16, and 4 megapixels at most"):
            check_size(base, size)
    assert working_size(base, (1, 7)) == (16, 16)
    assert working_size(base, (25, 55)) == (32, 48)


def test_an_image_is_read_once_for_its_emotion(base: DiffusionModel) -> None:
    """Eight probabilities of four decimals, and the vector as it is; asked again, the same without reading."""
    inputs, seen = ImageInputs(base), []
    likely = [0.123456, 0.2, 0.3, 0.1, 0.1, 0.1, 0.05, 0.026544]

    def encode(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(images)
        return torch.tensor([likely]), torch.tensor([[0.6, 0.8]])

    inputs._auxiliary = lambda kind: SimpleNamespace(encode=encode)
    name, digest = inputs.register(Image.new("RGB", (8, 8)))
    for _ in range(2):
        weights, vector = inputs.read_emotion(name, digest)
        assert weights == (0.1235, 0.2, 0.3, 0.1, 0.1, 0.1, 0.05, 0.0265)
        assert vector.tolist() == pytest.approx([0.6, 0.8])
    assert len(seen) == 1


def test_an_adapter_is_given_vectors_of_the_emotion_clip_that_it_knows(base: DiffusionModel, tmp_path: Path) -> None:
    """Another's are refused; without an EmotionCLIP, or of an adapter that was not loaded, nothing is asked."""
    (tmp_path / "clip.txt").write_text("weights")
    mark = run_dir.fingerprint_folder(tmp_path)
    takers = {
        "knows": SimpleNamespace(columns=("vector",), history=f"from {mark}"),
        "knows another": SimpleNamespace(columns=("vector",), history="from elsewhere"),
        "takes none": SimpleNamespace(columns=("latent",), history="from elsewhere"),
        "is new": SimpleNamespace(columns=("vector",), history=None),
    }
    for place in (str(tmp_path), ""):
        for name, taker in takers.items():
            asked = SimpleNamespace(name="tiny", auxiliary_model=lambda kind, place=place: place)
            inputs = ImageInputs(asked, [takers["knows"], taker])
            if name == "knows another" and place:
                with pytest.raises(UsageError, match="learnt from another EmotionCLIP than that of the base 'tiny'"):
                    inputs._check_emotion_clip()
            else:
                inputs._check_emotion_clip()


def test_a_companion_sees_at_most_512_pixels(base: DiffusionModel) -> None:
    inputs, seen = ImageInputs(base), []

    def caption(images: Tensor) -> list[str]:
        seen.append(images)
        return ["a dog"]

    inputs._auxiliary = lambda kind: SimpleNamespace(caption=caption)
    for size in ((1024, 512), (100, 50)):
        name, _ = inputs.register(Image.new("RGB", size, (255, 0, 255)))
        assert inputs.caption(name) == "a dog"
        assert inputs.open_registered(name).size == size
    assert [tuple(images.shape) for images in seen] == [(1, 3, 256, 512), (1, 3, 50, 100)]
    assert seen[0][0, :, 5, 5].tolist() == [1.0, -1.0, 1.0]


def test_an_edit_without_a_word_keeps_a_quarter(pipe: EmotionPipeline, image: Image.Image) -> None:
    [row] = pipe.plan("a dog", image=image, num_inference_steps=20)
    [asked] = pipe.plan("a dog", **edit(image, 0.25), num_inference_steps=20)
    assert row == asked
    assert num_steps_run(row) == 15


def test_images_share_a_batch_of_eight_where_nothing_forbids_it(
    pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def paint(rows: list[Any]) -> list[Image.Image]:
        sizes.append(len(rows))
        return [Image.new("RGB", (64, 64), (row.seed, 0, 0)) for row in rows]

    monkeypatch.setattr(pipe, "_generate_group", paint)
    rows = pipe.plan("a dog", num_images_per_prompt=19, num_inference_steps=2) + pipe.plan(
        "a dog", num_images_per_prompt=3, num_inference_steps=3
    )
    drawn = list(pipe.generate(rows))
    assert sizes == [8, 8, 3, 3]
    assert [row.seed for row, _ in drawn] == [*range(19), *range(3)]
    assert [image.getpixel((0, 0))[0] for _, image in drawn] == [row.seed for row in rows]
    assert all(row.seconds is not None and 0 <= row.seconds < 60 for row, _ in drawn)
    sizes.clear()
    assert len(pipe("a dog", num_images_per_prompt=9, num_inference_steps=2).images) == 9
    assert sizes == [8, 1]


def test_what_is_not_said_has_a_default(pipe: EmotionPipeline) -> None:
    [row] = pipe.plan("a dog")
    assert (row.seed, row.emotion, row.size, row.image, row.emotion_image) == (0, (0.0,) * 8, (64, 64), None, None)
    assert row.emotion_scale == 1
    assert row.guidance_scale == pipe.base.spec.guidance_scale


@pytest.mark.parametrize("steps", [1, 999])
def test_from_one_step_to_one_less_than_the_timesteps(steps: int, base: DiffusionModel) -> None:
    assert len(samplers.make_scheduler(base, "ddim", steps).timesteps) == steps
    for wrong in (0, 1000):
        with pytest.raises(UsageError, match=f"steps={wrong} is off: .* from 1 to 999 of them"):
            samplers.make_scheduler(base, "ddim", wrong)


def test_a_strangers_row_is_not_painted_at_any_size(pipe: EmotionPipeline) -> None:
    [row] = pipe.plan("a dog", num_inference_steps=2)
    solver = samplers.make_scheduler(pipe.base, "ddim", 2)
    with pytest.raises(UsageError, match="4 megapixels at most"):
        pipe.image_inputs.start_latents(solver, [dataclasses.replace(row, width=2048, height=2048)])


def test_a_warning_points_at_the_callers_line(pipe: EmotionPipeline) -> None:
    """A prompt of 80 letters is longer than the text encoder's 75; of a very long one 2,000 tokens are counted."""
    for length, counted in ((80, 80), (1000, 1000)):
        with pytest.warns(UserWarning, match=f"the prompt is {counted} tokens long and none has room for 75") as seen:
            pipe(" ".join("a" * length), num_inference_steps=2, sampler="ddim")
        assert [Path(warning.filename).name for warning in seen] == [Path(__file__).name]


@torch.no_grad()
def test_guidance_acts_at_all_noise_levels_unless_told(pipe: EmotionPipeline) -> None:
    [row] = pipe.plan("a dog", guidance_scale=3.0, num_inference_steps=3, sampler="ddim")
    positive, negative = pipe.encode_conditions([row])
    solver = samplers.make_scheduler(pipe.base, "ddim", 3)
    start = pipe.image_inputs.start_latents(solver, [row])
    found = list(samplers.sample(pipe.base, pipe.chain, positive, negative, start, solver, [row]))
    expected = denoise_by_hand(pipe.base, "a dog", "", 3.0, 0, 3)
    for (x, x_0), (wanted, wanted_0) in zip(found, expected, strict=True):
        torch.testing.assert_close(x, wanted.float(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(x_0, wanted_0.float(), rtol=1e-3, atol=1e-3)

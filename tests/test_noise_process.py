"""Noise processes on a world that can be solved by hand: two clouds of numbers, of which one is asked for."""

import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import emoscene
import tiny
from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.diffusion.model import DiffusionModel
from emoscene.diffusion.noise_process import NoiseProcess, read_noise_process
from emoscene.pipeline.samplers import make_scheduler

STOCK = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
CONFIGS = {
    "epsilon": STOCK,
    "v": STOCK | {"prediction_type": "v_prediction"},
    "sample": STOCK | {"prediction_type": "sample"},
    "v, zero SNR": STOCK | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    "sample, zero SNR": STOCK | {"prediction_type": "sample", "rescale_betas_zero_snr": True},
    "flow": FLOW,
}
MEANS, SPREAD = torch.tensor([1.0, -1.0], dtype=torch.float64), 0.3
TIMES = torch.tensor([20.0, 300.5, 700.0, 990.0])


@pytest.fixture(params=CONFIGS)
def process(request: pytest.FixtureRequest) -> NoiseProcess:
    return read_noise_process(CONFIGS[request.param], Path("base"))


def levels(process: NoiseProcess, t: Tensor) -> tuple[Tensor, Tensor]:
    return process.signal_level(t).double().flatten(), process.noise_level(t).double().flatten()


def predict(process: NoiseProcess, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """What a perfect network answers, from what it is sure of, written out for each process."""
    signal, noise = levels(process, t)
    return {
        "epsilon": eps,
        "v_prediction": signal * eps - noise * x_0,
        "sample": x_0,
        "flow_prediction": eps - x_0,
    }[process.prediction]


def expect(signal: Tensor, noise: Tensor, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """E[x_0 | x_t] and E[eps | x_t] for x_0 ~ N(mean, SPREAD^2)."""
    variance = signal**2 * SPREAD**2 + noise**2
    gap = (x - signal * mean) / variance
    return mean + signal * SPREAD**2 * gap, noise * gap


def log_p(signal: Tensor, noise: Tensor, x: Tensor) -> Tensor:
    variance = signal**2 * SPREAD**2 + noise**2
    gaps = x[:, None] - signal[:, None] * MEANS
    return (-(gaps**2) / (2 * variance[:, None])).log_softmax(1)


def test_the_score_of_a_classifier_turns_both_clouds_into_one(process: NoiseProcess) -> None:
    """prediction of both - score_scale grad log p(first | x_t) = prediction of the first alone: Bayes' rule."""
    signal, noise = levels(process, TIMES)
    x = torch.tensor([0.8, -0.4, 0.3, 1.1], dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(log_p(signal, noise, x)[:, 0].sum(), x)[0]
    with torch.no_grad():
        share = log_p(signal, noise, x).exp()
        of_each = [expect(signal, noise, x, mean) for mean in MEANS]
        both = [share[:, 0] * first + share[:, 1] * second for first, second in zip(*of_each, strict=True)]
        unguided, alone = predict(process, *both, TIMES), predict(process, *of_each[0], TIMES)
        guided = unguided - process.score_scale(TIMES).double().flatten() * gradient
    assert (alone - unguided).abs().max() > 0.1
    torch.testing.assert_close(guided, alone, rtol=2e-4, atol=2e-4)


def test_a_prediction_is_read_back_as_what_it_was_made_of(process: NoiseProcess) -> None:
    draw = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(4, 2, 3, 3, generator=draw), torch.randn(4, 2, 3, 3, generator=draw)
    x_t, made = process.add_noise(x_0, eps, TIMES), process.target(x_0, eps, TIMES)
    signal, noise = (level.float().view(-1, 1, 1, 1) for level in levels(process, TIMES))
    torch.testing.assert_close(x_t, signal * x_0 + noise * eps)
    torch.testing.assert_close(process.to_x0(made, x_t, TIMES), x_0, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(process.to_eps(made, x_t, TIMES), eps, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(process.snr(TIMES), (signal / noise).square().flatten(), rtol=1e-4, atol=1e-6)


def test_the_loss_is_that_of_x_0_up_to_the_cap(process: NoiseProcess) -> None:
    """min(SNR, 5) (x_0 - its estimate)^2, whatever is predicted."""
    draw = torch.Generator().manual_seed(0)
    x_0, eps, wrong = (torch.randn(4, 2, 3, 3, generator=draw) for _ in range(3))
    x_t = process.add_noise(x_0, eps, TIMES)
    made = process.target(x_0, eps, TIMES) + 0.1 * wrong
    found = process.compute_loss(made, x_0, eps, TIMES, 5.0)
    errors = (process.to_x0(made, x_t, TIMES) - x_0).square().mean((1, 2, 3))
    torch.testing.assert_close(found, process.snr(TIMES).clamp(max=5) * errors, rtol=2e-3, atol=1e-6)
    weights = process.loss_weight(TIMES, 5.0)
    plain = (made - process.target(x_0, eps, TIMES)).square().mean((1, 2, 3))
    torch.testing.assert_close(found, weights * plain, rtol=1e-4, atol=1e-7)


def test_the_weight_of_v_is_diffusers_own() -> None:
    """min(SNR, gamma) / (SNR + 1), as `compute_snr` is used in diffusers' scripts for v-prediction."""
    from diffusers.training_utils import compute_snr

    process = read_noise_process(CONFIGS["v"], Path("base"))
    times = torch.tensor([0, 10, 500, 999])
    snr = compute_snr(diffusers.DDPMScheduler.from_config(STOCK), times)
    torch.testing.assert_close(process.loss_weight(times, 5.0), snr.clamp(max=5) / (snr + 1), rtol=1e-3, atol=0)


def test_zero_snr_is_as_diffusers_rescales_it() -> None:
    process = read_noise_process(CONFIGS["v, zero SNR"], Path("base"))
    theirs = diffusers.DDIMScheduler.from_config(STOCK | {"rescale_betas_zero_snr": True}).alphas_cumprod
    torch.testing.assert_close(process.alphas_cumprod, theirs, rtol=1e-4, atol=1e-7)
    assert process.alphas_cumprod[-1] == 0
    betas = (1 - theirs.double() / torch.cat([torch.ones(1), theirs[:-1]])).tolist()
    given = {**STOCK, "prediction_type": "v_prediction", "trained_betas": betas}
    same = read_noise_process(given, Path("base"))
    assert same.alphas_cumprod[-1] == 0
    torch.testing.assert_close(same.alphas_cumprod, process.alphas_cumprod, rtol=1e-3, atol=1e-7)


def test_without_any_signal_all_numbers_are_finite() -> None:
    process = read_noise_process(CONFIGS["v, zero SNR"], Path("base"))
    last, before = torch.tensor([999]), torch.tensor([998.5])
    x_0, eps = torch.full((1, 1, 1, 1), 0.7), torch.full((1, 1, 1, 1), -0.2)
    x_t = process.add_noise(x_0, eps, last)
    assert torch.equal(x_t, eps)
    v = process.target(x_0, eps, last)
    torch.testing.assert_close(process.to_x0(v, x_t, last), x_0)
    torch.testing.assert_close(process.to_eps(v, x_t, last), eps)
    assert process.score_scale(last) == 0 == process.snr(last)
    assert 0 < process.signal_level(before) < process.signal_level(torch.tensor([998]))
    assert process.compute_loss(v + 1, x_0, eps, last, 5.0) == 0


def test_a_flow_trains_where_it_is_shifted_to() -> None:
    process = read_noise_process(FLOW, Path("base"))
    theirs = diffusers.FlowMatchEulerDiscreteScheduler.from_config(FLOW)
    evenly = (torch.arange(1000) + 0.5) / 1000
    torch.testing.assert_close(process.timesteps(evenly), theirs.timesteps.flip(0), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"rescale_betas_zero_snr": True}, "can say nothing"),
        ({"trained_betas": [0.1, 0.5, 1.0]}, "can say nothing"),
        ({"trained_betas": [0.1, 1.0, 0.5]}, "no list of numbers"),
        ({"trained_betas": []}, "no list of numbers"),
        ({"prediction_type": "score"}, "one of epsilon, v_prediction, sample, flow_prediction"),
        (FLOW | {"shift": 0}, "no number above 0"),
        (FLOW | {"use_dynamic_shifting": True}, "use_dynamic_shifting"),
        (FLOW | {"num_train_timesteps": None}, "num_train_timesteps"),
    ],
    ids=str,
)
def test_a_process_that_cannot_be_read_is_refused(more: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_noise_process({**STOCK, **more}, Path("some/base"))


def load_tiny(folder: Path, config: dict) -> DiffusionModel:
    tiny.make(folder)
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    return DiffusionModel.load(str(folder))


@pytest.mark.parametrize("sampler", registry.list_names("samplers"))
def test_every_sampler_begins_at_pure_noise_and_ends_in_numbers(sampler: str, tmp_path: Path) -> None:
    """At zero SNR no solver divides by nothing, whether it can rescale betas or not."""
    config = CONFIGS["v, zero SNR"] | {"timestep_spacing": "trailing", "clip_sample": False}
    base = load_tiny(tmp_path / "base", config)
    solver = make_scheduler(base, sampler, 4)
    assert solver.timesteps[0] >= 998
    pipe = emoscene.load(str(base.folder))
    *_, x = pipe.denoise(pipe.plan("a dog", num_inference_steps=4, sampler=sampler))
    assert x.isfinite().all()
    assert x.abs().max() < 100


def test_a_flow_equals_diffusers_own_steps(tmp_path: Path) -> None:
    base = load_tiny(tmp_path / "base", FLOW)
    pipe = emoscene.load(str(base.folder))
    theirs = diffusers.FlowMatchEulerDiscreteScheduler.from_config(FLOW)
    theirs.set_timesteps(6)
    rows = pipe.plan("a dog", num_inference_steps=6, sampler="euler", guidance_scale=3.0, seed=4)
    *_, found = pipe.denoise(rows)
    x = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(4))
    positive, negative = (base.encode_prompt([words]).embeds for words in ("a dog", ""))
    with torch.no_grad():
        for t in theirs.timesteps:
            towards, away = (base.unet(x, t, text).sample for text in (positive, negative))
            x = theirs.step(away + 3 * (towards - away), t, x).prev_sample
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


def test_a_flow_has_no_sampler_that_knows_only_betas(tmp_path: Path) -> None:
    base = load_tiny(tmp_path / "base", FLOW)
    with pytest.raises(
        UsageError, match=r"ddim has no form for flow matching.*give one of dpm\+\+, euler, heun, unipc"
    ):
        make_scheduler(base, "ddim", 4)


@pytest.mark.filterwarnings("ignore:a denoising strength of 0")
@pytest.mark.parametrize("sampler", ["dpm++", "euler", "heun", "unipc"])
def test_a_flow_is_edited_from_its_own_noise(sampler: str, tmp_path: Path) -> None:
    pipe = emoscene.load(str(load_tiny(tmp_path / "base", FLOW).folder))
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((64, 64))
    [barely, much] = [
        np.asarray(pipe("a dog", image=image, strength=strength, num_inference_steps=8, sampler=sampler).images[0], int)
        for strength in (0.125, 0.9)
    ]
    kept = np.asarray(pipe("a dog", image=image, strength=0.0, num_inference_steps=8).images[0], int)
    assert 0 < np.abs(barely - kept).mean() < np.abs(much - kept).mean()

"""Guidance by a classifier: its formula on a world that can be solved by hand, and its manners beside a real base."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import tiny
from emoscene.core import seeds
from emoscene.core.errors import UsageError
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.learning import learner
from emoscene.learning.learner import Batch
from emoscene.methods.base import MethodChain
from emoscene.methods.guidance import VALIDATION_TIMESTEPS, Guidance, log_complement
from emoscene.pipeline.samplers import make_scheduler, sample, scale_first_noise

MEANS = torch.tensor([1.0] * 4 + [-1.0] * 4)  # of every number of a latent: four emotions lie up, four down
SPREAD = 0.3


@pytest.fixture(scope="module", params=["epsilon", "v_prediction", "sample", "flow_prediction"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp(request.param), request.param)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("plain"))))


def guide(base: DiffusionModel, **settings: float) -> Guidance:
    made = Guidance(Guidance.Config(**{"interval_start": 0.0, "interval_end": 1.0, **settings}), base)
    return made.requires_grad_(False).eval()


def asked(*emotions: dict[str, float]) -> Condition:
    a = torch.tensor([[one.get(name, 0.0) for name in EMOTIONS] for one in emotions])
    nothing = torch.zeros(len(a), 1, 1)
    return Condition(nothing, nothing, a, a.abs().sum(1))


def latents(count: int, side: int = 8) -> Tensor:
    return torch.randn(count, 4, side, side, generator=seeds.torch_generator(0, "latents"))


class Gaussians:
    """Two clouds, solved: x_0 ~ N(mean_i, SPREAD^2) given emotion i, all emotions equally likely."""

    def __init__(self, base: DiffusionModel) -> None:
        self.base = base

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The factors of x_0 and of the noise."""
        if self.base.noise_process.prediction == "flow_prediction":
            level = t.float().view(-1, 1, 1, 1) / 1000
            return 1 - level, level
        alphabar = self.base.noise_process.alphabar(t)
        return alphabar.sqrt(), (1 - alphabar).sqrt()

    def log_p(self, x_t: Tensor, t: Tensor) -> Tensor:
        signal, noise = self.levels(t)
        variance = signal**2 * SPREAD**2 + noise**2
        gaps = x_t.flatten(1)[:, None] - signal.view(-1, 1, 1) * MEANS[:, None]
        return (-gaps.square().sum(2) / (2 * variance.view(-1, 1))).log_softmax(1)

    def unet(self, x_t: Tensor, t: Tensor, text: Tensor) -> SimpleNamespace:
        signal, noise = self.levels(t)
        variance = signal**2 * SPREAD**2 + noise**2
        mean = (self.log_p(x_t, t).exp() @ MEANS).view(-1, 1, 1, 1)
        eps = noise * (x_t - signal * mean) / variance
        x_0 = mean + signal * SPREAD**2 * (x_t - signal * mean) / variance
        answers = {"epsilon": eps, "v_prediction": signal * eps - noise * x_0, "sample": x_0}
        answers["flow_prediction"] = eps - x_0
        return SimpleNamespace(sample=answers[self.base.noise_process.prediction])


def posterior_means(base: DiffusionModel, sampler: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The mean of what 50 steps make of awe, of sadness, and of three quarters of awe and one of sadness."""
    world, guidance = Gaussians(base), guide(base, classifier_scale=1.0, whole=False)
    monkeypatch.setattr(base, "unet", world.unet)
    monkeypatch.setattr(guidance, "log_probabilities", world.log_p)
    wishes = [{"awe": 1.0}, {"sadness": 1.0}, {"awe": 0.75, "sadness": 0.25}]
    condition = asked(*(wish for wish in wishes for _ in range(500)))
    solver = make_scheduler(base, sampler, 50)
    x = scale_first_noise(solver, latents(len(condition), 2))
    rows = [GenerationParams()] * len(condition)
    *_, (x, _) = sample(base, MethodChain([guidance]), condition, None, x, solver, rows)
    return [float(part.mean()) for part in x.chunk(len(wishes))]


@pytest.mark.parametrize("sampler", ["euler", "dpm++", "unipc"])
def test_all_samplers_reach_the_posterior_mean(
    sampler: str, base: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = "ddim"
    if base.noise_process.prediction == "flow_prediction":
        first = "heun"
    ddim, other = (posterior_means(base, name, monkeypatch) for name in (first, sampler))
    assert ddim == pytest.approx([1.0, -1.0, 0.5], abs=0.03)
    assert other == pytest.approx([1.0, -1.0, 0.5], abs=0.03)
    assert other == pytest.approx(ddim, abs=0.03)


def test_a_suppressed_emotion_is_left_and_then_let_go(plain: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    world, guidance = Gaussians(plain), guide(plain)
    monkeypatch.setattr(guidance, "log_probabilities", world.log_p)
    noise, t, condition = torch.zeros(1, 4, 2, 2), torch.tensor(300), asked({"awe": -1.0})
    there, gone = torch.full_like(noise, 0.02), torch.full_like(noise, -1.0)
    assert guidance.apply_guidance(noise, there, t, condition).mean() > 0.1
    assert guidance.apply_guidance(noise, gone, t, condition).abs().max() < 1e-6


def test_it_pushes_away_harder_than_it_pulls(plain: DiffusionModel) -> None:
    x, t, noise = latents(2), torch.tensor(400), torch.zeros(2, 4, 8, 8)
    pulls = {
        away: guide(plain, suppression_scale=away).apply_guidance(noise, x, t, asked({"awe": -1.0}, {"awe": 1.0}))
        for away in (1.0, 3.0)
    }
    torch.testing.assert_close(pulls[3.0][0], 3 * pulls[1.0][0])
    assert torch.equal(pulls[3.0][1], pulls[1.0][1])


def test_a_mixture_pulls_as_hard_as_one_emotion(plain: DiffusionModel) -> None:
    x, t, noise = latents(1), torch.tensor(400), torch.zeros(1, 4, 8, 8)
    half = {
        told: guide(plain, whole=told).apply_guidance(noise, x, t, asked({"awe": 0.5, "fear": 0.5}))
        for told in (True, False)
    }
    torch.testing.assert_close(half[True], 2**0.5 * half[False])
    one = [guide(plain, whole=told).apply_guidance(noise, x, t, asked({"awe": 0.5})) for told in (True, False)]
    torch.testing.assert_close(*one)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_pull_raises_what_is_asked_and_lowers_what_is_not(sign: int, plain: DiffusionModel) -> None:
    guidance, x, t = guide(plain), latents(3), torch.tensor(400)
    noise = torch.zeros_like(x)
    pull = -guidance.apply_guidance(noise, x, t, asked(*[{"awe": float(sign)}] * 3))
    moved = x + 0.1 * pull / pull.abs().amax((1, 2, 3), keepdim=True)
    before, after = (guidance.log_probabilities(place, t.expand(3))[:, 1] for place in (x, moved))
    assert ((after - before) * sign > 0).all()


def test_outside_the_interval_and_without_an_emotion_nothing_is_touched(plain: DiffusionModel) -> None:
    guidance, x, noise = guide(plain, interval_start=0.2, interval_end=0.6), latents(1), latents(2)[1:]
    awe = asked({"awe": 1.0})
    for t in (0.0, 199.9, 600.1, 999.0):
        assert guidance.apply_guidance(noise, x, torch.tensor(t), awe) is noise
    assert guidance.apply_guidance(noise, x, torch.tensor(400), asked({})) is noise
    for t in (200, 400, 600):
        assert not torch.equal(guidance.apply_guidance(noise, x, torch.tensor(t), awe), noise)


def test_an_interval_the_wrong_way_round_is_refused(plain: DiffusionModel) -> None:
    with pytest.raises(UsageError, match=r"interval_start=0\.9 is above interval_end=0\.2"):
        guide(plain, interval_start=0.9, interval_end=0.2)


@pytest.mark.parametrize("option", [{}, {"entropy": True}, {"rescale": 0.5}, {"parallel_scale": 0.2}])
def test_a_mixed_batch_is_its_rows_alone(option: dict[str, float], plain: DiffusionModel) -> None:
    guidance, x, noise, t = guide(plain, **option), latents(4), latents(8)[4:], torch.tensor([100, 300, 555, 900])
    condition = asked({"awe": 1.0}, {}, {"fear": 0.5, "sadness": 0.25}, {"awe": 1.0, "anger": -0.5})
    together = guidance.apply_guidance(noise, x, t, condition)
    assert torch.equal(together[1], noise[1])
    for row in range(4):
        one = slice(row, row + 1)
        alone = guidance.apply_guidance(noise[one], x[one], t[one], condition.select(one))
        torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("option", [{}, {"entropy": True}, {"rescale": 0.5}, {"parallel_scale": 0.2}])
def test_the_pull_grows_with_the_dial(option: dict[str, float], plain: DiffusionModel) -> None:
    guidance, x, noise, t = guide(plain, **option), latents(1), latents(2)[1:], torch.tensor(500)
    whole = guidance.apply_guidance(noise, x, t, asked({"awe": 1.0, "fear": -0.5})) - noise
    tenth = guidance.apply_guidance(noise, x, t, asked({"awe": 0.1, "fear": -0.05})) - noise
    torch.testing.assert_close(10 * tenth, whole, atol=1e-4, rtol=1e-3)


def test_rescale_sets_the_norm(plain: DiffusionModel) -> None:
    guidance, x, noise = guide(plain, rescale=0.5), latents(1), latents(2)[1:]
    pull = guidance.apply_guidance(noise, x, torch.tensor(500), asked({"awe": 0.8})) - noise
    assert float(pull.norm() / noise.norm()) == pytest.approx(0.4, rel=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_part_along_the_estimated_image_is_scaled(share: float, plain: DiffusionModel) -> None:
    x, noise, t = latents(2), latents(4)[2:], torch.tensor(400)
    ratio = float(plain.noise_process.alphas_cumprod[400])
    x_0 = ((x - (1 - ratio) ** 0.5 * noise) / ratio**0.5).double().flatten(1)
    condition = asked({"awe": 1.0}, {"fear": -0.5})
    pulls = []
    for option in ({}, {"parallel_scale": share}):
        pull = guide(plain, **option).apply_guidance(noise, x, t, condition) - noise
        pulls.append(pull.double().flatten(1))
    whole, projected = pulls
    along = (whole * x_0).sum(1)
    assert (along.abs() > 1e-3 * whole.norm(dim=1) * x_0.norm(dim=1)).all()
    torch.testing.assert_close((projected * x_0).sum(1), share * along, atol=1e-3, rtol=1e-3)
    left = [pull - (pull * x_0).sum(1, keepdim=True) / x_0.square().sum(1, keepdim=True) * x_0 for pull in pulls]
    torch.testing.assert_close(*left, atol=1e-5, rtol=1e-4)


def test_entropy_pulls_harder_where_the_classifier_is_sure(
    plain: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, t, noise = Gaussians(plain), torch.tensor(700), torch.zeros(2, 4, 2, 2)
    x = torch.stack([torch.zeros(4, 2, 2), torch.full((4, 2, 2), -0.5)])
    ratios = []
    for option in ({}, {"entropy": True}):
        guidance = guide(plain, **option)
        monkeypatch.setattr(guidance, "log_probabilities", world.log_p)
        ratios.append(guidance.apply_guidance(noise, x, t, asked({"awe": 1.0}, {"awe": 1.0})).mean((1, 2, 3)))
    plainly, surely = ratios
    assert float(surely[0] / plainly[0]) == pytest.approx(1.0, abs=1e-4)
    assert float(surely[1] / plainly[1]) > 1.3


def test_timesteps_between_whole_ones_lie_between(plain: DiffusionModel) -> None:
    guidance, x = guide(plain), latents(1)
    low, between, high = (guidance.log_probabilities(x, torch.tensor([t])) for t in (500.0, 500.5, 501.0))
    assert not torch.equal(low, between)
    assert not torch.equal(between, high)
    assert (between - (low + high) / 2).abs().max() < 0.1 * (low - high).abs().max()


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (12, 20)])
def test_latents_of_any_size_and_precision_are_read(size: tuple[int, int], plain: DiffusionModel) -> None:
    guidance, x = guide(plain), torch.randn(1, 4, *size, generator=seeds.torch_generator(0, "sizes")).half()
    with torch.autocast("cpu", torch.bfloat16):
        steered = guidance.apply_guidance(torch.zeros_like(x), x, torch.tensor(500), asked({"awe": 1.0}))
    single = guidance.apply_guidance(torch.zeros_like(x).float(), x.float(), torch.tensor(500), asked({"awe": 1.0}))
    assert steered.dtype == torch.float16
    torch.testing.assert_close(steered, single.half())


def test_nothing_is_learnt_while_steering(plain: DiffusionModel) -> None:
    guidance, x = guide(plain).requires_grad_(True), latents(1).requires_grad_()
    with torch.no_grad():
        steered = guidance.apply_guidance(torch.zeros_like(x), x, torch.tensor(500), asked({"awe": 1.0}))
    assert not steered.requires_grad
    assert x.grad is None
    assert all(p.grad is None for p in guidance.parameters())
    assert all(p.grad is None for model in (plain.unet, plain.vae, plain.text_encoder) for p in model.parameters())


def test_about_two_million_parameters_and_a_cheap_gradient(plain: DiffusionModel) -> None:
    guidance = guide(plain)
    size = sum(p.numel() for p in guidance.parameters())
    assert 1.8e6 < size < 2.2e6
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        guidance.log_probabilities(latents(1, 64), torch.tensor([500]))
    there_and_back = 2 * counter.get_total_flops()
    assert there_and_back < 0.002 * 1.607e12  # of a step with classifier-free guidance, two passes of SD1.5


def test_log_of_the_others_is_exact_where_a_subtraction_is_not() -> None:
    mild = torch.tensor([[0.0, -3.0, -9.0], [2.0, 1.0, 0.0]]).log_softmax(1)
    torch.testing.assert_close(log_complement(mild), torch.log1p(-mild.exp()), atol=1e-5, rtol=1e-5)
    stark = torch.tensor([[-40.0, -50.0, 0.0]]).log_softmax(1)
    assert torch.log1p(-stark.exp())[0, 2] == -torch.inf
    assert float(log_complement(stark)[0, 2]) == pytest.approx(-40.0, abs=1e-3)


def test_a_picture_without_an_emotion_counts_nothing(plain: DiffusionModel) -> None:
    weights = torch.stack([torch.eye(8)[1], torch.zeros(8), 0.5 * torch.eye(8)[1], -torch.eye(8)[1]])
    columns = {"latent": latents(1).expand(4, -1, -1, -1), "weights": weights}
    loss = guide(plain).compute_loss(Batch(columns, 0, 0, [0, 0, 0, 0]))
    assert loss[1] == loss[3] == 0
    torch.testing.assert_close(loss[0], loss[2])
    assert loss[0] > 0


class Pictures:
    """Data of which the emotion can be read off the mean, as the stand-in classifier does; one picture has none."""

    def __init__(self, count: int) -> None:
        self.weights = torch.eye(8)[torch.arange(count) % 8]
        self.latent = torch.where(self.weights[:, :4].any(1), 1.0, -1.0).view(-1, 1, 1, 1).expand(-1, 4, 2, 2)
        self.weights[-1] = 0

    def __len__(self) -> int:
        return len(self.weights)

    def read(self, indices: range, columns: tuple[str, ...]) -> dict[str, Tensor]:
        assert columns == ("latent", "weights")
        return {"latent": self.latent[list(indices)], "weights": self.weights[list(indices)]}


def test_its_proof_is_an_accuracy_for_each_noise_level(plain: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    guidance, world, data = guide(plain), Gaussians(plain), Pictures(81)
    monkeypatch.setattr(guidance, "log_probabilities", world.log_p)
    proof = guidance.validate(data)
    assert proof == guidance.validate(data)
    assert proof["t"] == list(VALIDATION_TIMESTEPS) == [50, 150, 250, 350, 450, 550, 650, 750, 850, 950]
    assert proof["pictures"] == 80
    assert proof["accuracy"][0] == 0.25  # which side is plain to see, which of a side's four emotions is not
    assert proof["accuracy"][-1] < 0.25


def test_its_file_is_small(plain: DiffusionModel, tmp_path: Path) -> None:
    learner.save_learner(guide(plain), "guidance", tmp_path, plain)
    assert (tmp_path / "model.safetensors").stat().st_size < 5e6

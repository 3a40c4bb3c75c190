"""Training against values that the test computes itself, in plain loops over Python's own numbers.

A run that equals itself when resumed, split or repeated may still be wrong in the same way each time. Here AdamW, the
schedule, clipping, the moving average and the random draws are written out a second time.
"""

import json
import math
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from emoscene.core import registry
from emoscene.core.callbacks import Callbacks
from emoscene.core.config import list_options
from emoscene.core.errors import TrainingDiverged, UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.batches import batch_indices
from emoscene.diffusion.noise_process import EpsilonProcess, min_snr_loss
from emoscene.learning.learner import Batch, Learner
from emoscene.learning.optimizers import make_optimizers
from emoscene.methods.base import choose_captions, denoising_loss
from emoscene.training import callbacks, loop
from emoscene.training.state import Config, TrainingState
from lines import Deep, quiet


def config_of(**settings: object) -> Config:
    plain = {"steps": 12, "batch_size": 6, "precision": "fp32", "schedule": "constant", "warmup": 0.0, "lr": 0.05}
    return Config(**{**plain, **settings})


class Plane(Learner):
    """Two linear functions of two numbers: a matrix and a vector train."""

    columns = ("x", "y")

    def __init__(self) -> None:
        super().__init__(None)
        self.matrix = nn.Parameter(torch.tensor([[0.5, -0.25], [1.0, 2.0]]))
        self.vector = nn.Parameter(torch.tensor([0.75, -1.5]))
        self.factor = 1.0

    @classmethod
    def from_scratch(cls, config: object, base: object, data: object = None) -> "Plane":
        return cls()

    def lr_multiplier(self, name: str) -> float:
        return 0.5 if name == "vector" else 1.0

    def compute_loss(self, batch: Batch) -> Tensor:
        found = batch["x"] @ self.matrix.T + self.vector
        return self.factor * ((found - batch["y"]) ** 2).mean(1)


X = [[1.0, 2.0], [-1.0, 0.5], [0.25, -2.0], [3.0, 1.0], [-0.5, -0.5], [2.0, -1.5]]
Y = [[0.5, 1.0], [2.0, -1.0], [-0.75, 0.0], [1.5, 1.5], [0.0, -2.0], [1.0, 3.0]]


class Six:
    """As many rows as a batch has, so that each step sees all of them, in whatever order."""

    def __len__(self) -> int:
        return 6

    def read(self, indices: list[int], columns: tuple[str, ...]) -> dict[str, Tensor]:
        kinds = torch.tensor([0, 0, 0, 3, 3, 3])
        table = {"x": torch.tensor(X), "y": torch.tensor(Y), "emotion": kinds}
        return {name: table[name][list(indices)] for name in columns}


def losses_by_hand(matrix: list[list[float]], vector: list[float]) -> list[float]:
    found = []
    for x, y in zip(X, Y, strict=True):
        total = 0.0
        for i in range(2):
            total += (matrix[i][0] * x[0] + matrix[i][1] * x[1] + vector[i] - y[i]) ** 2
        found.append(total / 2)
    return found


def gradient_by_hand(flat: list[float]) -> list[float]:
    """Of the mean of the six losses, by the matrix's four numbers and the vector's two."""
    gradient = [0.0] * 6
    for x, y in zip(X, Y, strict=True):
        for i in range(2):
            gap = flat[2 * i] * x[0] + flat[2 * i + 1] * x[1] + flat[4 + i] - y[i]
            gradient[2 * i] += gap * x[0] / 6
            gradient[2 * i + 1] += gap * x[1] / 6
            gradient[4 + i] += gap / 6
    return gradient


def train_by_hand(
    rates: list[float], weight_decay: float, max_norm: float
) -> tuple[list[list[float]], list[float], list[float]]:
    """AdamW (Loshchilov & Hutter 2019) at these rates: the six numbers after each step, the losses, the norms."""
    flat = [0.5, -0.25, 1.0, 2.0, 0.75, -1.5]
    first, second = [0.0] * 6, [0.0] * 6
    path, losses, norms = [], [], []
    for step, rate in enumerate(rates, 1):
        losses.append(sum(losses_by_hand([flat[:2], flat[2:4]], flat[4:])) / 6)
        gradient = gradient_by_hand(flat)
        norm = math.sqrt(sum(part**2 for part in gradient))
        norms.append(norm)
        for i in range(6):
            part = gradient[i] * min(1.0, max_norm / norm)
            own_rate = rate if i < 4 else 0.5 * rate
            own_decay = weight_decay if i < 4 else 0.0
            flat[i] *= 1 - own_rate * own_decay
            first[i] = 0.9 * first[i] + 0.1 * part
            second[i] = 0.99 * second[i] + 0.01 * part**2
            mean, square = first[i] / (1 - 0.9**step), second[i] / (1 - 0.99**step)
            flat[i] -= own_rate * mean / (math.sqrt(square) + 1e-8)
        path.append(list(flat))
    return path, losses, norms


def numbers_of(learner: Learner) -> list[float]:
    parameters = learner.trainable
    return [*parameters["matrix"].detach().flatten().tolist(), *parameters["vector"].detach().tolist()]


def rates_by_hand(schedule: str, steps: int, warm: int, lr: float) -> list[float]:
    """A linear rise to lr, then the shape down to a hundredth of it."""
    rates = []
    for step in range(steps):
        if step < warm:
            rates.append(lr * (step + 1) / warm)
            continue
        done = (step - warm) / (steps - warm)
        shapes = {
            "cosine": (1 + math.cos(math.pi * done)) / 2,
            "linear": 1 - done,
            "polynomial": (1 - done) * (1 - done),
            "constant": 1.0,
        }
        rates.append(lr * (0.01 + 0.99 * shapes[schedule]))
    return rates


@pytest.mark.parametrize("schedule", ["cosine", "linear", "polynomial", "constant"])
@pytest.mark.parametrize("micro_batch", [0, 4])
def test_training_is_adamw_at_the_rates_of_the_schedule(schedule: str, micro_batch: int) -> None:
    config = config_of(
        schedule=schedule, warmup=0.25, weight_decay=0.3, max_grad_norm=4.0, ema_decay=0.0, micro_batch_size=micro_batch
    )
    state = TrainingState(Plane(), config)
    rates = rates_by_hand(schedule, 12, 3, 0.05)
    path, losses, norms = train_by_hand(rates, 0.3, 4.0)
    assert max(norms) > 4 > min(norms), "some steps are clipped, and some are not"
    number = 0
    for step in loop.train_steps(state, Six(), config):
        number += 1
        assert step.number == state.step == number
        assert step.lr == pytest.approx(rates[number - 1], rel=1e-9)
        assert step.loss == pytest.approx(losses[number - 1], rel=1e-4)
        assert step.norm == pytest.approx(norms[number - 1], rel=1e-4)
        assert numbers_of(state.learner) == pytest.approx(path[number - 1], rel=1e-4, abs=1e-5)
    assert number == 12


def test_weight_decay_is_decoupled_and_spares_vectors() -> None:
    """Without a gradient a matrix shrinks by lr x decay of itself each step, and a vector keeps its bits."""
    config = config_of(weight_decay=0.5, ema_decay=0.0, steps=4)
    learner = Plane()
    learner.factor = 0.0
    state = TrainingState(learner, config)
    matrix, vector = learner.matrix.detach().clone(), learner.vector.detach().clone()
    for _ in loop.train_steps(state, Six(), config):
        pass
    torch.testing.assert_close(learner.matrix.detach(), matrix * (1 - 0.05 * 0.5) ** 4)
    assert torch.equal(learner.vector.detach(), vector)


def test_the_moving_average_warms_up() -> None:
    """After step n it keeps min(decay, (1 + n) / (10 + n)) of itself; it begins at the first weights."""
    config = config_of(ema_decay=0.4)
    state = TrainingState(Plane(), config)
    expected = numbers_of(state.learner)
    capped = 0
    for step in loop.train_steps(state, Six(), config):
        n = step.number
        decay = (1 + n) / (10 + n)
        if decay > 0.4:
            decay = 0.4
            capped += 1
        now = numbers_of(state.learner)
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, now, strict=True)]
        found = [*state.average["matrix"].flatten().tolist(), *state.average["vector"].tolist()]
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert found != pytest.approx(now, rel=1e-5, abs=1e-6)
    assert 0 < capped < 12
    assert numbers_of(state.final_learner()) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_without_a_decay_there_is_no_average() -> None:
    config = config_of(ema_decay=0.0)
    state = TrainingState(Plane(), config)
    for _ in loop.train_steps(state, Six(), config):
        pass
    assert state.average == {}
    last = numbers_of(state.learner)
    assert numbers_of(state.final_learner()) == last


AVERAGED = [0.125, 0.5, -1.0, 0.25, 2.0, -0.5]


def averaged_state(config: Config) -> TrainingState:
    """A state whose average is far from its weights."""
    state = TrainingState(Plane(), config)
    state.average = {"matrix": torch.tensor(AVERAGED[:4]).view(2, 2), "vector": torch.tensor(AVERAGED[4:])}
    return state


def test_validation_measures_the_averaged_weights(tmp_path: Path) -> None:
    config = config_of(ema_decay=0.9, validation_images=6, validate_every=1)
    state = averaged_state(config)
    own = numbers_of(state.learner)
    callbacks.TrainingCallbacks(tmp_path, config, Six(), None, quiet).on_step_end(state)
    [row] = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    each = losses_by_hand([AVERAGED[:2], AVERAGED[2:4]], AVERAGED[4:])
    assert row["step"] == 0
    assert sorted(row["loss"].values()) == pytest.approx(
        sorted([sum(each) / 6, sum(each[:3]) / 3, sum(each[3:]) / 3]), rel=1e-5
    )
    assert row["loss"]["all"] == pytest.approx(sum(each) / 6, rel=1e-5)
    assert numbers_of(state.learner) == own, "training goes on from its own weights"
    assert state.learner.training


def test_a_sheet_of_images_shows_the_averaged_weights(tmp_path: Path) -> None:
    config = config_of(ema_decay=0.9, validation_images=0, images_every=5)
    state = averaged_state(config)
    own = numbers_of(state.learner)
    shown: list[list[float]] = []
    modes: list[bool] = []

    def paint() -> Image.Image:
        shown.append(numbers_of(state.learner))
        modes.append(state.learner.training)
        return Image.new("RGB", (8, 8), (1, 2, 3))

    look = callbacks.TrainingCallbacks(tmp_path, config, None, paint, quiet)
    for step in range(13):
        state.step = step
        assert look.on_step_end(state) is False
    assert shown == [AVERAGED] * 4
    assert modes == [False] * 4
    names = [path.name for path in sorted((tmp_path / "progress").iterdir())]
    assert names == ["step-000000.png", "step-000005.png", "step-000010.png", "step-000012.png"]
    assert Image.open(tmp_path / "progress/step-000005.png").getpixel((4, 4)) == (1, 2, 3)
    assert numbers_of(state.learner) == own
    assert state.learner.training


def test_the_best_weights_are_the_averaged_ones_of_the_lowest_loss(tmp_path: Path) -> None:
    config = config_of(ema_decay=0.9, validation_images=6, validate_every=1, patience=2)
    state = averaged_state(config)
    look = callbacks.TrainingCallbacks(tmp_path, config, Six(), None, quiet)
    verdicts = []
    for step, shift in enumerate([0.0, 0.25, 4.0, 5.0, 6.0], 1):
        state.step = step
        state.average = {"matrix": torch.tensor(AVERAGED[:4]).view(2, 2), "vector": torch.tensor(AVERAGED[4:]) + shift}
        verdicts.append(look.on_step_end(state))
        if verdicts[-1]:
            break
    means = []
    for shift in [0.0, 0.25, 4.0, 5.0]:
        each = losses_by_hand([AVERAGED[:2], AVERAGED[2:4]], [AVERAGED[4] + shift, AVERAGED[5] + shift])
        means.append(sum(each) / 6)
    assert means.index(min(means)) == 1, "the second is the best"
    assert verdicts == [False, False, False, True]
    assert state.best["vector"].tolist() == pytest.approx([AVERAGED[4] + 0.25, AVERAGED[5] + 0.25])
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["loss"]["all"] for row in rows] == pytest.approx(means, rel=1e-5)
    assert numbers_of(state.final_learner())[4:] == pytest.approx([AVERAGED[4] + 0.25, AVERAGED[5] + 0.25])


def test_of_two_validations_that_are_equally_good_the_first_is_kept(tmp_path: Path) -> None:
    state = averaged_state(config_of(ema_decay=0.9, validation_images=6, validate_every=1, patience=5))
    look = callbacks.TrainingCallbacks(tmp_path, state.config, Six(), None, quiet)
    state.step = 1
    look.on_step_end(state)
    first = state.best
    state.step = 2
    look.on_step_end(state)
    assert first
    assert [row["step"] for row in look.rows] == [1, 2]
    assert look.rows[0]["loss"] == look.rows[1]["loss"]
    assert state.best is first


def generator_by_hand(seed: int, word: str, step: int, slot: int) -> torch.Generator:
    """A sample's own stream, from a seed that is 63 bits of BLAKE2b of the JSON list of its words."""
    digest = blake2b(f'[{seed}, "{word}", {step}, {slot}]'.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") // 2)


def uniform_by_hand(seed: int, word: str, step: int, slot: int) -> float:
    """A sample's own number in [0, 1)."""
    return float(torch.rand((), generator=generator_by_hand(seed, word, step, slot)))


def test_caption_length_and_drop_out_are_drawn_independently() -> None:
    count, seed, step = 600, 11, 7
    columns = {
        "caption": [f"short {slot}" for slot in range(count)],
        "caption_long": [f"long {slot}" for slot in range(count)],
    }
    batch = Batch(columns, seed, step, range(count))
    chosen, dropped = choose_captions(batch, 0.4, 0.3)
    expected, lost = [], []
    for slot in range(count):
        brief = uniform_by_hand(seed, "caption", step, slot) < 0.4
        gone = uniform_by_hand(seed, "drop", step, slot) < 0.3
        words = f"short {slot}" if brief else f"long {slot}"
        expected.append("" if gone else words)
        lost.append(gone)
    assert chosen == expected
    assert dropped.tolist() == lost
    pairs = dict.fromkeys([(True, True), (True, False), (False, True), (False, False)], 0)
    for slot in range(count):
        pairs[uniform_by_hand(seed, "caption", step, slot) < 0.4, lost[slot]] += 1
    shares = {(True, True): 0.12, (True, False): 0.28, (False, True): 0.18, (False, False): 0.42}
    for pair, number in pairs.items():
        assert abs(number / count - shares[pair]) < 4 * math.sqrt(shares[pair] * (1 - shares[pair]) / count)


def test_captions_are_all_short_all_long_or_all_gone_at_the_ends() -> None:
    batch = Batch({"caption": ["a"] * 9, "caption_long": ["b"] * 9}, 0, 0, range(9))
    assert choose_captions(batch, 1.0, 0.0)[0] == ["a"] * 9
    assert choose_captions(batch, 0.0, 0.0)[0] == ["b"] * 9
    assert choose_captions(batch, 0.5, 1.0)[0] == [""] * 9


SETTINGS = {
    "steps": (1000, (1, 10_000_000)),
    "batch_size": (32, (1, 65536)),
    "micro_batch_size": (0, (0, 65536)),
    "lr": (1e-3, (1e-6, 1.0, "log")),
    "optimizer": ("adamw", None),
    "muon": (0.0, (0.0, 100.0)),
    "warmup": (0.05, (0.0, 1.0)),
    "schedule": ("cosine", ("cosine", "linear", "polynomial", "constant")),
    "weight_decay": (0.01, (0.0, 1.0)),
    "max_grad_norm": (1.0, (1e-3, 1e3, "log")),
    "ema_decay": (0.999, (0.0, 0.99999)),
    "precision": ("auto", ("auto", "fp32", "bf16", "fp16")),
    "checkpointing": (False, None),
    "compile": (False, None),
    "seed": (0, None),
    "num_workers": (1, (1, 64)),
    "checkpoint_every": (250, (1, 1_000_000)),
    "checkpoints_total_limit": (2, (1, 1000)),
    "validation_images": (64, (0, 100_000)),
    "validate_every": (250, (1, 1_000_000)),
    "patience": (0, (0, 1000)),
    "load_best_model_at_end": (True, None),
    "images_every": (0, (0, 1_000_000)),
    "report_to": ("", None),
}
"""What an artifact's manifest relies on: of each setting the default, and its span or choices."""


def test_the_settings_have_these_defaults_and_bounds() -> None:
    found = {one.name: (one.default, one.span or one.choices) for one in list_options(Config)}
    assert found == SETTINGS
    assert {"adamw", "adamw8bit", "prodigy"} <= set(registry.list_names("optimizers"))
    with pytest.raises(UsageError, match="adamm"):
        TrainingState(Plane(), config_of(optimizer="adamm"))
    with pytest.raises(AttributeError):
        Config().steps = 2


def test_a_run_ends_at_the_fourth_step_running_that_is_not_finite() -> None:
    """Three are passed over, and a finite one between them begins the count anew."""
    config = config_of(steps=20, ema_decay=0.0)
    learner = Plane()
    state = TrainingState(learner, config)
    bad = {2, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14}
    seen = []

    def train() -> None:
        for step in loop.train_steps(state, Six(), config):
            seen.append(step.number)
            learner.factor = float("nan") if step.number + 1 in bad else 1.0

    with pytest.raises(TrainingDiverged, match=r"at step 13, samples \[[\d, ]+\]: try a smaller lr") as caught:
        train()
    assert seen == list(range(1, 13))
    named = str(caught.value).partition("[")[2].partition("]")[0].split(", ")
    assert sorted(named) == list("012345")


def test_the_samples_that_a_diverged_run_names_are_those_of_its_last_step() -> None:
    config = config_of(steps=20, ema_decay=0.0, batch_size=2)
    learner = Plane()
    learner.factor = float("nan")
    drawn = [batch_indices(config.seed, step, 2, [range(6)]) for step in range(6)]
    assert drawn[3] not in (drawn[2], drawn[4], drawn[5])
    with pytest.raises(TrainingDiverged, match="at step 4") as caught:
        for _ in loop.train_steps(TrainingState(learner, config), Six(), config):
            pass
    assert f"samples {drawn[3]}:" in str(caught.value)


def test_a_run_that_is_enough_before_its_first_step_returns_the_learner_as_it_is(tmp_path: Path) -> None:
    learner = Plane()
    before = {name: value.clone() for name, value in learner.trainable.items()}
    at_once = Callbacks(on_step_end=lambda state: True)
    after = loop.run_training(learner, Six(), config_of(), tmp_path, callbacks=at_once)
    assert isinstance(after, Plane)
    assert all(torch.equal(value, before[name]) for name, value in after.trainable.items())


class Many:
    """Seventy rows, more than are measured at once, of two shapes."""

    rows_by_shape = (list(range(0, 70, 2)), list(range(1, 70, 2)))

    def __init__(self) -> None:
        self.reads: list[int] = []

    def __len__(self) -> int:
        return 70

    def read(self, indices: list[int], columns: tuple[str, ...]) -> dict[str, Tensor]:
        places = torch.tensor(list(indices))
        if "x" in columns:
            self.reads.append(len(places))
        x = torch.stack([places / 10, places % 7 - 3.0], 1)
        table = {"x": x, "y": x.flip(1), "emotion": places % 3 * 2}
        return {name: table[name] for name in columns}


def test_a_validation_is_the_mean_over_all_its_images_a_few_at_a_time() -> None:
    data = Many()
    learner = Plane()
    found = callbacks.mean_losses(*callbacks.image_losses(learner, data, range(70), torch.device("cpu")))
    each: dict[int, list[float]] = {0: [], 2: [], 4: []}
    for place in range(70):
        x = [place / 10, place % 7 - 3.0]
        total = 0.0
        for i in range(2):
            row = [[0.5, -0.25], [1.0, 2.0]][i]
            total += (row[0] * x[0] + row[1] * x[1] + [0.75, -1.5][i] - x[1 - i]) ** 2
        each[place % 3 * 2].append(total / 2)
    every = [value for values in each.values() for value in values]
    expected = {"all": sum(every) / 70}
    expected |= {EMOTIONS[number]: sum(values) / len(values) for number, values in each.items()}
    assert found == pytest.approx(expected, rel=1e-5)
    assert data.reads == [32, 3, 32, 3]


def test_a_history_forgets_what_came_after_the_step_that_is_gone_on_from(tmp_path: Path) -> None:
    config = config_of(ema_decay=0.9, validation_images=6, validate_every=5)
    rows = [{"step": step, "loss": {"all": 1.0}} for step in (0, 5, 10)]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    state = averaged_state(config)
    look = callbacks.TrainingCallbacks(tmp_path, config, Six(), None, quiet)
    steps = []
    for state.step in (5, 6, 7, 8, 9, 10, 11, 12):
        look.on_step_end(state)
        steps = [row["step"] for row in look.rows]
        assert steps[:2] == [0, 5]
        assert (10 in steps) == (state.step >= 10)
    assert steps == [0, 5, 10, 12]
    fresh = callbacks.TrainingCallbacks(tmp_path, config, Six(), None, quiet)
    state.step = 0
    fresh.on_step_end(state)
    assert [row["step"] for row in fresh.rows] == [0], "another run begins with nothing"


def test_curves_have_a_point_every_ten_steps(tmp_path: Path) -> None:
    config = config_of(steps=25, ema_decay=0.0)
    look = callbacks.TrainingCallbacks(tmp_path, config, None, None, quiet)
    points: list[tuple[int, dict[str, float]]] = []
    look.tracker = SimpleNamespace(log=lambda figures, step: points.append((step, figures)))
    for step in loop.train_steps(TrainingState(Plane(), config), Six(), config):
        look.on_step(step)
        if step.number % 10 == 0:
            assert points[-1][0] == step.number
            assert points[-1][1] == {"loss": step.loss, "norm": step.norm, "lr": step.lr, "seconds": step.seconds}
    assert [number for number, _ in points] == [10, 20]
    assert 0 < points[0][1]["seconds"] < 60


def test_muon_has_its_multiple_of_the_rate_and_spares_what_is_no_inner_matrix() -> None:
    learner = Deep()
    inner, rest = "hidden.weight", {"hidden.bias", "layer.bias", "layer.weight"}
    made = make_optimizers(learner, 0.01, 0.5, 3.0)
    adamw, muon = made
    names = {id(parameter): name for name, parameter in learner.trainable.items()}
    [group] = muon.param_groups
    assert [names[id(p)] for p in group["params"]] == [inner]
    assert (group["weight_decay"], group["lr"]) == (0.5, 3.0 * 0.01)
    decays = {names[id(p)]: one["weight_decay"] for one in adamw.param_groups for p in one["params"]}
    assert decays == {"layer.weight": 0.5, "layer.bias": 0.0, "hidden.bias": 0.0}
    assert decays.keys() == rest
    for one in adamw.param_groups:
        assert (one["lr"], one["betas"]) == (0.01, (0.9, 0.99))
    assert len(make_optimizers(learner, 0.01, 0.5, 0.0)) == 1


def test_the_denoising_loss_is_weighted_by_min_snr() -> None:
    """mean (eps_hat - eps)^2 min(SNR, gamma) / SNR of each sample, SNR = alphabar / (1 - alphabar)."""
    draw = torch.Generator().manual_seed(0)
    predicted, noise = torch.randn(4, 2, 3, 5, generator=draw), torch.randn(4, 2, 3, 5, generator=draw)
    levels = [0.99, 0.9, 0.5, 0.01]
    found = min_snr_loss(predicted, noise, torch.tensor(levels).view(-1, 1, 1, 1), 5.0)
    expected = []
    for sample, level in enumerate(levels):
        gaps = (predicted[sample] - noise[sample]).flatten().tolist()
        ratio = level / (1 - level)
        weight = 5 / ratio if ratio > 5 else 1.0
        expected.append(weight * sum(gap * gap for gap in gaps) / 30)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_noise_of_a_training_sample_is_its_own_and_offset_by_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """x_t and what is to be predicted: the sample's noise plus a constant of each channel, at its own timestep."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def add_noise(x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        seen.append((x_0, noise, t))
        return x_0 + 2 * noise

    process = EpsilonProcess(torch.full((40,), 0.5))
    monkeypatch.setattr(process, "add_noise", add_noise)
    base = SimpleNamespace(noise_process=process, predict=lambda x_t, t, condition: x_t)
    latents = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    batch = Batch({"latent": latents}, 3, 8, [0, 1, 2])
    found = denoising_loss(base, batch, None, 5.0, offset=0.3)
    [(x_0, noise, t)] = seen
    for slot in range(3):
        own = torch.randn((2, 4, 4), generator=generator_by_hand(3, "noise", 8, slot))
        shift = torch.randn((2, 1, 1), generator=generator_by_hand(3, "offset", 8, slot))
        torch.testing.assert_close(noise[slot], own + 0.3 * shift)
        assert int(t[slot]) == int(uniform_by_hand(3, "timestep", 8, slot) * 40)
        gap = latents[slot] + noise[slot]
        assert float(found[slot]) == pytest.approx(float((gap * gap).mean()), rel=1e-5)
    assert torch.equal(x_0, latents)


def test_a_batch_of_one_trains_and_validation_reaches_the_tracker(tmp_path: Path) -> None:
    config = config_of(batch_size=1, ema_decay=0.9, validation_images=6, validate_every=1)
    state = averaged_state(config)
    look = callbacks.TrainingCallbacks(tmp_path, config, Six(), None, quiet)
    told: list[tuple[str, object]] = []
    look.tracker = SimpleNamespace(
        start=lambda: told.append(("start", None)),
        store_init_configuration=lambda values: told.append(("settings", values["lr"])),
        log=lambda figures, step: told.append((f"step {step}", sorted(figures))),
        finish=lambda: told.append(("finish", None)),
    )
    look.on_step_end(state)
    state.step = 1
    look.on_step_end(state)
    look.close()
    names = sorted(["unseen/all", f"unseen/{EMOTIONS[0]}", f"unseen/{EMOTIONS[3]}"])
    assert told == [("start", None), ("settings", 0.05), ("step 0", names), ("step 1", names), ("finish", None)]


def test_a_validation_always_draws_the_same_numbers() -> None:
    """Those of seed 0, step -1 and the place in the list, whatever the seed of the run."""

    class Drawn(Plane):
        def compute_loss(self, batch: Batch) -> Tensor:
            return batch.uniform("timestep")

    found = callbacks.mean_losses(*callbacks.image_losses(Drawn(), Six(), [4, 1, 0], torch.device("cpu")))
    numbers = [uniform_by_hand(0, "timestep", -1, slot) for slot in range(3)]
    expected = {"all": sum(numbers) / 3, EMOTIONS[3]: numbers[0], EMOTIONS[0]: (numbers[1] + numbers[2]) / 2}
    assert found == pytest.approx(expected, rel=1e-6)

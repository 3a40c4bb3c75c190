"""In which precision a learner trains: what a device computes in by itself, and what its width gains by that."""

import functools
import platform
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import emoscene
import tiny
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.data.preparation import prepare
from emoscene.diffusion import device
from emoscene.diffusion.model import DiffusionModel
from emoscene.methods.base import Method
from emoscene.training import train
from emoscene.training.state import Config, TrainingState

WIDE = [nn.Linear(device.WIDE, 2 * device.WIDE)]
NARROW = [nn.Linear(device.WIDE - 1, 10 * device.WIDE), nn.Embedding(10_000, 64)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def data(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(
        "mini", out=tmp_path_factory.mktemp("data") / "prepared", limit=24, base=base, workers=0, on_message=str
    )


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> functools.partial:
    return functools.partial(play_cpu, monkeypatch)


def play_cpu(monkeypatch: pytest.MonkeyPatch, machine: str = "x86_64", onednn: bool = True, own: str = "") -> None:
    """A CPU of this kind; own: the instructions for bf16 that it has."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(_is_mkldnn_bf16_supported=lambda: onednn))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: own == "avx512_bf16")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: own == "amx")


@pytest.mark.parametrize(("native", "kind"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_that_only_imitates_bf16_computes_in_fp16(
    native: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert device.choose_precision("auto", "cuda") == device.choose_precision("auto", "cuda:1", NARROW) == kind
    assert device.choose_precision("bf16", "cuda") == "bf16"


@pytest.mark.parametrize(
    ("words", "wide"),
    [
        ({"own": "avx512_bf16"}, "bf16"),
        ({"own": "amx"}, "bf16"),
        ({"own": ""}, "fp32"),  # AVX-512 alone: oneDNN says yes, and imitates
        ({"own": "amx", "onednn": False}, "fp32"),
        ({"machine": "aarch64"}, "bf16"),
        ({"machine": "AMD64", "own": "amx"}, "bf16"),
        ({"machine": "AMD64", "own": ""}, "fp32"),
    ],
)
def test_a_cpu_computes_wide_models_in_bf16_where_it_has_instructions_for_it(
    words: dict, wide: str, cpu: functools.partial
) -> None:
    cpu(**words)
    assert device.choose_precision("auto", "cpu", WIDE) == wide
    assert device.choose_precision("auto", "cpu", NARROW) == "fp32"
    assert device.choose_precision("auto") == "fp32"
    assert [device.choose_precision(kind, "cpu", WIDE) for kind in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_a_torch_without_the_operator_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())  # as on Apple silicon
    assert device.choose_precision("auto", "cpu", WIDE) == "fp32"


def test_the_miniature_is_narrow_and_stable_diffusion_is_wide(cpu: functools.partial) -> None:
    cpu(own="amx")
    mini = DiffusionModel.load("mini")
    assert device.choose_precision("auto", "cpu", [mini.unet]) == "fp32"
    with torch.device("meta"):
        sd15 = mini.unet.from_config({**mini.unet.config, "block_out_channels": (320, 640, 1280)})
    assert device.choose_precision("auto", "cpu", [sd15]) == "bf16"


@pytest.mark.posix  # of oneDNN's operators, which go too
@pytest.mark.parametrize("name", ["lora", "inversion", "multimodal", "guidance"])
def test_the_unet_counts_where_a_method_trains_through_it(name: str, base: str, cpu: functools.partial) -> None:
    cpu(own="amx")
    cls = registry.load_plugin("methods", name)
    learner = cls.from_scratch(cls.Config(), DiffusionModel.load(base))
    learner.base.unet.register_parameter("wide", nn.Parameter(torch.zeros(device.WIDE, device.WIDE)))
    state = TrainingState(learner, Config(precision="auto"))
    assert state.accelerator.mixed_precision == ("no" if name == "guidance" else "bf16")


@pytest.mark.slow
def test_a_base_is_rounded_once_where_it_trains_in_bf16(base: str, data: Path, tmp_path: Path) -> None:
    cls = registry.load_plugin("methods", "lora")
    loaded = train.load_training_model(base, Config(precision="bf16"), cls)
    assert loaded.dtype == loaded.unet.dtype == loaded.text_encoder.dtype == torch.bfloat16
    assert loaded.vae.dtype == torch.float32
    assert train.load_training_model(base, Config(precision="fp32"), cls).dtype == torch.float32
    few = {
        "steps": 3,
        "batch_size": 4,
        "rank": 2,
        "validate_every": 3,
        "images_every": 3,
        "ema_decay": 0.0,
        "lr": 1e-3,
    }
    losses = {}
    for kind in ("fp32", "bf16"):
        words = {"data": data, "base": base, "precision": kind, "on_message": str}
        out = emoscene.train("lora", out=tmp_path / kind, **words, **few)
        losses[kind] = run_dir.read_manifest(out)["history"][-1]["loss"]["all"]
        assert list((out / "progress").glob("*.png"))
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)


def test_fp16_is_refused_on_a_cpu_in_one_sentence(base: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="precision=fp16 is for GPUs: leave it out, or give bf16"):
        emoscene.train("guidance", data=data, base=base, out=tmp_path / "out", precision="fp16", on_message=str)
    assert not (tmp_path / "out").exists()


def test_a_cpu_generates_in_bf16_where_the_unet_is_wide_and_it_has_instructions(
    base: str, cpu: functools.partial, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu(own="avx512_bf16")
    assert device.load_model(base, "cpu").dtype == torch.float32, "this UNet is narrow"
    monkeypatch.setattr(device, "WIDE", 32)
    wide = device.load_model(base, "cpu")
    assert wide.dtype == wide.unet.dtype == wide.text_encoder.dtype == torch.bfloat16
    assert wide.vae.dtype == torch.float32
    assert torch.isfinite(wide.decode_in_float32(torch.zeros(1, 4, 8, 8))).all()
    assert wide.vae.dtype == torch.float32
    assert device.load_model(base, "cpu", "float32").dtype == torch.float32, "as asked"
    cpu(own="")
    assert device.load_model(base, "cpu").dtype == torch.float32, "bf16 would be imitated"


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_eps_from_another_prediction_is_finite_in_half_precision(
    prediction: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    """At the first timesteps 1 - alphabar is .00085: in bf16 alphabar rounds to 1, and the division is by zero."""
    folder = str(tiny.make(tmp_path / "base", prediction))
    half, single = DiffusionModel.load(folder, dtype=dtype), DiffusionModel.load(folder)
    x_t, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    found = half.predict_noise(x_t, t, half.encode_condition(["a dog"] * 2))
    expected = single.predict_noise(x_t, t, single.encode_condition(["a dog"] * 2))
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def compile_without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch.compiler.reset()


@torch.no_grad()
def predict_three_times(base: DiffusionModel, lora: Method) -> list[torch.Tensor]:
    """Without the LoRA, with it, without it."""
    draw = torch.Generator().manual_seed(0)
    x_t = torch.randn(1, 4, base.unet.config.sample_size, base.unet.config.sample_size, generator=draw)
    condition, t = base.encode_condition(["a dog"], torch.eye(8)[:1]), torch.tensor([500])
    found = [base.predict_noise(x_t, t, condition)]
    with lora.attach():
        found.append(base.predict_noise(x_t, t, condition))
    return [*found, base.predict_noise(x_t, t, condition)]


def assert_hooks_are_noticed(compiled: DiffusionModel, lora: Method, plain: list[torch.Tensor], thread: bool) -> None:
    """Where they are not, the second pass is that of the first: off by 60 % of the shipped LoRA's effect."""
    found: list[torch.Tensor] = []

    def predict() -> None:
        found.extend(predict_three_times(compiled, lora))

    if thread:
        other = threading.Thread(target=predict)
        other.start()
        other.join()
    else:
        predict()
    torch.compiler.reset()
    effect = (plain[1] - plain[0]).norm()
    assert effect > 0
    for one, right in zip(found, plain, strict=True):
        assert (one - right).norm() < 1e-3 * effect


@pytest.mark.slow
@pytest.mark.parametrize("thread", [False, True], ids=["here", "in another thread"])
def test_a_unet_compiled_for_training_notices_a_lora(thread: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_without_compiler(monkeypatch)
    compiled = train.load_training_model(
        "mini", Config(compile=True, precision="fp32"), registry.load_plugin("methods", "lora")
    )
    lora, plain = emoscene.load(compiled, method="lora").methods["lora"], DiffusionModel.load("mini")
    shipped = emoscene.load(plain, method="lora").methods["lora"]
    assert_hooks_are_noticed(compiled, lora, predict_three_times(plain, shipped), thread)


@pytest.mark.slow
@pytest.mark.parametrize("thread", [False, True], ids=["here", "in another thread"])
def test_a_unet_compiled_for_generation_notices_a_lora(
    thread: bool, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_without_compiler(monkeypatch)
    compiled, plain = DiffusionModel.load(base), DiffusionModel.load(base)
    device.compile_unet(compiled)
    expected = predict_three_times(plain, tiny.made("lora", plain))
    assert_hooks_are_noticed(compiled, tiny.made("lora", compiled), expected, thread)


@pytest.mark.parametrize(("use", "word"), [("generation", "--compile"), ("training", "compile")])
def test_nothing_to_compile_with_names_the_word_that_was_given(
    use: str, word: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(function: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand a lot more")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(EmosceneError, match=rf"^nothing can be compiled here .* or leave {word} out$"):
        device.compile_unet(DiffusionModel.load(base), blocks=use == "training")

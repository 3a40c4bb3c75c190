"""Where a base computes, and that it goes on when memory runs out."""

import inspect
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import emoscene
import tiny
from emoscene.cli.app import read_call
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion import device, device_choice
from emoscene.diffusion.model import DiffusionModel
from emoscene.evaluation import evaluate
from emoscene.evaluation import judges as judge_loading
from emoscene.learning import precision
from emoscene.pipeline.pipeline import EmotionPipeline

CALL = {"num_images_per_prompt": 4, "num_inference_steps": 2, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("base"))


@pytest.fixture
def pipe(folder: Path) -> EmotionPipeline:
    return emoscene.load(str(folder))


@pytest.fixture(scope="module")
def plain(folder: Path) -> list[np.ndarray]:
    return [np.asarray(image, int) for image in emoscene.load(str(folder))("a dog", **CALL).images]


def test_the_best_device_is_taken_and_said(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    for best in ("cuda", "xpu", "mps", "cpu"):
        monkeypatch.setattr(torch.accelerator, "is_available", lambda best=best: best != "cpu")
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda best=best: torch.device(best))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
        assert device_choice.choose_device() == torch.device(best)
        half = torch.float32 if best == "cpu" else torch.float16
        assert device_choice.choose_dtype(None, device_choice.choose_device()) == half
    told: list[str] = []
    emoscene.generate("a dog", base=str(folder), out=tmp_path / "out", num_inference_steps=1, on_message=told.append)
    assert told[0] == "generating on cpu in float32 (no accelerator is found here; a CPU's default)"


def test_a_launched_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_choice, "count_devices", lambda: {"cuda": 2, "cpu": 1})
    for rank, own in (("0", "cuda:0"), ("1", "cuda:1"), ("2", "cuda:0"), ("", "cuda")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert device_choice.choose_device() == device_choice.choose_device("cuda") == torch.device(own)
        assert device_choice.choose_device("cuda:1") == torch.device("cuda:1")
        assert device_choice.choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("place", "seat"), [("mps", "cpu"), ("cuda", "cuda:1"), ("cpu", "cpu")])
def test_judges_sit_where_it_is_painted_but_not_on_mps(
    place: str, seat: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Seen(Exception):
        """Where the judges were asked for."""

    def judges(base: str, more: list, kin: list, pictures: Path, device: str) -> None:
        raise Seen(device)

    monkeypatch.setattr(device_choice, "count_devices", lambda: {"cuda": 2, "mps": 1, "cpu": 1})
    monkeypatch.setattr(judge_loading, "load_judges", judges)
    monkeypatch.setenv("LOCAL_RANK", "1")
    Image.new("RGB", (64, 64)).save(tmp_path / "awe.png")
    with pytest.raises(Seen, match=seat):
        evaluate.evaluate(out=tmp_path / "scores", images=tmp_path, device=place)


@pytest.mark.posix
def test_memory_is_told_in_bytes_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=2048))
    for system, found in (("linux", 2048 * 1024), ("darwin", 2048)):
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(precision, "STATUS", Path("/nowhere"))
        assert precision.peak_memory() == found


@pytest.mark.skipif(not precision.STATUS.exists(), reason="Linux tells it of the memory itself")
def test_a_large_parent_is_not_taken_for_its_child() -> None:
    ballast = np.ones(2**26)
    lines = ("from pathlib import Path", "STATUS = Path('/proc/self/status')", inspect.getsource(precision.peak_memory))
    script = "\n".join([*lines, "print(peak_memory())"])
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(found.stdout) < ballast.nbytes / 4 < ballast.nbytes < precision.peak_memory()


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ({"device": "gpu"}, "no device 'gpu': there is cuda, xpu, mps, cpu; the second of several is cuda:1"),
        ({"device": "cuda:x"}, "no device 'cuda:x'"),
        ({"device": "cuda:7"}, "--device cuda:7 is not here: there is cpu"),
        ({"dtype": "float8"}, "no dtype 'float8': did you mean 'float"),
    ],
)
def test_words_that_are_off_are_one_sentence(words: dict, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_choice, "count_devices", lambda: {"cpu": 1})
    with pytest.raises(UsageError, match=remedy) as told:
        emoscene.load("mini", **words)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("verb", ["generate", "evaluate", "prepare", "train"])
@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ({"device": "cuda:7"}, "--device cuda:7 is not here: there is cpu"),
        ({"dtype": "float16"}, r"--dtype float16: cpu computes in float32 alone"),
        ({"precision": "bf16"}, r"precision=bfloat16: cpu computes in float32 alone"),
    ],
)
def test_a_device_or_a_dtype_that_is_not_there_is_refused_before_anything_loads(
    verb: str, words: dict, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a base that would take hours to download."""
    call: dict = {
        "generate": {"prompt": "a dog"},
        "evaluate": {"seeds": "0:1"},
        "prepare": {"source": "mini"},
        "train": {"name": "lora", "data": tmp_path / "data"},
    }[verb]
    run_dir.RunDir.open(tmp_path / "data", "prepared", {}).finish()
    if set(words) & {"dtype", "precision"} != set() and ("precision" in words) != (verb == "train"):
        pytest.skip("another verb's word")

    def fail(*given: object, **named: object) -> None:
        raise AssertionError("something was loaded")

    monkeypatch.setattr(DiffusionModel, "load", fail)
    monkeypatch.setattr(device_choice, "count_devices", lambda: {"cpu": 1})
    monkeypatch.setattr(device_choice, "can_multiply", lambda device, dtype: dtype == torch.float32)
    with pytest.raises(UsageError, match=remedy) as told:
        getattr(emoscene, verb)(**call, **words, out=tmp_path / "out")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("device", "precision", "asked", "sentence"),
    [
        ("cpu", "float32", (None, None), "on cpu in float32 (no accelerator is found here; a CPU's default)"),
        ("cpu", "bfloat16", ("cpu", None), "on cpu in bfloat16 (this CPU has instructions for it)"),
        ("mps", "float16", (None, None), "on mps in float16 (the accelerator that is found here; an accel"),
        ("mps", "fp32", (None, None), "on mps in fp32 (the accelerator that is found here; it gains nothing by bf16)"),
        ("mps", "float32", ("mps", "float32"), "on mps in float32 (as asked)"),
    ],
)
def test_what_was_chosen_is_said_with_its_reason(device: str, precision: str, asked: tuple, sentence: str) -> None:
    assert sentence in device_choice.explain_choice("generating", torch.device(device), precision, *asked)


def test_a_build_without_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_choice, "count_devices", lambda: {"cpu": 1})
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UsageError, match=r"--device cuda is not here: there is cpu \(this PyTorch, .* without cuda\)"):
        device_choice.choose_device("cuda")


def test_the_command_line_says_so_without_torch() -> None:
    line = "import sys; sys.modules['torch'] = None; from emoscene.cli import main; sys.exit(main.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", line, "generate", "a", "--device", "gpu"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("emoscene: no device 'gpu': there is cuda, xpu, mps, cpu")
    assert done.stderr.count("\n") == 1
    with pytest.raises(UsageError, match="bfloat16"):
        read_call("generate", ["a", "--dtype", "bfloat"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["none", "lora", "multimodal", "guidance"])
def test_half_precision_paints_nearly_the_same(name: str, dtype: str, folder: Path) -> None:
    found = []
    for kind in ("float32", dtype):
        base = device.load_model(str(folder), "cpu", kind)
        made = {} if name == "none" else {name: tiny.made(name, base)}
        pipe = EmotionPipeline(base, made)
        rows = [
            pipe.plan("a dog", emotion="awe", emotion_scale=s, num_inference_steps=2, guidance_scale=2.0)[0]
            for s in (1.0, 0.5)
        ]
        found.append(np.stack([np.asarray(image, float) for _, image in pipe.generate(rows)]))
    assert np.abs(found[0] - found[1]).mean() < (2.0 if dtype == "float16" else 8.0)


def test_convolutions_are_laid_out_channels_last(pipe: EmotionPipeline) -> None:
    for model in (pipe.base.unet, pipe.base.vae):
        weights = [p for p in model.parameters() if p.ndim == 4]
        assert weights
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def starve(pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch, enough: object) -> None:
    """Memory runs out in the decoder unless `enough(pictures at once)` holds."""
    decode = pipe.base.decode_latents

    def hungry(latents: torch.Tensor) -> torch.Tensor:
        if not enough(len(latents)):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return decode(latents)

    monkeypatch.setattr(pipe.base, "decode_latents", hungry)


def hooked(pipe: EmotionPipeline) -> bool:
    return hasattr(pipe.base.unet, "_hf_hook")


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("batch", ["over 4 images at once: going on with 2", "over 2 images at once: going on with 1"]),
        ("tiles", ["going on with 2", "going on with 1", "the autoencoder in tiles"]),
        ("offload", ["going on with 2", "going on with 1", "the autoencoder in tiles", "in main memory until"]),
    ],
)
def test_less_memory_paints_the_same_pictures(
    way: str, said: list[str], pipe: EmotionPipeline, plain: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = {
        "batch": lambda count: count == 1,
        "tiles": lambda count: count == 1 and pipe.base.vae.use_tiling,
        "offload": lambda count: count == 1 and hooked(pipe),
    }
    starve(pipe, monkeypatch, ways[way])
    told: list[str] = []
    pipe.on_message = told.append
    images = pipe("a dog", **CALL).images
    assert [any(part in line for line in told) for part in said] == [True] * len(told)
    assert len(told) == len(said)
    assert max(np.abs(np.asarray(a, int) - b).max() for a, b in zip(images, plain, strict=True)) <= 1
    again = len(told)
    pipe("a dog", **CALL)
    assert len(told) == again  # what it learnt is kept


def test_a_picture_larger_than_a_tile_is_put_together(pipe: EmotionPipeline) -> None:
    pipe.memory_policy._enable_tiling()
    side, width = pipe.base.default_size, 2 * pipe.base.default_size
    decoded: list[tuple[int, ...]] = []
    pipe.base.vae.decoder.register_forward_pre_hook(lambda module, args: decoded.append(tuple(args[0].shape[2:])))
    assert pipe("a dog", num_inference_steps=1, width=width, height=side).images[0].size == (width, side)
    assert len(decoded) > 1
    assert max(max(shape) for shape in decoded) <= side // pipe.base.vae_scale_factor


def test_what_was_painted_before_memory_ran_out_is_kept(pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []

    def paint(rows: list[int]) -> list[int]:
        turns.append(len(rows))
        if len(turns) in (1, 3):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return rows

    pipe.on_message = lambda remark: None
    assert pipe.memory_policy(paint, list(range(8))) == list(range(8))
    assert turns == [8, 4, 4, 2, 2]


def test_too_little_memory_is_one_sentence_and_other_errors_are_not_swallowed(
    pipe: EmotionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    starve(pipe, monkeypatch, lambda count: False)
    pipe.on_message = lambda remark: None
    with pytest.raises(EmosceneError, match="ask for a smaller --size"):
        pipe("a dog", num_inference_steps=1)

    def broken(latents: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(pipe.base, "decode_latents", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        pipe("a dog", num_inference_steps=1)


def test_parts_leave_the_device_once_the_next_is_needed(pipe: EmotionPipeline, plain: list[np.ndarray]) -> None:
    pipe.memory_policy._enable_offload()
    order = [part._hf_hook.prev_module_hook.model for part in (pipe.base.text_encoder, pipe.base.unet, pipe.base.vae)]
    assert order == [pipe.base.vae, pipe.base.text_encoder, pipe.base.unet]


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own inductor
def test_a_compiled_unet_hears_what_is_attached(folder: Path) -> None:
    base = device.load_model(str(folder), "cpu")
    lora = tiny.made("lora", base)
    pipes = [EmotionPipeline(base, {}), EmotionPipeline(base, {"lora": lora})]

    def latents() -> list[torch.Tensor]:
        rows = pipes[1].plan("a dog", emotion=["awe:0.5", "fear"], num_inference_steps=1)
        calls = [(pipes[0], rows), (pipes[1], rows), (pipes[1], rows[1:]), (pipes[0], rows)]
        return [list(pipe.denoise(some))[-1] for pipe, some in calls]

    before = latents()
    device.compile_unet(base)
    after = latents()
    torch.compiler.reset()
    assert (before[0] - before[1]).abs().max() > 0.01
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_nothing_to_compile_with_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(function: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nand a lot more")

    monkeypatch.setattr(torch, "compile", none)
    with pytest.raises(
        EmosceneError, match=r"^nothing can be compiled here .*compiler found\): .*leave --compile out$"
    ):
        emoscene.load(str(folder), compile=True)

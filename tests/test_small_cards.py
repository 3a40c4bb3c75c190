"""What fits on a small card: Stable Diffusion 1.5 in half precision, by the stand-in's count of live bytes.

The base has its true shapes and random weights. Matrix products, convolutions and attention are not computed; their
results have the right shapes, so each byte that is allocated is counted and an image takes seconds. Not counted are
what CUDA keeps for itself, for which half a GiB is left, cuDNN's workspaces, and what its allocator loses in gaps.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.pictures import make_method

import tiny
from emoscene.diffusion import device
from emoscene.evaluation import true_size
from emoscene.methods.lora import LoRA
from emoscene.pipeline.pipeline import EmotionPipeline
from standin_accelerator import H100, small_card, use_card

GIB = 2**30
CONTEXT = GIB // 2  # that CUDA itself keeps


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(true_size.make_true_size_base(tmp_path_factory.mktemp("sd15") / "base"))


@pytest.mark.slow
@pytest.mark.parametrize("offload", [False, True], ids=["as it comes", "offload"])
@pytest.mark.parametrize("method", ["none", "lora", "guidance", "multimodal"])
def test_stable_diffusion_generates_on_a_card_of_4_gb(method: str, offload: bool, sd15: str) -> None:
    told: list[str] = []
    with use_card(small_card(4 * GIB - CONTEXT, computes=False)) as record:
        base = device.load_model(sd15, "cuda")
        assert base.dtype == torch.float16
        weights = record.memory.allocated
        pipe = EmotionPipeline(base, {method: make_method(base, method).requires_grad_(False).eval()})
        pipe.on_message = told.append
        if offload:
            told.append(pipe.memory_policy._enable_offload())
        rows = pipe.plan("a village by a lake", emotion="awe", num_inference_steps=2)
        [(_, image)] = pipe.generate(rows, 1)
        assert image.size == (512, 512)
        assert not record.errors
    for line in told:
        assert "\n" not in line
    print(f"{method}: weights {weights / GIB:.2f} GiB, peak {record.memory.peak / GIB:.2f} GiB; {'; '.join(told)}")
    assert len(told) <= 1 + offload


def generate_with_lora(folder: str) -> tuple[np.ndarray, LoRA, int]:
    """An image, the method, and what base and method hold beside what is computed."""
    base = device.load_model(folder, "cuda", "float32")
    lora = tiny.made("lora", base)
    held = torch.cuda.memory_allocated()
    pipe = EmotionPipeline(base, {"lora": lora})
    rows = pipe.plan("a dog", emotion="awe", num_inference_steps=2, seed=3)
    [(_, image)] = pipe.generate(rows)
    return np.asarray(image, float), lora, held


def test_where_memory_is_short_a_lora_is_not_folded(tmp_path: Path) -> None:
    """Its images are the same, and the second copy of the layers is not there."""
    folder = str(tiny.make(tmp_path / "base"))
    with use_card(H100) as large:
        folded, lora, held = generate_with_lora(folder)
    copy = sum(weight.numel() * weight.element_size() for weight in lora.folded[1])
    assert copy > 0
    with use_card(small_card(held + 2 * copy - 1)) as small:
        hooked, lora, _ = generate_with_lora(folder)
    assert not lora.folded[1]
    assert not small.errors
    assert small.memory.peak < large.memory.peak - copy / 2
    assert np.abs(folded - hooked).max() <= 1


@pytest.mark.parametrize("way", ["_enable_tiling", "_enable_offload"])
def test_a_folded_copy_is_given_up_once_memory_ran_out(way: str, tmp_path: Path) -> None:
    base = device.load_model(str(tiny.make(tmp_path / "base")), "cpu")
    lora = tiny.made("lora", base)
    pipe = EmotionPipeline(base, {"lora": lora})
    before = np.asarray(pipe("a dog", emotion="awe", num_inference_steps=2).images[0], float)
    assert lora.folded[1]
    getattr(pipe.memory_policy, way)()
    after = np.asarray(pipe("a dog", emotion="awe", num_inference_steps=2).images[0], float)
    assert not lora.folded[1]
    assert np.abs(before - after).max() <= 1

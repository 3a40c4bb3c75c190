"""A Stable Diffusion with random weights, small enough to make in a test: `tiny.make(folder)`; methods, judges."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from emoscene.core import registry
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.families.sd1 import PIPELINE
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.judge import Judge
from emoscene.learning import learner as learners
from emoscene.learning.learner import Batch
from emoscene.methods.base import Method
from emoscene_mini.folder import SCHEDULER
from emoscene_mini.world.scenes import SCENES

FAMILIES: dict[str, dict[str, Any]] = {
    "sd1": {"text": {}, "unet": {"cross_attention_dim": 32}, "pipeline": PIPELINE},
    "sd2": {
        "text": {"hidden_act": "gelu"},
        "unet": {"cross_attention_dim": 32, "use_linear_projection": True},
        "pipeline": PIPELINE,
    },
    "sdxl": {
        "text": {},
        "second": {"hidden_size": 48, "hidden_act": "gelu", "projection_dim": 48},
        "unet": {
            "cross_attention_dim": 80,
            "use_linear_projection": True,
            "transformer_layers_per_block": (1, 2),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 48 + 6 * 8,
        },
        "pipeline": json.loads((registry.HOME / "diffusion/bases/sdxl/model_index.json").read_text()),
    },
}
"""What the tiny bases of the families differ in."""


def make(folder: Path, prediction: str | None = None, family: str = "sd1") -> Path:
    """Write a base into `folder`; the same weights every time."""
    torch.manual_seed(0)
    own = FAMILIES[family]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [",", "<", ">", "-"]
    if family != "sd1":
        letters.append("!")
    names = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {name: i for i, name in enumerate(names)}
    padding = {} if family == "sd1" else {"pad_token": "!"}
    first = {} if family == "sdxl" else padding
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77, **first).save_pretrained(folder / "tokenizer")
    start, end = len(names) - 2, len(names) - 1
    text: dict[str, Any] = {
        "vocab_size": len(names),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    CLIPTextModel(CLIPTextConfig(**text | own["text"])).save_pretrained(folder / "text_encoder")
    if "second" in own:
        second = CLIPTextModelWithProjection(CLIPTextConfig(**text | own["second"]))
        second.save_pretrained(folder / "text_encoder_2")
        tokenizer = CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77, **padding)
        tokenizer.save_pretrained(folder / "tokenizer_2")
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **own["unet"],
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    ).save_pretrained(folder / "vae")
    scheduler = SCHEDULER | ({"prediction_type": prediction} if prediction else {})
    if prediction == "flow_prediction":
        scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps(own["pipeline"]))
    return folder


def columns(count: int = 4) -> dict:
    draw = torch.Generator().manual_seed(3)
    return {
        "latent": torch.randn(count, 4, 8, 8, generator=draw),
        "weights": torch.eye(8)[torch.arange(count) % 8],
        "emotion": torch.arange(count) % 8,
        "vector": torch.nn.functional.normalize(torch.randn(count, 64, generator=draw), dim=1),
        "caption": ["a dog"] * count,
        "caption_long": ["a dog, at night"] * count,
    }


class Columns:
    """As many samples as data to read from."""

    def __init__(self, count: int) -> None:
        self.every = columns(count)

    def __len__(self) -> int:
        return len(self.every["caption"])

    def read(self, indices: list[int], names: tuple[str, ...]) -> dict:
        """The named columns of some rows; the rows of a batch in the order of their numbers."""
        return {name: self.every[name][: len(indices)] for name in names}


def batch(step: int = 0, count: int = 4) -> Batch:
    return Batch(columns(count), seed=5, step=step, slots=range(count))


def made(name: str, base: DiffusionModel, moved: bool = True) -> Method:
    """The method, every parameter moved off its start as training would."""
    cls = registry.load_plugin("methods", name)
    method = cls.from_scratch(cls.Config(), base).to(base.device)
    if moved:
        with torch.no_grad():
            for key, parameter in sorted(method.named_parameters()):
                draw = torch.Generator().manual_seed(len(key))
                parameter += 0.05 * torch.randn(parameter.shape, generator=draw).to(base.device)
                parameter.copy_(parameter.half())  # as artifacts are stored
        method.requires_grad_(False)
    return method


def judges(folder: Path, **about: str) -> list[Path]:
    """An untrained judge of emotions and one of scenes, each in a folder of its name; about: more for their cards."""
    for target, labels in (("emotion", EMOTIONS), ("scene", tuple(sorted(SCENES)))):
        torch.manual_seed(0)
        (folder / target).mkdir(parents=True)
        small = {"side": 64, "patch": 16, "width": 32, "layers": 1, "heads": 2}
        judge = Judge.from_scratch(Judge.Config(target=target, labels=labels, **small), None)
        learners.save_learner(judge, "judge", folder / target, None, **about)
    return [folder / "emotion", folder / "scene"]

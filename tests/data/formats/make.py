"""Makes `sd15_keys.txt`: `python tests/data/formats/make.py`. What ComfyUI and A1111 accept for Stable Diffusion 1.5.

Written from their side, not from diffusers': ComfyUI (`comfy/utils.py: unet_to_diffusers`, `comfy/lora.py`) walks the
original checkpoint, twelve input blocks, a middle one and twelve output blocks of two and three residual blocks a level
with one transformer each on the first three levels, and says which `lora_unet_` name of diffusers' each weight has; the
text encoder's twelve layers have six `lora_te_text_model_` names each. A1111 (`extensions-builtin/Lora/networks.py`)
takes the same. Each line: the name a LoRA uses, and the original's module.
"""

from collections.abc import Iterator
from pathlib import Path

LEVELS, RESIDUAL, ATTENDED = 4, 2, 3
TRANSFORMER = [
    "proj_in",
    "proj_out",
    *(f"transformer_blocks.0.{a}.to_{x}" for a in ("attn1", "attn2") for x in ("q", "k", "v", "out.0")),
    "transformer_blocks.0.ff.net.0.proj",
    "transformer_blocks.0.ff.net.2",
]
RESNET = {"in_layers.2": "conv1", "out_layers.3": "conv2", "emb_layers.1": "time_emb_proj"}
SHORTCUT = {"skip_connection": "conv_shortcut"}
CLIP = [*(f"self_attn.{x}_proj" for x in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2"]


def block(ours: str, at: str, number: int, attended: bool, shortcut: bool) -> Iterator[tuple[str, str]]:
    """A residual block and, behind it, perhaps a transformer."""
    for theirs, name in (RESNET | (SHORTCUT if shortcut else {})).items():
        yield f"{ours}.resnets.{number}.{name}", f"{at}.0.{theirs}"
    for name in TRANSFORMER if attended else ():
        yield f"{ours}.attentions.{number}.{name}", f"{at}.1.{name}"


def unet() -> Iterator[tuple[str, str]]:
    """Every layer of the UNet by diffusers' name and the original's."""
    yield from {
        "conv_in": "input_blocks.0.0",
        "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
    }.items()
    for level in range(LEVELS):
        first = 1 + level * (RESIDUAL + 1)
        for i in range(RESIDUAL):
            wider = i == 0 and level in (1, 2)  # 320 -> 640 -> 1280 -> 1280
            yield from block(f"down_blocks.{level}", f"input_blocks.{first + i}", i, level < ATTENDED, wider)
        if level < LEVELS - 1:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{first + RESIDUAL}.0.op"
    for theirs, name in RESNET.items():
        yield f"mid_block.resnets.0.{name}", f"middle_block.0.{theirs}"
        yield f"mid_block.resnets.1.{name}", f"middle_block.2.{theirs}"
    for name in TRANSFORMER:
        yield f"mid_block.attentions.0.{name}", f"middle_block.1.{name}"
    for level in range(LEVELS):
        attended = level >= LEVELS - ATTENDED
        for i in range(RESIDUAL + 1):
            at = f"output_blocks.{level * (RESIDUAL + 1) + i}"
            yield from block(f"up_blocks.{level}", at, i, attended, True)
        if level < LEVELS - 1:
            yield f"up_blocks.{level}.upsamplers.0.conv", f"{at}.{2 if attended else 1}.conv"


def text() -> Iterator[tuple[str, str]]:
    """The text encoder's."""
    for layer in range(12):
        for name in CLIP:
            at = f"text_model.encoder.layers.{layer}.{name}"
            yield at, f"transformer.{at}"


def lines() -> list[str]:
    """The list: what a LoRA calls each layer, and what the checkpoint does."""
    named = [*(("lora_unet_", pair) for pair in unet()), *(("lora_te_", pair) for pair in text())]
    return [f"{prefix}{ours.replace('.', '_')} {theirs}" for prefix, (ours, theirs) in named]


if __name__ == "__main__":
    Path(__file__).with_name("sd15_keys.txt").write_text("\n".join(lines()) + "\n")

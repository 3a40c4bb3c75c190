"""The names that Stable Diffusion v1.5's weights have in a single file: `ldm.state(base)`, from a folder's parts.

The original code counts blocks where diffusers nests them: `down_blocks.1.resnets.0` is `input_blocks.4.0`, and the
autoencoder's decoder goes upwards the other way round. Whatever is left over has the wrong name, and is refused.
"""

import re

import torch

UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "encoder.layers.": "transformer.resblocks.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.out_proj.": ".attn.out_proj.",
    "final_layer_norm.": "ln_final.",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENDED = r"up_blocks\.(\d+)\.attentions\."
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def state(base):
    """A single file's weights, for a base whose autoencoder and UNet have as many blocks as they have widths."""
    layers, widths = base.unet.config.layers_per_block, len(base.unet.config.block_out_channels)
    attended = {int(found[1]) for key in base.unet.state_dict() if (found := re.match(ATTENDED, key))}
    found = {f"model.diffusion_model.{unet(k, layers, attended)}": v for k, v in base.unet.state_dict().items()}
    for key, value in base.vae.state_dict().items():
        square = value[..., None, None] if "attentions" in key and "norm" not in key and value.ndim == 2 else value
        found[f"first_stage_model.{vae(key, len(base.vae.config.block_out_channels))}"] = square
    found |= text(base)
    assert widths == len({re.match(r"down_blocks\.(\d+)", k)[1] for k in base.unet.state_dict() if "down_blocks" in k})
    return {key: value.clone().contiguous() for key, value in found.items()}


def text(base):
    """The weights of the text encoders, under the names of the base's family."""
    if base.family.name == "sd1":
        return {f"cond_stage_model.transformer.text_model.{k}": v for k, v in base.text_encoder.state_dict().items()}
    if base.family.name == "sd2":
        return open_clip(base.text_encoder, "cond_stage_model.model.")
    first, second = base.text_encoder.encoders
    names = {f"conditioner.embedders.0.transformer.text_model.{k}": v for k, v in first.state_dict().items()}
    return names | open_clip(second, "conditioner.embedders.1.model.")


def open_clip(encoder, prefix):
    """OpenCLIP's names: one matrix projects to queries, keys and values, and the last projection lies turned."""
    state = {key.removeprefix("text_model."): value for key, value in encoder.state_dict().items()}
    found = {}
    for key, value in state.items():
        name = key
        for theirs, ours in OPEN_CLIP.items():
            name = name.replace(theirs, ours)
        if ".k_proj." in key or ".v_proj." in key:
            continue
        if ".q_proj." in key:
            value = torch.cat([state[key.replace(".q_proj.", f".{one}_proj.")] for one in "qkv"])
            name = name.replace(".self_attn.q_proj.", ".attn.in_proj_")
        if key == "text_projection.weight":
            name, value = "text_projection", value.T
        found[prefix + name] = value
    return found


def unet(key, layers, attended=frozenset({1, 2, 3})):
    """A weight of the UNet; attended: the blocks of its way up that have attention."""
    for theirs, name in UNET.items():
        key = re.sub(rf"^{re.escape(theirs)}\.", f"{name}.", key)
    if block := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.", key):
        way, i, kind, j = block[1], int(block[2]), block[3], int(block[4])
        rest = key[block.end() :]
        if kind == "downsamplers":
            return f"input_blocks.{(i + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
        if kind == "upsamplers":
            last = i * (layers + 1) + layers
            return f"output_blocks.{last}.{1 + (i in attended)}.{rest}"
        number = 1 + i * (layers + 1) + j if way == "down" else i * (layers + 1) + j
        key = f"{'input' if way == 'down' else 'output'}_blocks.{number}.{int(kind == 'attentions')}.{rest}"
    for theirs, name in RESNET.items():
        key = re.sub(rf"^(\w+_block(?:s\.\d+)?\.\d+)\.{theirs}\.(weight|bias)$", rf"\1.{name}.\2", key)
    assert not re.search("down_blocks|up_blocks|mid_block|resnets|attentions", key), key
    return key


def vae(key, widths):
    """A weight of the autoencoder."""
    key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_norm_out", "norm_out")
    for number in (0, 1):
        key = key.replace(f"mid_block.resnets.{number}", f"mid.block_{number + 1}")
    if "mid.attn_1" in key:
        for theirs, name in ATTENTION.items():
            key = key.replace(f"attn_1.{theirs}.", f"attn_1.{name}.")
    key = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda found: f"up.{widths - 1 - int(found[1])}.block.", key)
    key = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda found: f"up.{widths - 1 - int(found[1])}.upsample", key)
    key = key.replace("conv_shortcut", "nin_shortcut")
    assert not re.search("down_blocks|up_blocks|mid_block|resnets|attentions", key), key
    return key

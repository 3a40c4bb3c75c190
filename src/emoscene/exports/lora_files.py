"""Files that kohya's scripts, ComfyUI and AUTOMATIC1111 load: one LoRA and an embedding an emotion.

A layer's name is its path in diffusers with underscores, `lora_unet_` or `lora_te_` before it; ComfyUI and A1111 map
these to their own. Each layer has `lora_down`, `lora_up` and its true `alpha`, which those programs divide by the rank.
What the browsers of models show stands in the metadata: `ss_*` as kohya's trainer writes it, as far as it is true of
this training, and `modelspec.*` (ModelSpec 1.0.1). `sshs_model_hash` is the sha256 of the tensors alone, by which A1111
knows the file again; `sshs_legacy_hash` that of 64 KB from the first MB on, the metadata without `modelspec`.

An embedding's name in a prompt is its file's: `emo-awe` in A1111, `embedding:emo-awe` in ComfyUI.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from emoscene import __version__
from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.diffusion.families.base import Family
from emoscene.diffusion.loras import hash_tensors
from emoscene.exports.artifact import (
    EMOTION,
    PROMPT,
    Artifact,
    ExportBundle,
    example_script,
    restore_layer_name,
    token_name,
)

TRAINER = {  # kohya's word for a setting of ours
    "seed": "ss_seed",
    "lr": "ss_learning_rate",
    "steps": "ss_max_train_steps",
    "batch_size": "ss_total_batch_size",
    "schedule": "ss_lr_scheduler",
    "max_grad_norm": "ss_max_grad_norm",
    "snr_gamma": "ss_min_snr_gamma",
    "noise_offset": "ss_noise_offset",
    "cond_drop_prob": "ss_caption_dropout_rate",
}
SCALING = """`<lora:{name}:s>` (`strength_model` of ComfyUI's LoraLoader) scales the update as `--emotion-scale s`
does. An embedding's weight, `({token}:s)`, is not the emotion scale: A1111 multiplies those positions of the text and
mends the mean, ComfyUI moves them from where an empty prompt has them, emoscene moves the whole text, E0 + s (E -
E0). So text and update are the same where both are 1, and only similar elsewhere. A mixture (`awe:0.7,fear:0.3`) has
no counterpart but weighted embeddings. (The script above was run; the other programs were not: their published key
maps were read.)"""
SHAPE = """

The base of this one, `{base}`, has not the shape of a {label}, and these programs load no other base of its kind:
the files show what an export for {label} looks like."""
LOAD_FILE = "from safetensors.torch import load_file\n"


def plan_lora_files(artifact: Artifact, lora: str = "", embeddings: str = "") -> ExportBundle:
    """Plan the files that kohya's scripts, ComfyUI and AUTOMATIC1111 load.

    Args:
        artifact: The artifact.
        lora: The sub-folder of the LoRA.
        embeddings: The sub-folder of the embeddings.

    Returns:
        The files and their descriptions.

    Raises:
        UsageError: The method has neither embeddings nor a LoRA.
    """
    if not artifact.tokens:
        what = "an attention of its own"
        if artifact.learner == "guidance":
            what = "a gradient in the sampler"
        raise UsageError(
            f"{artifact.learner} is {what}, for which these programs have no file: export it --to diffusers"
        )
    parts, files, loading = {}, {}, []
    if artifact.low_rank_factors:
        file = str(Path(lora) / f"{artifact.name}.safetensors")
        parts[file] = _file_with_metadata(
            layer_tensors(artifact), network_metadata(artifact) | modelspec_metadata(artifact, "lora")
        )
        files[file] = "the LoRA, with alphas and metadata"
        loading.append(f'pipe.load_lora_weights(here, weight_name="{file}")')
    for emotion, vectors in artifact.tokens.items():
        about = modelspec_metadata(artifact, "textual-inversion", emotion)
        tensors = artifact.split_vectors(vectors) or {"emb_params": vectors.contiguous()}
        parts[f"{Path(embeddings) / token_name(emotion)}.safetensors"] = _file_with_metadata(tensors, about)
    files[str(Path(embeddings) / "emo-*.safetensors")] = "an emotion's embedding; the file's name is the word to write"
    file, imports = f"{Path(embeddings) / token_name(EMOTION)}.safetensors", ""
    if artifact.pipe.base.family.export_names.embeddings:
        imports = LOAD_FILE
        loading.append(load_both_encoders(file))
    else:
        loading.append(f'pipe.load_textual_inversion(here, weight_name="{file}", token="<{token_name(EMOTION)}>")')
    script = example_script(artifact, imports, "\n".join(loading), json.dumps(f"{PROMPT} <{token_name(EMOTION)}>"))
    scaling = SCALING.format(name=artifact.name, token=token_name(EMOTION))
    return ExportBundle("diffusers", parts, files, script, scaling, _usage_text(artifact), token_name)


def load_both_encoders(file: str) -> str:
    """Write the lines of a script that load an emotion's vectors into both text encoders.

    Args:
        file: The file, in the folder `here`.

    Returns:
        The lines.
    """
    name = f"<{token_name(EMOTION)}>"
    lines = [f'vectors = load_file(f"{{here}}/{file}")']
    for key, ending in (("clip_l", ""), ("clip_g", "_2")):
        model = f"text_encoder=pipe.text_encoder{ending}, tokenizer=pipe.tokenizer{ending}"
        lines.append(f'pipe.load_textual_inversion(vectors["{key}"], token="{name}", {model})')
    return "\n".join(lines)


def layer_key(family: Family, part: str, layer: str, layers_per_block: int = 2) -> str:
    """Name a layer as these programs do.

    Args:
        family: The base's, which has its own beginnings and its own way to count blocks.
        part: `unet` or `text_encoder`.
        layer: The layer's name in the model.
        layers_per_block: Of the UNet.

    Returns:
        The key.
    """
    name = restore_layer_name(part, layer)
    if part == "unet":
        name = family.name_lora_layer(name, layers_per_block)
    return f"{family.export_names.lora_prefixes[part]}_{name.replace('.', '_')}"


def layer_tensors(artifact: Artifact) -> dict[str, Tensor]:
    """Rename the tensors of the update.

    Args:
        artifact: The artifact, with a LoRA.

    Returns:
        The factors and alphas by these programs' keys.
    """
    alpha, tensors = torch.tensor(float(artifact.peft_config["lora_alpha"])), dict[str, Tensor]()
    base = artifact.pipe.base
    for (part, layer), (a, b) in artifact.low_rank_factors.items():
        name = layer_key(base.family, part, layer, base.unet.config.layers_per_block)
        tensors |= {f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b, f"{name}.alpha": alpha.clone()}
    return tensors


def network_metadata(artifact: Artifact) -> dict[str, Any]:
    """Collect the metadata `ss_*` of kohya's trainer, as far as it is known of this training.

    Args:
        artifact: The artifact, with a LoRA.

    Returns:
        The metadata; None for what is not known.
    """
    rank, alpha = artifact.peft_config["r"], artifact.peft_config["lora_alpha"]
    known, base = artifact.training_facts, artifact.pipe.base
    convolutions = any(a.ndim == 4 and a.shape[-1] > 1 for a, _ in artifact.low_rank_factors.values())
    arguments, base_version = {}, Path(base.name).name
    if convolutions:
        arguments = {"conv_dim": rank, "conv_alpha": alpha}
    if artifact.has_usual_shape:
        base_version = base.family.export_names.kohya
    settings = {}
    for name, value in known["settings"].items():
        if name in TRAINER:
            settings[TRAINER[name]] = value
    return {
        **settings,
        "ss_output_name": artifact.name,
        "ss_base_model_version": base_version,
        "ss_sd_model_name": artifact.hub or Path(base.name).name,
        "ss_v2": base.family.name == "sd2",
        "ss_network_module": "networks.lora",
        "ss_network_dim": rank,
        "ss_network_alpha": alpha,
        "ss_network_args": arguments,
        "ss_num_train_images": known["images"],
        "ss_tag_frequency": {"emoscene": {token_name(name): count for name, count in known["emotions"].items()}},
        "ss_resolution": f"({base.default_size}, {base.default_size})",
        "ss_optimizer": optimizer_name(known["settings"]),
        "ss_training_comment": f"emoscene {__version__}, {artifact.learner}",
    }


def optimizer_name(settings: Mapping[str, Any]) -> str | None:
    """Name the optimizer as kohya's trainer does.

    Args:
        settings: The settings of the training.

    Returns:
        The name; None where it is not known, or two optimizers were used.
    """
    name = settings.get("optimizer", "adamw")
    if settings.get("muon") != 0 or name not in registry.list_names("optimizers"):
        return None
    path: str = registry.load_table("optimizers", name)["class"]
    return path


def modelspec_metadata(artifact: Artifact, kind: str, emotion: str = "") -> dict[str, Any]:
    """Collect the metadata `modelspec.*` of a file (ModelSpec 1.0.1).

    Args:
        artifact: The artifact.
        kind: `lora` or `textual-inversion`.
        emotion: The emotion of an embedding.

    Returns:
        The metadata.
    """
    base = artifact.pipe.base
    made = max(file.stat().st_mtime for file in artifact.folder.glob("*.safetensors"))
    triggers = [token_name(name) for name in artifact.tokens]
    if emotion:
        triggers = [token_name(emotion)]
    architecture, prediction = Path(base.name).name, "epsilon"
    if artifact.has_usual_shape:
        architecture = base.family.export_names.modelspec
    if base.noise_process.prediction == "v_prediction":
        prediction = "v"
    implementation = "https://github.com/Stability-AI/generative-models"
    if kind == "lora":
        implementation = "diffusers"
    about = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{architecture}/{kind}",
        "implementation": implementation,
        "implementation_version": f"emoscene/{__version__}",
        "title": f"{artifact.name} {emotion}".strip(),
        "resolution": f"{base.default_size}x{base.default_size}",
        "description": f"{emotion or 'Eight emotions'} for {base.name}, by emoscene's {artifact.learner}",
        "date": datetime.fromtimestamp(int(made), UTC).isoformat(),
        "license": artifact.licence,
        "usage_hint": "write the trigger phrase after the prompt's own words",
        "tags": "emotion",
        "trigger_phrase": ", ".join(triggers),
        "prediction_type": prediction,
    }
    if emotion:
        about["is_negative_embedding"] = "false"
    return {f"modelspec.{name}": value for name, value in about.items()}


def _file_with_metadata(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    """A file with its metadata, which are all text, and its hashes."""
    state = dict(tensors)
    texts = {}
    for name, value in about.items():
        if isinstance(value, dict):
            texts[name] = json.dumps(value)
        elif value is not None:
            texts[name] = str(value)
    trainers = {name: value for name, value in texts.items() if name.startswith("ss_")}
    plain = save(state, trainers)
    texts["modelspec.hash_sha256"] = f"0x{hash_tensors(plain)}"
    if trainers:
        texts |= {
            "sshs_model_hash": hash_tensors(plain),
            "sshs_legacy_hash": sha256(plain[0x100000:0x110000]).hexdigest()[:8],
        }
    data: bytes = save(state, texts)
    return data


def _usage_text(artifact: Artifact) -> str:
    """How to write it in the other programs."""
    lora, loader, shape = "", "", ""
    if artifact.low_rank_factors:
        lora = f" <lora:{artifact.name}:1>"
        loader = f"LoraLoader with `{artifact.name}` and "
    if not artifact.has_usual_shape:
        shape = SHAPE.format(base=artifact.pipe.base.name, label=artifact.pipe.base.family.label)
    return (
        f"In AUTOMATIC1111: `{PROMPT} {token_name(EMOTION)}{lora}`. In ComfyUI: {loader}the prompt "
        f"`{PROMPT} embedding:{token_name(EMOTION)}`.{shape}"
    )

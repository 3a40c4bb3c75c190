"""Plain diffusers: the files that it loads, and what else a script needs to generate the same image.

    pytorch_lora_weights.safetensors   the update, with its rank and alpha in the metadata     load_lora_weights
    emo-awe.safetensors                an emotion's vectors under the token <emo-awe>          load_textual_inversion
    ip_adapter.safetensors             the projector and the layers' own keys and values       load_ip_adapter
    emotions.safetensors               each emotion's vector, for the projector                ip_adapter_image_embeds
    guidance/                          the classifier: only emoscene's sampler can use it

An emotion's token becomes as many tokens as it has vectors, after the prompt's words, which is where they were trained.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from diffusers.loaders import StableDiffusionLoraLoaderMixin
from safetensors.torch import load_file, save
from torch import Tensor

from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.exports.artifact import (
    EMOTION,
    PROMPT,
    SEED,
    Artifact,
    ExportBundle,
    example_script,
    restore_layer_name,
    token_name,
)
from emoscene.exports.lora_files import load_both_encoders
from emoscene.learning import learner as learners

LORA, ADAPTER, VECTORS = "pytorch_lora_weights.safetensors", "ip_adapter.safetensors", "emotions.safetensors"
IMPORTS = "from safetensors.torch import load_file\n"
BLEND = """The token in the prompt is emotion scale 1. In between, emoscene blends two texts, as plain diffusers can:

```python
E0, negative = pipe.encode_prompt({prompt}, "cpu", 1, True)
E1, negative = pipe.encode_prompt({full}, "cpu", 1, True)
seed = torch.Generator().manual_seed({seed})
half = pipe(prompt_embeds=torch.lerp(E0, E1, 0.5), negative_prompt_embeds=negative, {scale}
            num_inference_steps={steps}, guidance_scale={cfg}, generator=seed).images[0]
```

That is `--emotion-scale 0.5`, and so is every other s >= 0 with s in its place{gain}. Below 0 the negative text, too,
emotion, by |s|. A mixture is E0 + c sum_i a_i (E_i - E0), c = sum_i |a_i| / sqrt(sum_i a_i^2){sum}."""
BLEND_POOLED = BLEND.replace(
    """E0, negative = pipe.encode_prompt({prompt}, "cpu", 1, True)
E1, negative = pipe.encode_prompt({full}, "cpu", 1, True)
""",
    """E0, negative, P0, negative_pooled = pipe.encode_prompt({prompt}, device="cpu")
E1, negative, P1, negative_pooled = pipe.encode_prompt({full}, device="cpu")
pooled = {{"pooled_prompt_embeds": torch.lerp(P0, P1, 0.5), "negative_pooled_prompt_embeds": negative_pooled}}
""",
).replace("negative_prompt_embeds=negative, {scale}", "negative_prompt_embeds=negative, **pooled, {scale}")
SCALE = 'cross_attention_kwargs={"scale": 0.5},'
GAIN = ", the LoRA's scale as well", ", the LoRA's scale sum_i |a_i|"
ATTENTION = """`pipe.set_ip_adapter_scale(s)` is `--emotion-scale s`, at every s >= 0, for one emotion with weight 1. A
mixture attends to each emotion's tokens apart: load the file once for each, with its own vectors and scale. Below 0 the
emotion stands in the negative half as well: load it a second time, with scale |s| and the two rows of its vectors
changed round."""
GRADIENT = """diffusers' pipelines have no place for a classifier's gradient (`callback_on_step_end` comes after the
solver's step), so this one needs emoscene, where `--emotion-scale` is the weight of the gradient."""


def diffusers(artifact: Artifact) -> ExportBundle:
    """Plan the files for diffusers.

    Args:
        artifact: The artifact.

    Returns:
        The files and their descriptions.

    Raises:
        UsageError: diffusers has no format for the method.
    """
    if (artifact.folder / ADAPTER).is_file():
        return _plan_ip_adapter(artifact)
    if artifact.learner == "guidance":
        return _plan_classifier(artifact)
    if artifact.tokens:
        return _plan_tokens(artifact)
    raise UsageError(f"{artifact.folder} is a {artifact.learner}, and diffusers has no form for it")


def _plan_tokens(artifact: Artifact) -> ExportBundle:
    """Vectors of the text encoder, and perhaps a LoRA."""
    parts = dict[str, bytes | Callable[[Path], object]]()
    files, loading = {}, []
    if artifact.low_rank_factors:
        parts[LORA] = partial(_lora_files, artifact)
        files[LORA] = "the LoRA, its rank and alpha in the metadata"
        loading.append(f'pipe.load_lora_weights(here, weight_name="{LORA}")')
    for emotion, vectors in artifact.tokens.items():
        tensors = artifact.split_vectors(vectors) or {trigger_word(emotion): vectors.contiguous()}
        parts[f"{token_name(emotion)}.safetensors"] = save(tensors)
    files["emo-*.safetensors"] = "an emotion's learned vectors, to be written `<emo-awe>` after the prompt's words"
    has_both, imports = bool(artifact.pipe.base.family.export_names.embeddings), ""
    if has_both:
        imports = IMPORTS
        loading.append(load_both_encoders(f"{token_name(EMOTION)}.safetensors"))
    else:
        loading.append(f'pipe.load_textual_inversion(here, weight_name="{token_name(EMOTION)}.safetensors")')
    full = json.dumps(f"{PROMPT} {trigger_word(EMOTION)}")
    scale, gain, whole = "", "", ""
    if artifact.low_rank_factors:
        scale, gain, whole = SCALE, GAIN[0], GAIN[1]
    asked = {"sum": whole, "steps": artifact.steps, "cfg": artifact.pipe.base.spec.guidance_scale, "seed": SEED}
    scaling = (BLEND_POOLED if has_both else BLEND).format(
        prompt=json.dumps(PROMPT), full=full, scale=scale, gain=gain, **asked
    )
    return ExportBundle(
        "diffusers",
        parts,
        files,
        example_script(artifact, imports, "\n".join(loading), full),
        scaling,
        trigger=trigger_word,
    )


def trigger_word(emotion: str) -> str:
    """Write an emotion in a prompt.

    Args:
        emotion: The emotion.

    Returns:
        The token, such as `<emo-awe>`.
    """
    return f"<{token_name(emotion)}>"


def _lora_files(artifact: Artifact, file: Path) -> None:
    """The update under the names of diffusers' own writer, with PEFT's description of it."""
    layers: dict[str, dict[str, Tensor]] = {"unet": {}, "text_encoder": {}}
    for (part, layer), (a, b) in artifact.low_rank_factors.items():
        layers[part] |= {
            f"{restore_layer_name(part, layer)}.lora_A.weight": a,
            f"{restore_layer_name(part, layer)}.lora_B.weight": b,
        }
    about = {}
    for name, named in layers.items():
        if named:
            about[f"{name}_lora_adapter_metadata"] = {
                "r": artifact.peft_config["r"],
                "lora_alpha": artifact.peft_config["lora_alpha"],
                "target_modules": sorted({key.rpartition(".lora_")[0] for key in named}),
            }
    StableDiffusionLoraLoaderMixin.save_lora_weights(
        file.parent, layers["unet"], layers["text_encoder"], weight_name=file.name, **about
    )


def _plan_ip_adapter(artifact: Artifact) -> ExportBundle:
    """An adapter in the shape of IP-Adapter, and the vectors that take the image's place."""
    prototypes = load_file(str(artifact.folder / "prototypes.safetensors"))["prototypes"]
    named = {}
    for emotion, vector in zip(EMOTIONS, prototypes, strict=True):
        named[emotion] = vector.contiguous()
    parts = {ADAPTER: (artifact.folder / ADAPTER).read_bytes(), VECTORS: save(named)}
    files = {ADAPTER: "the adapter", VECTORS: "EmotionCLIP's mean vector of each emotion's images"}
    loading = f"""pipe.load_ip_adapter(here, subfolder="", weight_name="{ADAPTER}", image_encoder_folder=None)
pipe.set_ip_adapter_scale(1.0)
emotion = load_file(f"{{here}}/{VECTORS}")["{EMOTION}"].float()
vectors = torch.stack([torch.zeros_like(emotion), emotion])[:, None]  # nothing in the negative half"""
    call = f"{json.dumps(PROMPT)}, ip_adapter_image_embeds=[vectors]"
    return ExportBundle("diffusers", parts, files, example_script(artifact, IMPORTS, loading, call), ATTENTION)


def _plan_classifier(artifact: Artifact) -> ExportBundle:
    """The classifier's own folder, as emoscene reads it."""
    base = artifact.pipe.base
    script = f"""import emoscene

pipe = emoscene.load({json.dumps(base.name)}, adapter="guidance")  # the folder of that name beside this file
image = pipe({json.dumps(PROMPT)}, emotion="{EMOTION}", seed={SEED}, num_inference_steps={artifact.steps}).images[0]
image.save("{EMOTION}.png")"""
    parts = {"guidance": partial(_copy_artifact, artifact.folder)}
    return ExportBundle("emoscene", parts, {"guidance/": "the classifier of noisy latents"}, script, GRADIENT)


def _copy_artifact(artifact: Path, aside: Path) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name in (
        learners.CARD,
        "model.safetensors",
    ):  # what was read and found to be that; nothing else that lies there
        shutil.copyfile(artifact / name, aside / name)

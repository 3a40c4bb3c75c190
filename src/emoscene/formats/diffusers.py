"""Files that plain diffusers loads, and what else a script needs to paint the same picture.

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
from pathlib import Path

from diffusers.loaders import StableDiffusionLoraLoaderMixin
from safetensors.torch import load_file, save
from torch import Tensor

from emoscene import learner as learners
from emoscene import stage
from emoscene.emotions import EMOTIONS
from emoscene.errors import Usage
from emoscene.formats.artifact import EMOTION, PROMPT, SEED, Artifact, Told, example, restored, token

IMPORTS = "from safetensors.torch import load_file\n"
BLEND = """The token in the prompt is strength 1. In between, emoscene blends two texts, and plain diffusers can too:

```python
E0, negative = pipe.encode_prompt({prompt}, "cpu", 1, True)
E1, negative = pipe.encode_prompt({full}, "cpu", 1, True)
seed = torch.Generator().manual_seed({seed})
half = pipe(prompt_embeds=torch.lerp(E0, E1, 0.5), negative_prompt_embeds=negative, {scale}
            num_inference_steps={steps}, guidance_scale={cfg}, generator=seed).images[0]
```

That is `--strength 0.5`, and so is every other s with s in its place{gain}. A mixture is E0 + sum_i a_i (E_i - E0)."""
SCALE = 'cross_attention_kwargs={"scale": 0.5},'
GAIN = ", the LoRA's scale being |s|, or sum_i |a_i|"
ADAPTER = """`pipe.set_ip_adapter_scale(s)` is `--strength s`, at every s, for one emotion with weight 1. A mixture
attends to each emotion's tokens apart: load the file once for each, with its own vectors and scale."""
GUIDANCE = """diffusers' pipelines have no place for a classifier's gradient (`callback_on_step_end` comes after the
solver's step), so this one needs emoscene, where `--strength` is the weight of the gradient."""


def write(artifact: Artifact, folder: Path) -> Told:
    """Write the files; returns what the card says of them. Raises Usage for a method that diffusers has no form for."""
    if (artifact.folder / "ip_adapter.safetensors").is_file():
        return _adapter(artifact, folder)
    if artifact.learner == "guidance":
        return _guidance(artifact, folder)
    if artifact.tokens or artifact.update:
        return _words(artifact, folder)
    raise Usage(f"{artifact.folder} is a {artifact.learner}, and diffusers has no form for it")


def _words(artifact: Artifact, folder: Path) -> Told:
    """Vectors of the text encoder, and perhaps a LoRA."""
    files, loading = {}, []
    if artifact.update:
        stage.write(folder / "pytorch_lora_weights.safetensors", lambda aside: _lora(artifact, aside))
        files["pytorch_lora_weights.safetensors"] = "the LoRA, its rank and alpha in the metadata"
        loading.append('pipe.load_lora_weights(here, weight_name="pytorch_lora_weights.safetensors")')
    for emotion, vectors in artifact.tokens.items():
        state = {f"<{token(emotion)}>": vectors.contiguous()}
        stage.write(folder / f"{token(emotion)}.safetensors", save(state))
    files["emo-*.safetensors"] = "an emotion's learned vectors, to be written `<emo-awe>` after the prompt's words"
    loading.append(f'pipe.load_textual_inversion(here, weight_name="{token(EMOTION)}.safetensors")')
    full, base = json.dumps(f"{PROMPT} <{token(EMOTION)}>"), artifact.pipe.base
    scale, gain = (SCALE, GAIN) if artifact.update else ("", "")
    asked = {"steps": artifact.steps, "cfg": base.spec.cfg, "seed": SEED}
    dial = BLEND.format(prompt=json.dumps(PROMPT), full=full, scale=scale, gain=gain, **asked)
    return Told("diffusers", example(artifact, "", "\n".join(loading), full), files, dial)


def _lora(artifact: Artifact, file: Path) -> None:
    """The update under the names of diffusers' own writer, with PEFT's description of it."""
    layers: dict[str, dict[str, Tensor]] = {"unet": {}, "text_encoder": {}}
    for (part, layer), (a, b) in artifact.update.items():
        layers[part] |= {f"{restored(part, layer)}.lora_A.weight": a, f"{restored(part, layer)}.lora_B.weight": b}
    about = {
        f"{part}_lora_adapter_metadata": {
            "r": artifact.peft["r"],
            "lora_alpha": artifact.peft["lora_alpha"],
            "target_modules": sorted({key.rpartition(".lora_")[0] for key in named}),
        }
        for part, named in layers.items()
        if named
    }
    StableDiffusionLoraLoaderMixin.save_lora_weights(
        file.parent, layers["unet"], layers["text_encoder"], weight_name=file.name, **about
    )


def _adapter(artifact: Artifact, folder: Path) -> Told:
    """An adapter in the shape of IP-Adapter, and the vectors that take the picture's place."""
    prototypes = load_file(str(artifact.folder / "prototypes.safetensors"))["prototypes"]
    named = {emotion: vector.contiguous() for emotion, vector in zip(EMOTIONS, prototypes, strict=True)}
    name = "ip_adapter.safetensors"
    stage.write(folder / name, (artifact.folder / name).read_bytes())
    stage.write(folder / "emotions.safetensors", save(named))
    loading = f"""pipe.load_ip_adapter(here, subfolder="", weight_name="{name}", image_encoder_folder=None)
pipe.set_ip_adapter_scale(1.0)
emotion = load_file(f"{{here}}/emotions.safetensors")["{EMOTION}"].float()
vectors = torch.stack([torch.zeros_like(emotion), emotion])[:, None]  # nothing in the negative half"""
    files = {name: "the adapter", "emotions.safetensors": "EmotionCLIP's mean vector of each emotion's pictures"}
    call = f"{json.dumps(PROMPT)}, ip_adapter_image_embeds=[vectors]"
    return Told("diffusers", example(artifact, IMPORTS, loading, call), files, ADAPTER)


def _guidance(artifact: Artifact, folder: Path) -> Told:
    """The classifier's own folder, as emoscene reads it."""
    stage.write(folder / "guidance", lambda aside: _copied(artifact.folder, aside))
    pipe = artifact.pipe
    script = f"""import emoscene

pipe = emoscene.load({json.dumps(pipe.base.name)}, adapter="guidance")  # the folder of that name beside this file
image = pipe({json.dumps(PROMPT)}, emotion="{EMOTION}", seed={SEED}, steps={artifact.steps}).images[0]
image.save("{EMOTION}.png")"""
    return Told("emoscene", script, {"guidance/": "the classifier of noisy latents"}, GUIDANCE)


def _copied(artifact: Path, aside: Path) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for file in (artifact / learners.CARD, *artifact.glob("*.safetensors")):
        shutil.copyfile(file, aside / file.name)

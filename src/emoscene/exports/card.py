"""The model card: what the files are, pictures that they made, how to use them, what was measured, what they cannot do.

It is the `README.md` of the folder, with the header that the hub reads (YAML between two lines of dashes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from PIL import Image

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.images import contact_sheet
from emoscene.core.migration import migrate_scores
from emoscene.core.params import GenerationParams
from emoscene.core.request import Emotion
from emoscene.core.taxonomy import EMOTIONS, format_emotion
from emoscene.exports.artifact import EMOTION, PROMPT, SEED, Artifact, ExportBundle
from emoscene.pipeline import image_folder

GALLERY = "gallery"
LIMITS = """Eight words are a coarse map of what people feel. A picture made for *fear* need not frighten anyone, and
people and cultures differ: do not use this to decide what somebody feels, or ought to. Whatever the data showed with an
emotion comes with it."""
MINIATURE = """The base is emoscene's miniature of a painted world at {size} px, which shows how the method works. It
says nothing about how well the method does on photographs."""
UNKNOWN = "The base's own licence holds, and this folder cannot tell which that is: write it here before you publish."
METRICS = {
    "scene_accuracy": "scene kept",
    "alignment": "alignment with the words",
    "diversity": "diversity",
    "frechet": "Frechet distance to real pictures",
}
TAGS = ("text-to-image", "emotion", "stable-diffusion")


def gallery_params(artifact: Artifact, num: int) -> list[GenerationParams]:
    """What the gallery shows: the base, and each emotion, for `num` seeds."""
    emotions: list[Emotion] = [None, *EMOTIONS]
    asked = artifact.pipe.plan(
        PROMPT, emotion=emotions, seed=SEED, num_images_per_prompt=num, num_inference_steps=artifact.steps
    )
    return [replace(row, file=f"{format_emotion(row.emotion) or 'base'}-{row.seed:04d}.png") for row in asked]


def generate_gallery(
    artifact: Artifact, folder: Path, num: int, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the gallery's pictures and their sheet into `folder`; on_progress: told how many there are, and of how
    many.
    """
    wanted = gallery_params(artifact, num)
    image_folder.generate_missing(artifact.pipe.generate, wanted, folder / GALLERY, on_progress=on_progress)
    image_folder.gather_rows(folder / GALLERY, [row.file for row in wanted])
    images = [Image.open(folder / GALLERY / row.file).convert("RGB") for row in wanted]
    lines = [images[seed::num] for seed in range(num)]
    made = contact_sheet(
        lines, [str(SEED + seed) for seed in range(num)] if num > 1 else (), ("base", *EMOTIONS), PROMPT
    )
    run_dir.write_atomic(folder / "gallery.png", lambda aside: made.save(aside, "PNG"))


def write_card(artifact: Artifact, folder: Path, told: ExportBundle, measured: str) -> None:
    """Write the card, with these results."""
    base, learner = artifact.pipe.base, artifact.learner
    files = {**told.files, "gallery.png, gallery/": "pictures that it made, each with its own settings inside"}
    parts = {
        "": f"{_about_text(artifact)}\n\n<Gallery />\n\n![{PROMPT}: the base, then eight emotions](gallery.png)",
        "Files": "\n".join(f"- `{name}`: {what}" for name, what in files.items()),
        "Use": f"{told.use}\n\n```python\n{told.example}\n```\n\nIt paints `gallery/{EMOTION}-{SEED:04d}.png`.".strip(),
        "Strength": told.dial,
        "Results": measured,
        "Limits": LIMITS + (f"\n\n{MINIATURE.format(size=base.default_size)}" if base.spec.family == "mini" else ""),
        "Licence": f"`{artifact.licence}`, the base's." if artifact.licence != "other" else UNKNOWN,
    }
    body = "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in parts.items())
    text = f"---\n{_yaml_header(artifact, told)}\n---\n\n# {artifact.name}: {learner} for {base.name}\n\n{body}\n"
    run_dir.write_atomic(folder / "README.md", text.encode())


def result_table(artifact: Artifact, scores: str | Path | None) -> str:
    """What was measured: a table of the scores given, else what training proved of it, else that nothing was.

    Raises Usage for scores of something else.
    """
    if scores is not None:
        return _score_table(artifact, Path(scores))
    proof = artifact.card.get("proof")
    if proof and "accuracy" in proof:
        levels = "\n".join(f"| {t} | {a:.3f} |" for t, a in zip(proof["t"], proof["accuracy"], strict=True))
        return (
            f"Accuracy of the classifier on {proof['pictures']} pictures that it did not learn from, by timestep; "
            f"chance is .125.\n\n| t | accuracy |\n| --- | --- |\n{levels}"
        )
    return "Nothing was measured for this card: `emoscene evaluate`, then `emoscene export ... --scores DIR`."


def _score_table(artifact: Artifact, folder: Path) -> str:
    run_dir.read_manifest(folder, "scores")
    scores = migrate_scores(run_dir.parse_json((folder / "scores.json").read_text(encoding="utf8")))
    if artifact.manifest.get("fingerprint") not in scores.get("adapters", []):
        raise UsageError(
            f"{folder} are not the scores of {artifact.folder}: give those of `emoscene evaluate --adapter` on it"
        )
    found: dict[str, Mapping[str, Any]] = {}
    for judge, seen in scores["judges"].items():
        if "emotion_accuracy" in seen:
            found[f"emotion as asked, by the judge `{judge}`"] = seen["emotion_accuracy"]
            found |= {"the same judge on real held-out pictures": seen["ceiling"]} if seen.get("ceiling") else {}
    found |= {name: scores["metrics"][key] for key, name in METRICS.items() if key in scores["metrics"]}
    lines = [f"| {name} | {_format_figure(value)} |" for name, value in found.items()]
    how = (
        f"{scores['pictures']} pictures of {len(scores['prompts'])} prompts and {len(scores['seeds'])} seeds, in eight "
        f"emotions, at emotion scale {scores['emotion_scale']:g}, guidance {scores['guidance_scale']:g}, "
        f"{scores['num_inference_steps']} steps of "
        f"{scores['sampler']}. Intervals are 95 %, over prompts and seeds."
    )
    cautions = [f"\n> Take care: {sentence}." for sentence in scores.get("cautions", ())]
    return "\n".join([how, "", "| what | figure |", "| --- | --- |", *lines, *cautions])


def _format_figure(found: Mapping[str, Any]) -> str:
    if None in (found.get("low"), found.get("high")):
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _about_text(artifact: Artifact) -> str:
    """What it is and what it learnt from, as far as is known."""
    known, base = artifact.training_facts, artifact.pipe.base
    made = f"Words and an emotion in, pictures out: emoscene's `{artifact.learner}` on the base `{base.name}`."
    data = known["dataset"] or known["source"]
    if (cost := known["cost"]) and data and known["pictures"]:
        made += (
            f" Trained on {known['pictures']:,} pictures of `{data}`: {cost['trainable']:,} parameters, "
            f"{cost['pictures']:,} samples, {cost['seconds']:,.0f} s."
        )
    return f"{made} Its emotions are {', '.join(EMOTIONS[:-1])} and {EMOTIONS[-1]}."


def _yaml_header(artifact: Artifact, told: ExportBundle) -> str:
    """The YAML that the hub reads."""
    triggers = {name: told.trigger(name) for name in EMOTIONS} if told.trigger else {}
    shown = [
        {"text": f"{PROMPT} {triggers.get(name, '')}".strip(), "output": {"url": f"{GALLERY}/{name}-{SEED:04d}.png"}}
        for name in EMOTIONS
    ]
    dataset = artifact.training_facts["dataset"]
    lora = ["lora", "template:sd-lora"] if artifact.low_rank_factors else []
    data = ModelCardData(
        base_model=artifact.hub,
        library_name=told.library,
        license=artifact.licence,
        pipeline_tag="text-to-image",
        tags=[*TAGS, *lora, *(["stable-diffusion-diffusers"] if told.library == "diffusers" else [])],
        instance_prompt=triggers.get(EMOTION),
        datasets=[dataset] if dataset else None,
        widget=shown,
    )
    return data.to_yaml().strip()

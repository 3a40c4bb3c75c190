"""The model card: what the files are, images that they made, how to use them, what was measured, what they cannot do.

It is the `README.md` of the folder, with the header that the hub reads (YAML between two lines of dashes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from PIL import Image
from typing_extensions import TypedDict

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.file_reading import check_value
from emoscene.core.image_origin import encode_mark
from emoscene.core.images import contact_sheet
from emoscene.core.params import GenerationParams
from emoscene.core.plain_text import format_count
from emoscene.core.request import Emotion
from emoscene.core.taxonomy import EMOTIONS, format_emotion
from emoscene.evaluation.score_files import AGAIN, SCORES, read_scores
from emoscene.exports.artifact import EMOTION, PROMPT, SEED, Artifact, ExportBundle
from emoscene.pipeline import image_folder

GALLERY = "gallery"
LIMITS = """Eight words are a coarse map of what people feel. An image made for *fear* need not frighten anyone, and
people and cultures differ: do not use this to decide what somebody feels, or ought to. Whatever the data showed with an
emotion comes with it."""
BIASES = """Known biases of text-to-image models come with it. They lean towards fear, whatever the prompt says
([arXiv 2411.05985](https://arxiv.org/abs/2411.05985)). Asked for sadness or fear, they change who is shown (56,000
faces of eight models, [arXiv 2602.00032](https://arxiv.org/abs/2602.00032)), and reward models shift this further
([arXiv 2604.13305](https://arxiv.org/abs/2604.13305)). Look at what a prompt shows with an emotion and without one.

No figure that emoscene publishes was measured on real photographs: its own are those of a rendered world."""
MINIATURE = """The base is emoscene's miniature, a rendered world at {size} px, which shows how the method works. It
says nothing about how well the method does on photographs."""
UNKNOWN = "The base's own licence holds, and this folder cannot tell which that is: write it here before you publish."
METRICS = {
    "scene_accuracy": "scene kept",
    "alignment": "alignment with the words",
    "diversity": "diversity",
    "frechet": "Frechet distance to real images",
}
TAGS = ("text-to-image", "emotion", "stable-diffusion")


class GenerationScores(TypedDict):
    """What scores of a method say of how its images were generated."""

    prompts: list[Any]
    seeds: list[int]
    emotion_scale: float
    guidance_scale: float
    num_inference_steps: int
    sampler: str


class Proof(TypedDict):
    """What a card says of a classifier's validation: its accuracy at each timestep, and on how many images."""

    t: list[float]
    accuracy: list[float]
    pictures: int


def gallery_params(artifact: Artifact, num: int) -> list[GenerationParams]:
    """List the images of the gallery.

    Args:
        artifact: The artifact.
        num: The number of seeds, at least 1.

    Returns:
        For each seed, the parameters of the base's image and of each emotion's.
    """
    emotions: list[Emotion] = [None, *EMOTIONS]
    asked = artifact.pipe.plan(
        PROMPT, emotion=emotions, seed=SEED, num_images_per_prompt=num, num_inference_steps=artifact.steps
    )
    params = []
    for row in asked:
        params.append(replace(row, file=f"{format_emotion(row.emotion) or 'base'}-{row.seed:04d}.png"))
    return params


def generate_gallery(
    artifact: Artifact, folder: Path, num: int, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Generate the gallery's images and their contact sheet.

    Args:
        artifact: The artifact.
        folder: Where to write.
        num: The number of seeds, at least 1.
        on_progress: Receives the numbers of images done and in total.
    """
    wanted = gallery_params(artifact, num)
    image_folder.generate_missing(artifact.pipe.generate, wanted, folder / GALLERY, on_progress=on_progress)
    image_folder.gather_rows(folder / GALLERY, [row.file for row in wanted])
    images = []
    for row in wanted:
        images.append(Image.open(folder / GALLERY / row.file).convert("RGB"))
    lines = [images[seed::num] for seed in range(num)]
    labels: list[str] = []
    if num > 1:
        labels = [str(SEED + seed) for seed in range(num)]
    made = contact_sheet(lines, labels, ("base", *EMOTIONS), PROMPT)
    run_dir.write_atomic(folder / "gallery.png", lambda aside: made.save(aside, "PNG", **encode_mark(made)))


def write_card(artifact: Artifact, folder: Path, bundle: ExportBundle, measured: str) -> None:
    """Write the model card.

    Args:
        artifact: The artifact.
        folder: Where to write.
        bundle: The exported files and their descriptions.
        measured: The results, as Markdown.
    """
    base, learner = artifact.pipe.base, artifact.learner
    files = {**bundle.files, "gallery.png, gallery/": "images that it generated, each with its own settings inside"}
    limits, licence = f"{LIMITS}\n\n{BIASES}", f"`{artifact.licence}`, the base's."
    if base.spec.architecture == "mini":
        limits += f"\n\n{MINIATURE.format(size=base.default_size)}"
    for sentence in artifact.manifest.get("cautions", ()):
        limits += f"\n\n> Take care: {sentence}."
    if artifact.licence == "other":
        licence = UNKNOWN
    image = f"{GALLERY}/{EMOTION}-{SEED:04d}.png"
    parts = {
        "": f"{_about_text(artifact)}\n\n<Gallery />\n\n![{PROMPT}: the base, then eight emotions](gallery.png)",
        "Files": "\n".join(f"- `{name}`: {what}" for name, what in files.items()),
        "Use": f"{bundle.use}\n\n```python\n{bundle.example}\n```\n\nIt generates `{image}`.".strip(),
        "Emotion scale": bundle.scaling,
        "Results": measured,
        "Limits": limits,
        "Licence": licence,
    }
    sections = []
    for title, content in parts.items():
        if title:
            content = f"## {title}\n\n{content}"
        sections.append(content)
    body = "\n\n".join(sections)
    text = f"---\n{_yaml_header(artifact, bundle)}\n---\n\n# {artifact.name}: {learner} for {base.name}\n\n{body}\n"
    run_dir.write_atomic(folder / "README.md", text.encode())


def result_table(artifact: Artifact, scores: str | Path | None) -> str:
    """Summarize what was measured: the scores given, otherwise the training's own validation.

    Args:
        artifact: The artifact.
        scores: A folder that `evaluate` wrote, if any.

    Returns:
        Markdown.

    Raises:
        UsageError: The scores are of something else.
    """
    if scores is not None:
        return _score_table(artifact, Path(scores))
    proof = artifact.card.get("proof")
    if isinstance(proof, dict) and "accuracy" in proof:
        check_value(proof, Proof, f"the proof in {artifact.folder}", "leave it out")
        levels = "\n".join(f"| {t} | {a:.3f} |" for t, a in zip(proof["t"], proof["accuracy"], strict=True))
        return (
            f"Accuracy of the classifier on {format_count(proof['pictures'], 'image')} that it did not learn from, by "
            "timestep; "
            f"chance is .125.\n\n| t | accuracy |\n| --- | --- |\n{levels}"
        )
    return "Nothing was measured for this card: `emoscene evaluate`, then `emoscene export ... --scores DIR`."


def _score_table(artifact: Artifact, folder: Path) -> str:
    run_dir.read_manifest(folder, "scores")
    scores = read_scores(folder)
    if artifact.manifest.get("fingerprint") not in scores.get("adapters", []):
        raise UsageError(
            f"{folder} are not the scores of {artifact.folder}: give those of `emoscene evaluate --adapter` on it"
        )
    check_value(scores, GenerationScores, folder / SCORES, AGAIN)
    found: dict[str, Mapping[str, Any]] = {}
    for judge, seen in scores["judges"].items():
        if "emotion_accuracy" in seen:
            found[f"emotion as asked, by the judge `{judge}`"] = seen["emotion_accuracy"]
            if seen.get("ceiling"):
                found |= {"the same judge on real held-out images": seen["ceiling"]}
    for key, name in METRICS.items():
        if key in scores["metrics"]:
            found[name] = scores["metrics"][key]
    lines = []
    for name, value in found.items():
        lines.append(f"| {name} | {_format_figure(value)} |")
    how = (
        f"{format_count(scores['images'], 'image')} of {format_count(len(scores['prompts']), 'prompt')} and "
        f"{format_count(len(scores['seeds']), 'seed')}, in eight "
        f"emotions, at emotion scale {scores['emotion_scale']:g}, guidance {scores['guidance_scale']:g}, "
        f"{format_count(scores['num_inference_steps'], 'step')} of "
        f"{scores['sampler']}. Intervals are 95 %, over prompts and seeds."
    )
    cautions = []
    for sentence in scores.get("cautions", ()):
        cautions.append(f"\n> Take care: {sentence}.")
    return "\n".join([how, "", "| what | figure |", "| --- | --- |", *lines, *cautions])


def _format_figure(found: Mapping[str, Any]) -> str:
    if None in (found.get("low"), found.get("high")):
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _about_text(artifact: Artifact) -> str:
    """What it is and what it learnt from, as far as is known."""
    known, base = artifact.training_facts, artifact.pipe.base
    made = f"Images from a prompt and an emotion: emoscene's `{artifact.learner}` on the base `{base.name}`."
    data = known["dataset"] or known["source"]
    cost = known["cost"]
    if cost and data and known["images"]:
        made += (
            f" Trained on {format_count(known['images'], 'image', spec=',')} of `{data}`: "
            f"{format_count(cost['trainable'], 'parameter', spec=',')}, "
            f"{format_count(cost['pictures'], 'sample', spec=',')}, {cost['seconds']:,.0f} s."
        )
    return f"{made} Its emotions are {', '.join(EMOTIONS[:-1])} and {EMOTIONS[-1]}."


def _yaml_header(artifact: Artifact, bundle: ExportBundle) -> str:
    """The YAML that the hub reads."""
    triggers = {}
    if bundle.trigger:
        triggers = {name: bundle.trigger(name) for name in EMOTIONS}
    shown = []
    for name in EMOTIONS:
        shown.append(
            {
                "text": f"{PROMPT} {triggers.get(name, '')}".strip(),
                "output": {"url": f"{GALLERY}/{name}-{SEED:04d}.png"},
            }
        )
    dataset = artifact.training_facts["dataset"]
    tags, datasets = list(TAGS), None
    if artifact.low_rank_factors:
        tags += ["lora", "template:sd-lora"]
    if bundle.library == "diffusers":
        tags.append("stable-diffusion-diffusers")
    if dataset:
        datasets = [dataset]
    data = ModelCardData(
        base_model=artifact.hub,
        library_name=bundle.library,
        license=artifact.licence,
        pipeline_tag="text-to-image",
        tags=tags,
        instance_prompt=triggers.get(EMOTION),
        datasets=datasets,
        widget=shown,
    )
    return data.to_yaml().strip()

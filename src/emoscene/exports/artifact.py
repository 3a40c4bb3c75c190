"""An artifact as other programs shall see it: what is in its files, and what must be said of it.

update   layer -> its two low-rank factors, whose rank and alpha `peft_config` has
tokens   learned vectors of the text encoder's input, n an emotion [8, n, D]
trained  what is known of its making, from the manifests of its run and of its data
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Gt
from safetensors.torch import load_file
from torch import Tensor
from typing_extensions import TypedDict

from emoscene.core import registry, run_dir
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.file_reading import read_json
from emoscene.core.setting_names import RENAMED, migrate_settings
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion import hub
from emoscene.diffusion.architecture import Architecture
from emoscene.diffusion.base_spec import find_spec
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner as learners
from emoscene.pipeline.generate import load
from emoscene.pipeline.pipeline import EmotionPipeline

PROMPT, SEED, EMOTION = "a village by a lake", 7, "awe"
"""What the examples generate."""
PEFT = "base_model.model."


@dataclass(frozen=True)
class Artifact:
    """A trained method's folder, loaded once to see that it works."""

    folder: Path
    card: Mapping[str, Any]
    manifest: Mapping[str, Any]
    pipe: EmotionPipeline
    steps: int = 20

    @property
    def learner(self) -> str:
        """The method."""
        return str(self.card["learner"])

    @property
    def name(self) -> str:
        """What its files are called."""
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.folder.resolve().name).strip("-").lower()
        if words.startswith("emo"):
            return words
        return f"emoscene-{words}"

    @property
    def hub(self) -> str | None:
        """The base's id on the hub, if that is where it comes from."""
        source = self.pipe.base.spec.source
        if hub.ID.fullmatch(source) and not Path(source).exists():
            return source
        return None

    @property
    def licence(self) -> str:
        """The base's licence, which adapters inherit; `other` where it is not known."""
        base = self.pipe.base.name
        if base in registry.list_names("bases"):
            return registry.load_table("bases", base).get("license", "other")
        return "other"

    @property
    def has_usual_shape(self) -> bool:
        """Whether the base has its family's usual shapes, for which other programs read LoRAs and embeddings."""
        base = self.pipe.base
        return base.architecture == Architecture(base.family.name, *base.family.read_shapes(base.family.configs))

    @cached_property
    def peft_config(self) -> dict[str, Any]:
        """PEFT's description of the update; empty where there is none."""
        file = self.folder / "adapter_config.json"
        if file.is_file():
            config: dict[str, Any] = read_json(file, PeftConfig, learners.AGAIN)
            return config
        return {}

    @cached_property
    def low_rank_factors(self) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
        """The factors A and B of each layer, by (`unet` or `text_encoder`, the layer's name)."""
        file = self.folder / "adapter_model.safetensors"
        if not file.is_file():
            return {}
        state = load_file(str(file))
        factors = {}
        for key, a in state.items():
            if key.endswith(".lora_A.weight"):
                layer = key.removesuffix(".lora_A.weight")
                name = layer.removeprefix(PEFT)
                part = "unet"
                if name.startswith("text_encoder."):
                    part = "text_encoder"
                factors[part, name.removeprefix("text_encoder.")] = a, state[f"{layer}.lora_B.weight"]
        return factors

    @cached_property
    def tokens(self) -> dict[str, Tensor]:
        """Each emotion's vectors [n, D]; nothing where the method has none."""
        file = self.folder / "tokens.safetensors"
        if file.is_file():
            return dict(zip(EMOTIONS, load_file(str(file))["tokens"], strict=True))
        return {}

    def split_vectors(self, vectors: Tensor) -> dict[str, Tensor]:
        """Split learned vectors into those of each text encoder, as files of other programs have them.

        Args:
            vectors: An emotion's vectors [n, D].

        Returns:
            The parts by their names, `clip_l` and `clip_g`; empty where the base has one text encoder.
        """
        names = self.pipe.base.family.export_names.embeddings
        if not names:
            return {}
        widths = [table.shape[1] for table in self.pipe.base.token_tables]
        parts = vectors.split(widths, dim=-1)
        return {name: part.contiguous() for name, part in zip(names, parts, strict=True)}

    @cached_property
    def training_facts(self) -> dict[str, Any]:
        """The settings of its training and what its data were, as far as the manifests tell."""
        config, parents = self.manifest.get("config", {}), self.manifest.get("parents", [])
        data: Mapping[str, Any] = {}
        for parent in reversed(parents):
            if parent["kind"] == "prepared":
                data = parent
        call, dataset = data.get("config", {}), None
        if call.get("source") == "hub" and call.get("revision"):
            dataset = call.get("root")
        return {
            "settings": migrate_settings({**config.get("training", {}), **config.get("own", {})}, RENAMED.values()),
            "cost": self.manifest.get("cost", {}),
            "source": call.get("source"),
            "dataset": dataset,
            "images": data.get("roles", {}).get("methods"),
            "emotions": data.get("emotions", {}),
        }


class PeftConfig(TypedDict):
    """What is read of an `adapter_config.json`."""

    r: Annotated[int, Ge(1)]
    lora_alpha: Annotated[float, Gt(0)]


class TrainingCost(TypedDict):
    """What the manifest of a trained artifact says of its training."""

    trainable: int
    pictures: int
    seconds: float


class ArtifactManifest(TypedDict):
    """What is read of the manifest of a trained artifact."""

    cost: NotRequired[TrainingCost]
    cautions: NotRequired[list[str]]


@dataclass(frozen=True)
class ExportBundle:
    """An artifact in a format: the parts to write, and what the card says of them.

    Attributes:
        library: The hub's name of the library that loads them.
        parts: Files and folders by name: bytes, or a function that writes to the path it is given.
        files: What each file is, by name or pattern.
        example: A script that generates the gallery's image of `EMOTION`.
        scaling: How the other program scales the emotion.
        use: How to write it in the other program.
        trigger: Writes an emotion in a prompt; None where none is written.
    """

    library: str
    parts: Mapping[str, bytes | Callable[[Path], object]]
    files: Mapping[str, str]
    example: str
    scaling: str
    use: str = ""
    trigger: Callable[[str], str] | None = None

    def write_files(self, folder: Path) -> None:
        """Write the parts, each whole or not at all.

        Args:
            folder: Where to write.
        """
        for name, part in self.parts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            run_dir.write_atomic(folder / name, part)


def open_artifact(given: str | Path, base: str | None = None, device: str | None = None, steps: int = 20) -> Artifact:
    """Open an artifact.

    Args:
        given: A folder that `train` made, or a base's own adapter such as `mini:lora`.
        base: The base, if it is not the recorded one.
        device: Where it computes; the best device there is if left out.
        steps: The number of inference steps of the examples.

    Returns:
        The artifact.

    Raises:
        UsageError: It is not a trained method, or it was trained on another base.
    """
    folder = Path(given)
    base_name, colon, name = str(given).rpartition(":")
    if not folder.is_dir() and colon and not re.search(r"[\\/]", name):  # C:\folder is a path
        base = base_name
        own = find_spec(base).adapters
        if name not in own:
            raise unknown_name(f"adapter of the base {base!r}", name, own)
        folder = Path(own[name])
    card = learners.read_card(folder)
    if card["learner"] not in registry.list_names("methods"):
        raise UsageError(f"{folder} holds {card['learner']}, which other programs do not read: give a trained method")
    manifest: dict[str, Any] = {}
    if (folder / run_dir.MANIFEST).is_file():
        manifest = run_dir.read_manifest(folder, "artifact", ArtifactManifest)
    pipe = load(base or card["base"]["name"], adapter=folder, device=device)
    return Artifact(folder, card, manifest, pipe, steps)


def token_name(emotion: str) -> str:
    """Name the embedding of an emotion, and its file.

    Args:
        emotion: The emotion.

    Returns:
        The name, such as `emo-awe`.
    """
    return f"emo-{emotion}"


def restore_layer_name(part: str, layer: str) -> str:
    """Name a layer as other programs do: transformers once had CLIP's layers one module deeper.

    Args:
        part: `unet` or `text_encoder`.
        layer: The layer's name in the model.

    Returns:
        The name.
    """
    if part == "text_encoder" and not layer.startswith("text_model."):
        return f"text_model.{layer}"
    return layer


def _package_of(base: DiffusionModel) -> Path | None:
    """The folder of the installed package that ships a base; None for any other base."""
    if base.spec.architecture not in registry.list_names("bases"):
        return None
    package = registry.package_folder("bases", base.spec.architecture)
    return package if Path(base.spec.source).is_relative_to(package) else None


def example_script(artifact: Artifact, imports: str, loading: str, call: str) -> str:
    """Write a script of plain diffusers that generates the gallery's image of `EMOTION`.

    Args:
        artifact: The artifact.
        imports: Lines of imports.
        loading: Lines that load the exported files.
        call: The arguments of the pipeline's call.

    Returns:
        The script.
    """
    base = artifact.pipe.base
    where = json.dumps(base.spec.source)
    if base.spec.revision:
        where += f', revision="{base.spec.revision}"'
    package = _package_of(base)
    if package is not None:
        place = Path(base.spec.source).relative_to(package).as_posix()
        imports = f"from importlib.resources import files\n{imports}"
        where = f'files("{package.name}") / "{place}"'
    settings = f"num_inference_steps={artifact.steps}, guidance_scale={base.spec.guidance_scale}"
    pipeline = base.family.export_names.pipeline
    return f"""{imports}
import torch
from diffusers import DPMSolverMultistepScheduler, {pipeline}

here = "."  # this folder, or the hub's id of it
pipe = {pipeline}.from_pretrained({where})
pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
{loading}
seed = torch.Generator().manual_seed({SEED})
image = pipe({call}, {settings}, generator=seed).images[0]
image.save("{EMOTION}.png")""".lstrip()

"""AUTOMATIC1111: the LoRA and the embeddings in the folders where it looks for them, with its own card.

The files are those of `exports.lora_files`; `models/Lora/NAME.json` is what its browser of LoRAs shows.
"""

from __future__ import annotations

import json
from dataclasses import replace

from emoscene.exports.artifact import EMOTION, Artifact, ExportBundle, token_name
from emoscene.exports.lora_files import plan_lora_files


def a1111(artifact: Artifact) -> ExportBundle:
    """Plan the files for AUTOMATIC1111.

    Args:
        artifact: The artifact.

    Returns:
        The files and their descriptions.

    Raises:
        UsageError: The method has neither embeddings nor a LoRA.
    """
    bundle = plan_lora_files(artifact, "models/Lora", "embeddings")
    if not artifact.low_rank_factors:
        return bundle
    version = "Unknown"
    if artifact.has_usual_shape:
        version = artifact.pipe.base.family.export_names.a1111
    about = {
        "description": f"Eight emotions for {artifact.pipe.base.name}, by emoscene's {artifact.learner}",
        "sd version": version,
        "activation text": token_name(EMOTION),
        "preferred weight": 1.0,
        "notes": f"write one of these after the prompt: {', '.join(map(token_name, artifact.tokens))}",
    }
    own = {f"models/Lora/{artifact.name}.json": json.dumps(about, indent=1).encode()}
    return replace(bundle, parts={**bundle.parts, **own})

"""ComfyUI: the LoRA and the embeddings in the folders where it looks for them.

The files and their keys are those of `exports.lora_files`.
"""

from __future__ import annotations

from emoscene.exports.artifact import Artifact, ExportBundle
from emoscene.exports.lora_files import plan_lora_files


def comfyui(artifact: Artifact) -> ExportBundle:
    """Plan the files for ComfyUI.

    Args:
        artifact: The artifact.

    Returns:
        The files and their descriptions.

    Raises:
        UsageError: The method has neither embeddings nor a LoRA.
    """
    return plan_lora_files(artifact, "models/loras", "models/embeddings")

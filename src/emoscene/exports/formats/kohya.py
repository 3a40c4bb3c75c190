"""kohya's scripts: one LoRA, and an embedding an emotion.

The files and their keys are those of `exports.lora_files`, all in one folder.
"""

from __future__ import annotations

from emoscene.exports.artifact import Artifact, ExportBundle
from emoscene.exports.lora_files import plan_lora_files


def kohya(artifact: Artifact) -> ExportBundle:
    """Plan the files for kohya's scripts.

    Args:
        artifact: The artifact.

    Returns:
        The files and their descriptions.

    Raises:
        UsageError: The method has neither embeddings nor a LoRA.
    """
    return plan_lora_files(artifact)

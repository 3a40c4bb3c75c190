"""emoscene itself: the artifact's own files, as `--adapter owner/name@COMMIT` reads them, without this machine's paths.

Their card names the images that the adapter learnt from by a fingerprint, so that a judge which saw them is refused.
"""

from __future__ import annotations

import json

from emoscene.core import run_dir
from emoscene.core.file_reading import MOST_LISTED_BYTES, read_bytes
from emoscene.core.paths import resolve_inside
from emoscene.exports.artifact import EMOTION, PROMPT, SEED, Artifact, ExportBundle


def emoscene(artifact: Artifact) -> ExportBundle:
    """Plan the files for emoscene.

    Args:
        artifact: The artifact.

    Returns:
        The files and their descriptions.
    """
    parts = {}
    for file in sorted(artifact.folder.iterdir()):
        if file.suffix in {".json", ".safetensors"} and file.name != run_dir.MANIFEST:
            parts[file.name] = read_bytes(resolve_inside(artifact.folder, file.name), MOST_LISTED_BYTES)
    base = json.dumps(artifact.pipe.base.name)
    script = f"""import emoscene

pipe = emoscene.load({base}, adapter=".")  # this folder, or the hub's id of it: "owner/name@COMMIT"
image = pipe({json.dumps(PROMPT)}, emotion="{EMOTION}", seed={SEED}, num_inference_steps={artifact.steps}).images[0]
image.save("{EMOTION}.png")"""
    files = {"learner.json": "what it is", "*.safetensors": "its weights"}
    return ExportBundle("emoscene", parts, files, script, "`--emotion-scale`, from 0 on; 1 is as trained.")

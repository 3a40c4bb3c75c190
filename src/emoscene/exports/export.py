"""The verb `export`: an artifact as files that other programs load, in a folder with a model card.

    export("runs/lora", to="a1111", out="out/export")      emoscene export runs/lora --to a1111 --out out/export

A format is a function from an artifact to the files to write and what the card says of them, found by its name like
any other plug-in (`formats`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.exports import card
from emoscene.exports.artifact import open_artifact


def export(
    artifact: str | Path,
    *,
    to: str,
    out: str | Path,
    base: str | None = None,
    device: str | None = None,
    scores: str | Path | None = None,
    num: int = 1,
    steps: int = 20,
    push: str | None = None,
    on_message: Callable[[str], None] = print,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a trained method as files of other programs, with a card and a gallery. The same call continues where it
    stopped.

    Args:
        artifact: A folder that `train` made, or a base's own adapter such as `mini:lora`.
        to: The program to write for, a name of `emoscene ls formats`.
        out: The folder to write.
        base: The base, if it has moved.
        device: Where the gallery is generated; the best device there is if left out.
        scores: A folder that `evaluate` wrote, for the card.
        num: The number of seeds of the gallery, at least 1.
        steps: The number of inference steps of the gallery.
        push: A repository of the hub, `owner/name`, to upload the folder to; it is made if it does not exist.
        on_message: Receives sentences about the progress.
        on_progress: Receives the numbers of images done and in total.

    Returns:
        The folder.

    Raises:
        UsageError: An argument is wrong, or the method has no such format.
        EmosceneError: The hub cannot be reached or refuses.

    Example:
        >>> export("runs/lora", to="a1111", out="out/export")
        PosixPath('out/export')
    """
    plan_files = registry.load_plugin("formats", to)
    if push and not get_token():
        raise UsageError(
            "--push needs a token of the hub and there is none here: `hf auth login` first, or leave out --push"
        )
    given = open_artifact(artifact, base, device, steps)
    for remark in given.pipe.adapter_remarks:
        on_message(remark)
    bundle, measured = plan_files(given), card.result_table(given, scores)
    call = {
        "to": to,
        "artifact": given.manifest.get("fingerprint") or run_dir.fingerprint_folder(given.folder),
        "num": num,
        "steps": steps,
    }
    parents: list[Mapping[str, Any] | str | Path] = []
    if given.manifest:
        parents.append(given.manifest)
    if scores:
        parents.append(scores)
    made = run_dir.RunDir.open(out, "export", call, parents=parents)
    with made.hold():
        if not made.is_done:
            bundle.write_files(made.path)
            card.generate_gallery(given, made.path, num, on_progress)
            card.write_card(given, made.path, bundle, measured)
            made.finish()
    if push:
        if Path(given.pipe.base.spec.source).is_dir() and given.pipe.base.name == given.pipe.base.spec.source:
            on_message(f"the card and the images name the base by its folder, {given.pipe.base.name}")
        on_message(f"uploaded to {upload_folder(made.path, push)}")
    return made.path


def upload_folder(folder: Path, hub_id: str) -> str:
    """Upload a finished folder without its manifest, which names this machine's paths.

    Args:
        folder: The folder.
        hub_id: The repository, `owner/name`.

    Returns:
        Its address.

    Raises:
        EmosceneError: The hub cannot be reached or refuses.
    """
    api = HfApi()
    try:
        api.create_repo(hub_id, exist_ok=True)
        return str(
            api.upload_folder(
                repo_id=hub_id,
                folder_path=folder,
                commit_message="emoscene export",
                ignore_patterns=[run_dir.MANIFEST, f"*{run_dir.TEMPORARY_PREFIX}*"],
            )
        )
    except (HTTPError, OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        raise EmosceneError(
            f"{hub_id} was not uploaded ({reason}): {folder} is complete, and the same call tries again"
        ) from error

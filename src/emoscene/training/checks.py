"""What of a call of `train` can be refused before the base is loaded."""

from __future__ import annotations

from pathlib import Path

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.folder_lock import explain_lock, is_locked
from emoscene.learning import checkpoints
from emoscene.learning.learner import Learner
from emoscene.methods.base import Method
from emoscene.training.state import Config

LEAST_SHARE, MOST_SHARE = 0.5, 2.0  # of the pixels of a base's own images


def check_resumed(out: Path, begun: run_dir.RunDir | None, resume: bool) -> None:
    """Check that a run goes on exactly where it is asked to.

    Args:
        out: Its folder.
        begun: What is there already; one that is done stays as it is.
        resume: Whether it was asked to.

    Raises:
        UsageError: There are checkpoints and it was not asked to, or there are none and it was.
        EmosceneError: There are checkpoints, and another process is writing more.
    """
    if begun is not None and begun.is_done:
        return
    saved = checkpoints.list_checkpoints(out / run_dir.CHECKPOINTS)
    if saved and not resume:
        if is_locked(out):
            raise explain_lock(out)
        raise UsageError(f"{out} holds an unfinished run: give --resume to go on, or another --out")
    if resume and not saved:
        raise UsageError(f"nothing to resume in {out}: leave out --resume to start")


def check_learner(name: str, cls: type[Learner], config: Config) -> None:
    """Check that a learner can be trained as the settings say.

    Args:
        name: Its name.
        cls: Its class.
        config: How it trains.

    Raises:
        UsageError: `checkpointing` or `compile` is asked for a learner that does not train through the UNet, or images
            of one that generates none, or patience without validations.
    """
    if (config.checkpointing or config.compile) and not trains_through_unet(cls):
        raise UsageError("checkpointing and compile are for methods that train through the UNet: leave them out here")
    if config.images_every and not issubclass(cls, Method):
        raise lacks_images(name)
    if config.patience and not config.validation_images:
        raise UsageError("patience= counts validations, and validation_images=0 has none: leave one of them out")


def check_size(folder: Path, size: tuple[int, int], base: str, base_size: int | None) -> None:
    """Check that the images of a data set are about as large as those that a base generates.

    Args:
        folder: The prepared folder.
        size: The width and height of its images in pixels.
        base: The name of the base.
        base_size: The side of its images in pixels; None where it is not known yet.

    Raises:
        UsageError: They are half as many pixels or less, or twice as many or more.
    """
    if base_size is None:
        return
    wide, high = size
    share = wide * high / base_size**2
    if not LEAST_SHARE < share < MOST_SHARE:
        raise UsageError(
            f"{folder} holds images of {wide} x {high} pixels, {share:.1f} times what --base {base} generates: prepare "
            "it with that base"
        )


def lacks_images(name: str) -> UsageError:
    """Make the error for a learner of which sheets of images are asked, and that generates none.

    Args:
        name: Its name.

    Returns:
        The error.
    """
    return UsageError(f"images_every: {name} generates no images; leave it out")


def trains_through_unet(cls: type[Learner]) -> bool:
    """Tell whether a learner trains through the base's UNet.

    Args:
        cls: Its class.

    Returns:
        Whether it does.
    """
    return issubclass(cls, Method) and cls.trains_through_unet()

"""Names that come out of a file, and the folder that they must not leave.

A list of images, scores, a manifest, a data set's metadata or the settings in a PNG may come from a stranger, and a
name in them may be `/home/you/passport.png`, `../../passport.png`, or a link that leads there. Whatever is read (or
written) under such a name goes through `resolve_inside`, on every system by the same rules, so that a folder which is
refused on Windows is refused on Linux too. Paths that the user types are not checked here.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.plain_text import show_value

DRIVE = re.compile(r"[A-Za-z]:")
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[1-9]|lpt[1-9])[ .]*(\.|$)")
LEADS_OUT = "leads out of its folder"
SNAPSHOTS, BLOBS = "snapshots", "blobs"  # of the hub's cache, whose snapshots link to files beside them


def fault_of_name(name: Any) -> str:
    """Find out why a name cannot be that of a file inside a folder.

    Args:
        name: What a file says, of any type.

    Returns:
        The reason as the end of a sentence; empty for a valid name.
    """
    if not isinstance(name, str) or not name:
        return "is no name of a file"
    if "\0" in name or not _can_be_encoded(name):
        return "holds a character that no name of a file can"
    if "\\" in name:
        return "holds a backslash, and folders are parted by /"
    if name.startswith("/") or DRIVE.match(name) or ".." in PurePosixPath(name).parts:
        return LEADS_OUT
    if any(RESERVED.match(part) for part in PurePosixPath(name).parts):
        return "Windows keeps for itself"
    return ""


def resolve_inside(root: Path | str, name: Any, where: str = "") -> Path:
    """The file called `name` in a folder, where a name out of a file cannot lead anywhere else.

    Args:
        root: the folder.
        name: a relative name with `/` between its parts, as a file says it.
        where: what says it, for the message; the folder, if left out.

    Returns:
        `root / name`; whether there is a file is not looked at.

    Raises:
        EmosceneError: for a name that is absolute, has `..`, a backslash, a drive letter, NUL or a word that Windows
            keeps for itself (`con`, `aux.png`) in it, and for one that a link leads out of the folder.
    """
    fault = fault_of_name(name)
    if not fault and not is_inside(root, Path(root) / name):
        fault = "is a link that leads out of its folder"
    if fault:
        shown = show_value(name)
        raise EmosceneError(
            f"{where or root} names {shown}, which {fault}: put the file into that folder and name it there"
        )
    return Path(root) / name


def is_inside(root: Path | str, path: Path | str) -> bool:
    """Tell whether a path, its links resolved, lies in a folder (or, in the hub's cache, in its blobs).

    Args:
        root: The folder.
        path: The path.

    Returns:
        Whether it does.
    """
    try:
        folder, place = Path(os.path.realpath(root)), Path(os.path.realpath(path))
    except (OSError, ValueError):  # a name that is too long, or holds what none can
        return False
    if place.is_relative_to(folder):
        return True
    blobs = folder.parent.parent / BLOBS
    return folder.parent.name == SNAPSHOTS and place.parent == blobs


def check_utf8(folder: Path | str, option: str = "--out") -> Path:
    """Check that the libraries which keep tensors and tables, and know no name but UTF-8, can open files of a folder.

    Args:
        folder: The folder.
        option: The option that names it, for the message.

    Returns:
        The folder.

    Raises:
        UsageError: The folder's whole path is not UTF-8.
    """
    try:
        os.path.realpath(folder).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{folder} is no name in UTF-8, and weights and tables cannot be read there: rename it, or give another "
            f"{option}"
        ) from error
    return Path(folder)


def is_network_name(name: str) -> bool:
    """Tell whether a path names another machine; on Windows, looking at such a path already logs in there.

    Args:
        name: The path.

    Returns:
        Whether it does.
    """
    return name.replace("\\", "/").startswith("//")


def _can_be_encoded(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeError:
        return False
    return True

"""Text that a file or a stranger gives, brought into a form that a terminal, a log or a list can show."""

import unicodedata

MOST_NAME_BYTES = 255  # on most disks
SHOWN = 80  # characters of a name or a value in a message
SPACES = "Zs"
"""Unicode's category of spaces: Python calls all but one of them unprintable, and they do no harm."""


def escape_unprintable(text: str) -> str:
    """Write control characters, bidirectional marks and invalid bytes as Python's escapes.

    Args:
        text: Any text, such as a name that holds the escape sequence of a terminal.

    Returns:
        Text that any terminal can show, on one line.
    """
    if text.isprintable():
        return text
    signs = []
    for sign in text:
        if sign.isprintable() or unicodedata.category(sign) == SPACES:
            signs.append(sign)
        else:
            signs.append(sign.encode("unicode_escape").decode())
    return "".join(signs)


def cut_name(name: str, most: int = MOST_NAME_BYTES) -> str:
    """Cut the name of a file to the bytes that a disk takes; signs are not torn.

    Args:
        name: The name.
        most: Its bytes at most.

    Returns:
        The name, or its beginning.
    """
    encoded = name.encode("utf8", "surrogateescape")
    if len(encoded) <= most:
        return name
    while most and encoded[most] & 0b1100_0000 == 0b1000_0000:  # in the middle of a sign
        most -= 1
    return encoded[:most].decode("utf8", "surrogateescape")


def shorten_text(text: str, most: int) -> str:
    """Cut a text for a message.

    Args:
        text: The text.
        most: Characters that are shown of it.

    Returns:
        The text, or its beginning and an ellipsis.
    """
    if len(text) <= most:
        return text
    return f"{text[:most]}..."


def show_value(value: object, most: int = SHOWN) -> str:
    """Write a value that anybody may have given for a message.

    Args:
        value: The value.
        most: Characters that are shown of it.

    Returns:
        It as Python writes it, cut where it is long.
    """
    return shorten_text(repr(value), most)


def format_bytes(number: float) -> str:
    """Write an amount of memory or disk.

    Args:
        number: The bytes.

    Returns:
        Such as `5.5 GB`, `0.3 MB` or `4.1 kB`.
    """
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    if 50 <= number < 5e4:  # would be 0.0 MB
        return f"{number / 1e3:.1f} kB"
    return f"{number / 1e6:.1f} MB"


def format_count(number: float, one: str, several: str = "", spec: str = "") -> str:
    """Write a number and what it counts: `1 image`, `2 images`.

    Args:
        number: The number.
        one: The noun of one, perhaps with a verb: `image is`.
        several: The same of any other number, `images are`; with an s if left out.
        spec: How the number is written, such as `,` or `.0f`.

    Returns:
        Both, with a space between them.
    """
    written = format(number, spec)
    if written == "1":
        return f"{written} {one}"
    return f"{written} {several or one + 's'}"

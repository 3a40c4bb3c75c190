"""Files as a stranger may have written them: sound ones with a few things changed, for tests by hypothesis.

change(SOUND)                a strategy: the text of a JSON file, some of whose values are others
only_sentences(read)         every refusal is one of ours, and says what is wrong on one line
watch_opens(folder)          collects what Python opens below a folder that nothing may lead to
"""

import copy
import json
import sys
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.image_files import ImageRefused

DEEP = 50_000  # lists in one another
RAW = {"@nan@": "NaN", "@inf@": "-Infinity", "@big@": "1e400", "@deep@": "[" * DEEP + "]" * DEEP}
"""What `json.dumps` does not write, by what stands for it."""
RAW |= {"@long@": "9" * 5000, "@int@": str(10**30), "@minus@": str(-(2**63) - 1)}
NAMES = (
    "{secret}/passport.png",
    "../secret/passport.png",
    "a/../../secret/passport.png",
    "/etc/passwd",
    "C:\\x.png",
    "//host/share/x.png",
    "a\0.png",
    "nul",
    "\x1b[2J\x1b]0;title\x07",
    "\u202egnp.exe",
    "\ud800",
    "\udcff.png",
    "界" * 90,
    "",
    ".",
    "=cmd|' /C calc'!A0",
    "<svg onload=alert(1)>",
    "x" * 5000,
)
TEXT = st.sampled_from(NAMES) | st.text(st.characters(), max_size=12)
NUMBERS = st.integers(-3, 9) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.none() | st.booleans() | NUMBERS | st.sampled_from(sorted(RAW)) | TEXT
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
_watched: list[tuple[str, list[str]]] = []


def _hear(event: str, arguments: tuple) -> None:
    if _watched and event in {"open", "os.listdir", "os.scandir"} and isinstance(arguments[0], str | bytes | Path):
        place = str(arguments[0])
        for folder, opened in _watched:
            if folder in place:
                opened.append(place)


sys.addaudithook(_hear)


@contextmanager
def watch_opens(folder: Path):
    """Collect what is opened below a folder."""
    opened: list[str] = []
    _watched.append((str(folder), opened))
    try:
        yield opened
    finally:
        _watched.pop()


def places_in(value, way=()):
    """The ways to every value inside a JSON value."""
    yield way
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    else:
        inside = ()
    for key, inner in inside:
        yield from places_in(inner, (*way, key))


def put(value, way, new):
    """The value with another one at a place."""
    if not way:
        return new
    outer = value
    for key in way[:-1]:
        outer = outer[key]
    outer[way[-1]] = new
    return value


@st.composite
def change_value(draw, sound):
    """A JSON value some of whose inner values are others, or missing."""
    value = copy.deepcopy(sound)
    for _ in range(draw(st.integers(0, 3))):
        way = draw(st.sampled_from(list(places_in(value))))
        if way and draw(st.integers(0, 3)) == 0:
            outer = value
            for key in way[:-1]:
                outer = outer[key]
            del outer[way[-1]]
        else:
            value = put(value, way, draw(VALUES))
    return value


def encode(value, secret="") -> bytes:
    """JSON, with what Python's own writer does not write."""
    text = json.dumps(value)
    for mark, raw in RAW.items():
        text = text.replace(f'"{mark}"', raw)
    return text.replace("{secret}", secret).encode()


@st.composite
def change_bytes(draw, sound: bytes):
    """Bytes of which a few are others, or that are torn."""
    data = bytearray(sound)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        data[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    if draw(st.integers(0, 5)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@st.composite
def change(draw, sound, secret=""):
    """A JSON file some of whose values are others; seldom it is torn or holds odd bytes."""
    data = encode(draw(change_value(sound)), secret)
    if draw(st.integers(0, 9)) == 0:
        data = draw(change_bytes(data[:20_000]))
    return data


def only_sentences(read, *arguments, **words):
    """What a reader returns; nothing where it refuses, which it does in one sentence."""
    try:
        return read(*arguments, **words)
    except (UsageError, EmosceneError, ImageRefused) as error:
        said = str(error)
    assert 10 < len(said) < 12_000
    return None


def try_examples(examples: int, strategy, check) -> None:
    """Try a check on examples, the same ones every time."""
    run = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(given(strategy)(lambda example: check(example)))
    run()

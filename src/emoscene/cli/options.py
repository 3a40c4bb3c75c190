"""The verbs, their options, and how a line is read: no torch, so that a word that is off is said at once.

    read("train", ["lora", "rank=8", "--data", "prepared", "--out", "runs/lora", "steps=900"])
        -> Call(verb="train", given={name, data, out}, pairs={rank, steps})

An option is an argument of the verb (`--out` is `out=`); a list is an option said several times. `key=value` is a field
of a `Config`, wherever in the line it stands. A recipe is a file of such words that come before yours.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from emoscene.cli.checks import CHECKS
from emoscene.core import config, paths, registry, request, taxonomy
from emoscene.core.config import Option
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.parameter import CLI, EVALUATE, Parameter
from emoscene.core.request import ALIASES, BATCH_SIZE, PARAMETERS, list_parameters

PAIR = re.compile(r"([A-Za-z_][\w.]*)=(.*)", re.DOTALL)
GENERATION = list_parameters(CLI)
PLACES = {"image", "emotion_image", "prompts", "images", "root", "out", "recipe", "storage"}
"""What is shown in a result, or written."""
REPEATED = {"emotion", "adapter", "judge", "lora", "allow_host"}


@dataclasses.dataclass(frozen=True)
class Verb:
    """A verb's sentence, its words (`PROMPT?` may be left out, `SCORES...` repeated) and the names of its options."""

    sentence: str
    words: str
    options: str
    example: str


VERBS = {
    "demo": Verb(
        "one scene in eight emotions by every method there is, and a page that shows it",
        "",
        "out",
        "emoscene demo --out out/demo",
    ),
    "generate": Verb(
        "paint words, with an emotion",
        "PROMPT?",
        f"{' '.join(GENERATION)} size batch base adapter lora device dtype compile out recipe",
        'emoscene generate "a village by a lake" --emotion awe --method lora --seed 7 --num 4 --out out/awe',
    ),
    "prepare": Verb(
        "make a source's pictures ready to learn from",
        "SOURCE",
        "root base limit per_emotion split dry_run device out recipe",
        "emoscene prepare mini --limit 6000 --out out/prepared",
    ),
    "train": Verb(
        "train a method or an encoder on a prepared folder",
        "NAME",
        "data base resume dry_run yes out recipe",
        "emoscene train lora --data out/prepared --out runs/lora steps=900",
    ),
    "evaluate": Verb(
        "judge a method, or any folder of pictures",
        "",
        "method adapter base lora emotion_scale prompts seeds judge data images clip semantics features lpips robust "
        f"keep_images {' '.join(list_parameters(EVALUATE))} size batch device out recipe",
        "emoscene evaluate --method lora --seeds 0:4 --out out/scores",
    ),
    "tune": Verb(
        "search a method's settings with Optuna: any number of workers, one database",
        "NAME",
        "data trials storage base adapter selector judge prompts seeds out recipe",
        "emoscene tune guidance --data out/prepared --trials 12 --out out/tuned steps=300 "
        "classifier_scale=2..40 guidance_scale=2..8",
    ),
    "report": Verb(
        "compare any number of scores on one page that needs no network",
        "SCORES...",
        "out",
        "emoscene report out/none out/lora --out out/report",
    ),
    "export": Verb(
        "write a trained method as files that other programs load, with a model card",
        "ARTIFACT",
        "to base scores num steps device push out",
        "emoscene export runs/lora --to diffusers --out out/export",
    ),
    "mini": Verb(
        "render the miniature world to disk, laid out as a public data set",
        "",
        "layout num seed out",
        "emoscene mini --layout emoset --num 800 --seed 1 --out out/world",
    ),
    "doctor": Verb("what this machine has, and the command for what is missing", "", "", "emoscene doctor"),
    "web": Verb(
        "a page to paint, compare, re-feel and judge on, in the browser, for this machine alone",
        "",
        "host port password allow_host base adapter judge screen device dtype",
        "emoscene web --port 7860",
    ),
    "ls": Verb("what there is, by kind", "KIND?", "", "emoscene ls methods"),
    "show": Verb("one thing: its settings, its words, its place", "NAME", "", "emoscene show lora"),
}
NEEDS = {
    "prepare": ("out",),
    "train": ("data", "out"),
    "evaluate": ("out",),
    "tune": ("data", "out"),
    "report": ("out",),
    "export": ("to", "out"),
    "mini": ("layout", "out"),
}
OPTIONS = {
    option.name: option
    for option in (
        *GENERATION.values(),
        BATCH_SIZE,
        dataclasses.replace(PARAMETERS["num_images_per_prompt"], name="num"),
        dataclasses.replace(PARAMETERS["num_inference_steps"], name="steps"),
        Option("base", "str", "mini", "a name of `emoscene ls bases`, a folder, a .safetensors file, or a hub id"),
        Option("adapter", "str", "runs/lora", "a folder that `train` made"),
        Option("lora", "str", "style.safetensors:0.8", "a LoRA trained elsewhere, and how much of it; 1 if left out"),
        request.SIZE,
        Option("device", "str", "cpu", "cuda, cuda:1, mps or cpu; the best there is, if left out"),
        Option("dtype", "str", "float32", "of the weights", choices=("float32", "float16", "bfloat16")),
        Option("compile", "bool", False, "compile the UNet: slow to start, faster for many pictures of one size"),
        Option("out", "str", "out", "the folder to write; the same call goes on where it stopped"),
        Option("recipe", "str", "FILE", "a name of `emoscene ls recipes`, or a TOML file of options and settings"),
        Option("root", "str", "data", "where the source's files lie"),
        Option("limit", "int", 6000, "at most so many pictures", span=(1, 1_000_000_000)),
        Option("per_emotion", "int", 1000, "at most so many pictures of each emotion", span=(1, 1_000_000_000)),
        Option("split", "str", "roles", "roles, official, or shares such as methods:0.8,heldout:0.2"),
        Option("dry_run", "bool", False, "say what it would be and take, and write nothing"),
        Option("data", "str", "out/prepared", "a folder that `prepare` made"),
        Option("resume", "bool", False, "go on from the newest checkpoint"),
        Option("yes", "bool", False, "make what the data lack for this learner, beside them"),
        Option("prompts", "str", "prompts.txt", "a file with a prompt a line"),
        Option("seeds", "str", "0:4", "first and past-the-last seed of each prompt and emotion"),
        Option("judge", "str", "runs/judge", "what `train judge` made, a CLIP or a classifier; folder or hub id"),
        Option("images", "str", "out/awe", "a folder of images to judge, from anywhere"),
        Option("trials", "int", 20, "how many, by all workers together", span=(1, 1_000_000)),
        Option("storage", "str", "sqlite:///tune.db", "a database that SQLAlchemy knows; else --out/study.db"),
        Option("selector", "str", "runs/selector", "the EmotionCLIP or judge that picks, and that judges nothing"),
        Option(
            "clip", "str", "clip-vit-base-patch32", "a CLIP that tells whether the words are kept; folder or hub id"
        ),
        Option("semantics", "str", "resnet-50", "a classifier of objects, for semantic clarity; folder or hub id"),
        Option("features", "str", "dinov2-base", "a vision model to measure distances by: folder, hub id, inception"),
        Option("lpips", "str", "alex", "the network of LPIPS between edits and pictures", choices=("alex", "vgg")),
        Option(
            "keep_images", "bool", True, "whether they stay; =no judges each batch as it is painted, and keeps none"
        ),
        Option("robust", "bool", False, "judge again after JPEG 75 and a small blur"),
        Option("to", "str", "diffusers", "whose files to write", choices=("diffusers", "kohya", "a1111")),
        Option("scores", "str", "out/scores", "a folder that `evaluate` made, whose figures the card shows"),
        Option("push", "str", "me/emotions", "a repository of the hub to upload the folder to"),
        Option("layout", "str", "emoset", "emoset, raf-db or imagefolder"),
        Option("host", "str", "127.0.0.1", "who may reach the page: this machine alone, if left out"),
        Option("port", "int", 7860, "where the page is; 0: any that is free", span=(0, 65535)),
        Option("password", "str", "secret", "asked of whoever opens the page, with the name emoscene"),
        Option("allow_host", "str", "paint.example.org", "one more name by which the page may be asked, as a proxy's"),
        Option("screen", "bool", True, "whether a safety checker looks at pictures, where the base has one"),
        Option("json", "bool", False, "print the result as one JSON object"),
        Option("help", "bool", False, "this text"),
    )
}


@dataclasses.dataclass
class Call:
    """A line, read: the verb, its words by name, its options, and the settings."""

    verb: str
    given: dict[str, Any]
    pairs: dict[str, Any]
    asked: set[str]


def read_call(name: str, line: list[str]) -> Call:
    """The words of a line after the verb, each in its place and checked. Raises Usage for the first that is off."""
    verb = VERBS[name]
    words, options, pairs = _sort_words(name, line)
    if "recipe" in options:
        more, extra = read_recipe(name, options.pop("recipe"))
        options, pairs = {**more, **options}, {**extra, **pairs}
    asked = {word for word in ("json", "help") if options.pop(word, False)}
    if "help" in asked:
        return Call(name, {}, {}, asked)
    expected = verb.words.split()
    listed = [words] if words and expected and expected[-1].endswith("...") else []
    words = [] if listed else words
    if len(words) > len(expected):
        hint = ": put the prompt in quotes" if name == "generate" else f": {verb.example}"
        raise UsageError(f"{words[len(expected)]!r} is a word too many{hint}")
    given: dict[str, Any] = {_argument_name(word): said for word, said in zip(expected, listed or words, strict=False)}
    for place in [*(_argument_name(word) for word in expected if not word.endswith("?")), *NEEDS.get(name, ())]:
        if place not in given | options:
            say = f"--{place}" if place in NEEDS.get(name, ()) else place.upper()
            raise UsageError(f"{name} needs {say}: {verb.example}")
    given |= options
    taxonomy.check_one_source(*(given.get(word) for word in ("emotion", "valence", "arousal", "emotion_image")))
    known = known_settings(name, given)
    if known is not None and pairs:
        pairs = _check_call(name, known, pairs, given.get("method", "none"))
    return Call(name, given, pairs, asked)


def _argument_name(word: str) -> str:
    return word.rstrip("?.").lower()


def _check_call(verb: str, known: list[Option], pairs: dict[str, Any], method: str) -> dict[str, Any]:
    settled: set[str] = set()
    if verb in {"generate", "evaluate"}:
        for one in method.split("+"):
            settled |= {option.name for option in registry.list_options("methods", one) if not option.runtime}
    for key in pairs:
        if not known or key.rpartition(".")[2] in settled:
            raise UsageError(f"{key!r} cannot be set here: `emoscene show NAME` tells what may change at use")
    return config.read_settings(known, pairs, config.narrow_option if verb == "tune" else Option.read)


def _sort_words(name: str, line: list[str]) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    known = {*VERBS[name].options.split(), "json", "help"}
    words: list[str] = []
    options: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    line = line.copy()
    while line:
        word = line.pop(0)
        if word == "--":
            return words + line, options, pairs
        if word == "-h" or re.match(r"--?[A-Za-z]", word):
            key, equals, value = word.lstrip("-").partition("=")
            flag = word.partition("=")[0]
            key = _full_name("help" if key == "h" else key.replace("-", "_"), known)
            if key not in known:
                raise unknown_name("option", flag, _spellings(known), f"emoscene {name} --help")
            if OPTIONS[key].type == "bool":
                value = value if equals else "yes"
            elif not equals:
                value = _take_values(key, flag, line)
            _take_option(options, key, value, flag)
        elif pair := PAIR.fullmatch(word):
            pairs[pair[1]] = pair[2]
        else:
            words.append(word)
    return words, options, pairs


def _full_name(key: str, known: Collection[str]) -> str:
    """An option's own name where it was said by its alias, as `cfg` is of `guidance_scale`."""
    return ALIASES[key] if key not in known and ALIASES.get(key) in known else key


def _spellings(known: Collection[str]) -> list[str]:
    """Every way in which these options may be said."""
    aliases = [alias for alias, name in ALIASES.items() if name in known]
    return [f"--{name.replace('_', '-')}" for name in (*known, *aliases)]


def _take_values(key: str, flag: str, line: list[str]) -> str:
    """What stands after an option, taken from the rest of the line; a range has two values."""
    option = OPTIONS[key]
    count = option.count if isinstance(option, Parameter) else 1
    values = line[:count]
    if len(values) < count or any(value.startswith("--") for value in values):
        raise UsageError(
            f"{flag} needs {'a value' if count == 1 else f'{count} values'}, such as {flag} {example_of(option)}"
        )
    del line[:count]
    return " ".join(values)


def example_of(option: Option) -> str:
    """A value that shows how an option is written."""
    shown = option.default
    if isinstance(option, Parameter) and option.example is not None:
        shown = option.example
    return " ".join(map(str, shown)) if isinstance(shown, tuple) else str(shown)


def _take_option(options: dict[str, Any], key: str, value: Any, flag: str) -> None:
    """Put an option's value into its place, checked as far as can be without torch."""
    value = dataclasses.replace(OPTIONS[key], name=flag).read(value)
    value = CHECKS[key](value) if key in CHECKS else value
    if key == "size":
        options |= dict(zip(("width", "height"), value if isinstance(value, tuple) else (value,), strict=False))
    elif key in REPEATED:
        options.setdefault(key, []).append(value)
    else:
        options[key] = value


def read_recipe(verb: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A recipe's words, its name a file's or one of `emoscene ls recipes`: the verb's own options, and settings."""
    table = config.read_toml(name) if Path(name).suffix == ".toml" else registry.load_table("recipes", name)
    options: dict[str, Any] = {}
    known = VERBS[verb].options.split()
    for said in [word for word in table if _full_name(word, known) in known]:
        key, value = _full_name(said, known), table.pop(said)
        several = isinstance(value, list) and key in REPEATED
        for one in value if several else [value]:
            if key in PLACES and isinstance(one, str):
                _check_place(Path(name), key, one)
            _take_option(options, key, one, f"--{said.replace('_', '-')}")
    return options, table


def _check_place(recipe: Path, key: str, place: str) -> None:
    """Raises Usage where a recipe, which may be a stranger's, reads images or writes outside of its folder and ours."""
    lost = "\0" in place or key in {"recipe", "storage"} or paths.is_network_name(place)
    if lost or not any(paths.is_inside(folder, place) for folder in (recipe.parent, Path.cwd())):
        raise UsageError(
            f"{recipe} names {key} = {place[:80]!r}, outside of its folder and this one: say --{key} yourself"
        )


def known_settings(verb: str, given: Mapping[str, Any]) -> list[Option] | None:
    """The fields that `key=value` may set in this call; None where only the artifacts know."""
    if verb in {"train", "tune"}:
        kinds = {one: kind for kind in ("encoders", "methods") for one in registry.list_names(kind)}
        if given["name"] not in kinds:
            raise unknown_name("learner", given["name"], kinds, hint="emoscene ls")
        own = [
            *registry.list_room_options("training/state"),
            *registry.list_options(kinds[given["name"]], given["name"]),
        ]
        return [*own, *registry.list_room_options("tuning/objective")] if verb == "tune" else own
    if verb == "prepare":
        return [*registry.list_room_options("data/preparation"), *registry.list_options("sources", given["source"])]
    if "adapter" in given and "method" not in given:
        return None
    found = {name: registry.list_options("methods", name) for name in given.get("method", "none").split("+")}
    late = [(name, option) for name, options in found.items() for option in options if option.runtime]
    return [option for _, option in late] + [dataclasses.replace(o, name=f"{name}.{o.name}") for name, o in late]

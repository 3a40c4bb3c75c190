"""Plug-ins by name: a method, an encoder, a metric, a source, a family of bases or a format of exports is one Python
file, a base, a recipe or a sampler one TOML file.

There is no registry to keep. A file is found by its name, and what it offers is the class (or function) named as the
file: `methods/lora.py` -> `Lora`, `encoders/emotion_clip.py` -> `EmotionCLIP`. `base.py` holds a kind's contract and is
no plug-in. Other packages add theirs by an entry point in the group `emoscene.<kind>`: a class as `module:Class`, a
table as `package:file.toml`. The miniature is such a package, and is found in no other way:

    [project.entry-points."emoscene.bases"]
    mini = "emoscene_mini.bases:mini.toml"      # paths in it count from the folder of `emoscene_mini`

Listing imports nothing. `list_options` reads a `Config` as text with `ast`, which is why its fields are literals: so
`emoscene show lora` answers at once, without torch.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emoscene.core.config import Option, read_toml
from emoscene.core.errors import EmosceneError, UsageError, unknown_name

HOME = Path(__file__).parent.parent
KINDS = {
    "methods": "methods",
    "encoders": "encoders",
    "metrics": "evaluation/metrics",
    "baselines": "evaluation/baselines",
    "sources": "data/sources",
    "families": "diffusion/families",
    "bases": "diffusion/bases",
    "recipes": "core/recipes",
    "optimizers": "learning/optimizer_specs",
    "samplers": "core/samplers",
    "lexicons": "methods/lexicons",
    "prompts": "evaluation/prompts",
    "formats": "exports/formats",
    "taxonomies": "core/taxonomies",
}
"""Each kind and its folder in this package."""


def list_names(kind: str) -> list[str]:
    """List the plug-ins of a kind.

    Args:
        kind: One of `KINDS`.

    Returns:
        Their names, in order.

    Raises:
        UsageError: There is no such kind.
    """
    return sorted({*_list_files(kind), *_list_entry_points(kind)})


def name_singular(kind: str) -> str:
    """Name one plug-in of a kind.

    Args:
        kind: One of `KINDS`.

    Returns:
        The word, such as `method` or `family`.
    """
    if kind.endswith("ies"):
        return f"{kind.removesuffix('ies')}y"
    return kind.removesuffix("s")


def source_file(kind: str, name: str) -> Path:
    """Find the file of a plug-in, without importing it.

    Args:
        kind: One of `KINDS`.
        name: The name.

    Returns:
        A Python or TOML file.

    Raises:
        UsageError: The name is not known.
        EmosceneError: The package that registers it is not complete.
    """
    name = name.replace("-", "_")
    if name in _list_files(kind):
        return _list_files(kind)[name]
    if name not in _list_entry_points(kind):
        raise unknown_name(name_singular(kind), name, list_names(kind), hint=f"emoscene ls {kind}")
    point = _list_entry_points(kind)[name]
    if _is_table(point):
        return _resource_file(point)
    return _module_file(point.module)


def split_methods(method: str) -> list[str]:
    """Read the names of the methods of one call.

    Args:
        method: A name, or names joined by `+`.

    Returns:
        The names, in order.

    Raises:
        UsageError: A name is not known, or stands twice.
    """
    names = method.split("+")
    for name in names:
        source_file("methods", name)
        if names.count(name) > 1:
            raise UsageError(f"method={method} is off: {name} stands in it twice")
    return names


def list_call_options(method: str) -> list[tuple[str, Option]]:
    """List the options of what one call names as its method: methods joined by `+`, or a baseline.

    Args:
        method: As `--method` has it.

    Returns:
        The name of a method or baseline, and an option of its `Config`, for each option.

    Raises:
        UsageError: A name is not known.
    """
    named = []
    for name in method.split("+"):
        kind = "methods"
        if name.replace("-", "_") in list_names("baselines"):
            kind = "baselines"
        for one in list_options(kind, name):
            named.append((name, one))
    return named


def load_plugin(kind: str, name: str) -> Any:
    """Import a plug-in.

    Args:
        kind: One of `KINDS`.
        name: The name.

    Returns:
        The class or function that is named as its file.

    Raises:
        UsageError: The name is not known.
        EmosceneError: The plug-in cannot be imported.
    """
    file, name = source_file(kind, name), name.replace("-", "_")
    if name not in _list_files(kind):
        return _list_entry_points(kind)[name].load()
    module = import_module(f"emoscene.{KINDS[kind].replace('/', '.')}.{name}")
    for key, value in vars(module).items():
        if _normalize(key) == _normalize(name) and getattr(value, "__module__", None) == module.__name__:
            return value
    raise EmosceneError(f"{file} offers nothing named as its file: a class {name.title().replace('_', '')}")


def load_table(kind: str, name: str) -> dict[str, Any]:
    """Read a plug-in that is a table: a base, a recipe, a lexicon or prompts.

    Args:
        kind: one of `KINDS`.
        name: as `list_names` has it.

    Returns:
        The table. In a base's, a place that is there in the package that registers it is an absolute path.

    Raises:
        UsageError: for a name that does not exist, and for a file that is not TOML.
    """
    file = source_file(kind, name)
    if file.suffix == ".toml":
        table = read_toml(file)
    else:
        table = dict(load_plugin(kind, name))
    if kind == "bases":
        return _resolve_places(table, package_folder(kind, name))
    return table


def package_folder(kind: str, name: str) -> Path:
    """Find the folder of the package that registers a plug-in; places in its table are relative to it.

    Args:
        kind: One of `KINDS`.
        name: The name.

    Returns:
        The folder.
    """
    name = name.replace("-", "_")
    if name in _list_files(kind):
        return HOME
    package = _list_entry_points(kind)[name].module.partition(".")[0]
    return _module_file(package).parent


def describe_plugin(kind: str, name: str) -> str:
    """Read the first sentence of a plug-in's file.

    Args:
        kind: One of `KINDS`.
        name: The name.

    Returns:
        The sentence.
    """
    text = source_file(kind, name).read_text(encoding="utf8")
    if source_file(kind, name).suffix == ".toml":
        return text.partition("\n")[0].lstrip("# ")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def list_options(kind: str, name: str) -> list[Option]:
    """List the fields of a plug-in's `Config`, its own and inherited ones, without importing it.

    Args:
        kind: One of `KINDS`.
        name: The name.

    Returns:
        The options; none for a TOML file or a plug-in without a `Config`.
    """
    file = source_file(kind, name)
    if file.suffix == ".toml":
        return []
    classes, _ = _parse_file(file)
    config = classes.get("Config")
    for key, node in classes.items():
        if _normalize(key) == _normalize(name):
            file, config = next(_find_members(file, node, "Config"), (file, config))
    if config:
        return list(_read_fields(file, config).values())
    return []


def list_room_options(name: str) -> list[Option]:
    """List the fields of the `Config` of a file of this package.

    Args:
        name: The file, relative to the package and without its ending.

    Returns:
        The options.
    """
    file = HOME / f"{name}.py"
    return list(_read_fields(file, _parse_file(file)[0]["Config"]).values())


@cache
def _list_files(kind: str) -> dict[str, Path]:
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS, hint="emoscene ls")
    files = sorted((HOME / KINDS[kind]).glob("[!_]*.*"))
    plugins = {}
    for file in files:
        if file.suffix in {".py", ".toml"} and file.name != "base.py":
            plugins[file.stem] = file
    return plugins


@cache
def _list_entry_points(kind: str) -> dict[str, EntryPoint]:
    points = {}
    for point in entry_points(group=f"emoscene.{kind}"):
        points[point.name.replace("-", "_")] = point
    return points


def _is_table(point: EntryPoint) -> bool:
    return point.attr.endswith(".toml")


def _resource_file(point: EntryPoint) -> Path:
    """The file that `package:file.toml` names."""
    file = Path(str(files(point.module))) / point.attr
    if not file.is_file():
        raise EmosceneError(f"{file}, a table of the package {point.module}, is not there: install the package again")
    return file


def _resolve_places(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The table with an absolute path for each text that is a place in this folder."""
    resolved: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            resolved[key] = _resolve_places(value, folder)
        elif isinstance(value, str) and "/" in value and (folder / value).exists():
            resolved[key] = str(folder / value)
        else:
            resolved[key] = value
    return resolved


def _normalize(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _module_file(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise EmosceneError(f"the module {module} of a plug-in cannot be found: install its package again")
    return Path(spec.origin)


@cache
def _parse_file(file: Path) -> tuple[dict[str, ast.ClassDef], dict[str, str]]:
    """A file's top-level classes, and the module that each imported name comes from."""
    tree = ast.parse(file.read_text(encoding="utf8"))
    classes = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            classes[node.name] = node
    imports = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                imports[alias.asname or alias.name] = str(node.module)
    return classes, imports


def _find_bases(file: Path, node: ast.ClassDef) -> Iterator[tuple[Path, ast.ClassDef]]:
    """The classes that a class is built on, as far as they are written in this package or the plug-in's own file."""
    for base in node.bases:
        head, *rest = ast.unparse(base).split(".")
        classes, imports = _parse_file(file)
        base_file = file
        if head not in classes and imports.get(head, "").startswith("emoscene."):
            base_file = _module_file(imports[head])
            classes, _ = _parse_file(base_file)
        if head in classes and rest:
            yield from _find_members(base_file, classes[head], rest[0])
        elif head in classes:
            yield base_file, classes[head]


def _find_members(file: Path, node: ast.ClassDef, name: str) -> Iterator[tuple[Path, ast.ClassDef]]:
    """The class of this name inside a class or, failing that, inside what it is built on."""
    for statement in node.body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            yield file, statement
            return
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            alias = ast.ClassDef(name, bases=[statement.value], keywords=[], body=[], decorator_list=[])
            yield file, alias
            return
    for base_file, base in _find_bases(file, node):
        yield from _find_members(base_file, base, name)


def _read_fields(file: Path, node: ast.ClassDef) -> dict[str, Option]:
    fields: dict[str, Option] = {}
    for base_file, base in _find_bases(file, node):
        fields |= _read_fields(base_file, base)
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            name = ast.unparse(statement.target)
            fields[name] = _read_option(file, name, ast.unparse(statement.annotation), statement.value)
    return fields


def _read_option(file: Path, name: str, kind: str, value: ast.expr) -> Option:
    try:
        if not isinstance(value, ast.Call) or not ast.unparse(value.func).endswith("option"):
            return Option(name, kind, ast.literal_eval(value), "")
        words = dict(zip(("default", "help"), value.args, strict=False))
        for keyword in value.keywords:
            words[str(keyword.arg)] = keyword.value
        return Option(name, kind, **{key: ast.literal_eval(word) for key, word in words.items()})
    except ValueError as error:
        raise EmosceneError(f"{file}:{value.lineno}: the option {name} must be written in literals") from error

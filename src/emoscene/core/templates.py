"""Templates: HTML and SVG are files `templates/*.j2` beside the code that fills them, and Jinja does the escaping.

Two rules hold for every template of every package. Whatever text comes in is escaped, unless it is `Markup`, which only
a template makes. A name that nobody gave a value is an error, and not an empty place on a page.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

FOLDER = "templates"


@cache
def load_environment(*packages: str) -> Environment:
    """The environment that finds templates in the folders `templates/` of these packages.

    Args:
        packages: importable names, such as "emoscene.reporting"; the first that has a template is asked for it.

    Returns:
        An environment that escapes, is strict about names, and has the filter `percent`.

    Raises:
        ValueError: for a package without such a folder.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, FOLDER) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = format_percent
    return environment


def render(packages: tuple[str, ...], template: str, **values: Any) -> Markup:
    """Fill a template.

    Args:
        packages: where the template, and those that it extends or includes, may lie.
        template: the file's name, such as "page.html.j2".
        values: what the template's names stand for.

    Returns:
        The text, marked as escaped, so that another template takes it as it is.

    Raises:
        jinja2.UndefinedError: for a name in the template that has no value.
        jinja2.TemplateNotFound: where no package has the template.
    """
    text = load_environment(*packages).get_template(template).render(**values)
    return Markup(text)  # nosec B704  # the environment escapes every value


def format_percent(share: float, digits: int = 0) -> str:
    """A share between 0 and 1 in per cent.

    Args:
        share: the share.
        digits: how many stand behind the point.

    Returns:
        For example "12%".
    """
    return f"{share:.{digits}%}"

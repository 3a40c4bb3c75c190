"""The verb `study`: ask people which images show an emotion, and analyse what they answer.

emoscene study make out/none out/lora --out study          a page to mail or to serve
emoscene study serve study --port 7870                     the page, and a database of answers
emoscene study plan --effect 0.6 --prompts 24              how many raters that needs
emoscene study analyse answers/ --study study --out out/people
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emoscene.core.errors import UsageError, missing_extra, unknown_name
from emoscene.core.plain_text import format_count
from emoscene.core.run_dir import as_list
from emoscene.evaluation.study.analysis import analyse_study
from emoscene.evaluation.study.design import CHECKS, DESIGNS, PER_RATER
from emoscene.evaluation.study.making import KEY, SIDE, make_study
from emoscene.evaluation.study.power import PROMPT_SD, RATER_SD, Plan, compute_power, find_raters

DEFAULTS: dict[str, dict[str, Any]] = {
    "make": {
        "out": None,
        "design": DESIGNS[0],
        "per_rater": PER_RATER,
        "checks": CHECKS,
        "limit": None,
        "side": SIDE,
        "seed": 0,
        "consent": None,
    },
    "serve": {"host": "127.0.0.1", "port": 7870, "allow_host": ()},
    "plan": {
        "effect": None,
        "power": 0.8,
        "raters": None,
        "per_rater": PER_RATER,
        "prompts": 24,
        "rater_sd": RATER_SD,
        "prompt_sd": PROMPT_SD,
    },
    "analyse": {"study": None, "out": None},
}
"""What each action takes, with its defaults; None for what has none."""


def study(
    action: str,
    places: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path | None = None,
    design: str | None = None,
    per_rater: int | None = None,
    checks: int | None = None,
    limit: int | None = None,
    side: int | None = None,
    seed: int | None = None,
    consent: str | None = None,
    host: str | None = None,
    port: int | None = None,
    allow_host: str | Sequence[str] = (),
    effect: float | None = None,
    power: float | None = None,
    raters: int | None = None,
    prompts: int | None = None,
    rater_sd: float | None = None,
    prompt_sd: float | None = None,
    study: str | Path | None = None,
    as_json: bool = False,
    on_message: Callable[[str], None] = print,
) -> Any:
    """Ask people which images show an emotion, and analyse their answers.

    Args:
        action: make, serve, plan or analyse.
        places: Of make, folders of scores or images; of serve, the study; of analyse, files or folders of answers.
        out: make, analyse: the folder to write.
        design: make: 2afc, label or rank; 2afc if left out.
        per_rater: make, plan: how many trials a rater sees; 40 if left out.
        checks: make: how many attention checks a rater sees; 3 if left out.
        limit: make: how many trials there are at most; all if left out.
        side: make: the side of an image on the page in pixels, at most; 384 if left out.
        seed: make: of random orders; 0 if left out.
        consent: make: a text file that raters agree to; a general text if left out.
        host: serve: the address to listen on; this machine alone if left out.
        port: serve: 0 to 65535, where 0 is any free port; 7870 if left out.
        allow_host: serve: more names by which the page may be asked, such as a proxy's.
        effect: plan: how often the better of two methods is chosen, such as 0.6.
        power: plan: the power wanted, where raters are to be found; 0.8 if left out.
        raters: plan: how many raters there are; left out, their number is found.
        prompts: plan: how many prompts the pairs have; 24 if left out.
        rater_sd: plan: how much raters differ in log odds; 0.3 if left out.
        prompt_sd: plan: how much prompts differ in log odds; 0.5 if left out.
        study: analyse: the folder of the study; left out, the one that the answers lie in.
        as_json: Print one JSON object.
        on_message: Takes each sentence for the user.

    Returns:
        The folder of make and analyse; the numbers of plan.

    Raises:
        UsageError: An argument is off, or belongs to another action.
        EmosceneError: A file is damaged, or an extra is missing.
    """
    given = {name: value for name, value in locals().items() if value is not None and value != ()}
    for name in ("action", "places", "as_json", "on_message"):
        given.pop(name, None)
    folders = as_list(places or None)
    words = _read_words(action, given)
    if action == "plan":
        return _report_plan(words, folders, as_json)
    if action == "serve":
        return _serve(words, folders, on_message)
    if not folders:
        wanted = {"make": "folders of scores or images", "analyse": "files or folders of answers"}[action]
        raise UsageError(f"study {action} needs {wanted}: emoscene study {action} PLACES --out OUT")
    if words["out"] is None:
        raise UsageError(f"study {action} needs --out: the folder to write")
    if action == "make":
        made = make_study(folders, **words, on_message=on_message)
    else:
        home = Path(words["study"] or _find_study(folders))
        made = analyse_study(folders, home, words["out"], on_message=on_message)
    print(json.dumps({"out": str(made)}) if as_json else made)
    return made


def _read_words(action: str, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an action. Raises UsageError for one of another action."""
    if action not in DEFAULTS:
        raise unknown_name("action of study", action, DEFAULTS, hint=f"there is {', '.join(DEFAULTS)}")
    for name in given:
        if name not in DEFAULTS[action]:
            owners = [other for other, known in DEFAULTS.items() if name in known]
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} belongs to study {' and '.join(owners)}, not to {action}: leave it out")
    words = {**DEFAULTS[action], **given}
    design = words.get("design")
    if action == "make" and design not in DESIGNS:
        raise unknown_name("design", str(design), DESIGNS, hint=f"there is {', '.join(DESIGNS)}")
    for name, least in (("per_rater", 1), ("side", 32), ("checks", 0), ("limit", 1), ("raters", 1), ("prompts", 1)):
        value = words.get(name)
        if value is not None and value < least:
            raise UsageError(f"{name}={value} is off: give {least} or more")
    return words


def _find_study(places: Sequence[str]) -> Path:
    """The study in whose folder answers lie."""
    for place in map(Path, places):
        for folder in (place, place.parent):
            if (folder / KEY).is_file():
                return folder
    raise UsageError("study analyse needs --study: the folder that study make wrote")


def _report_plan(words: dict[str, Any], places: Sequence[str], as_json: bool) -> dict[str, Any]:
    """Print how many raters a study needs, or its power."""
    if places:
        raise UsageError(f"{places[0]!r} is a word too many: study plan takes options alone")
    if words["effect"] is None:
        raise UsageError("study plan needs --effect: how often the better of two methods is chosen, such as 0.6")
    numbers = {name: words[name] for name in ("effect", "per_rater", "prompts", "rater_sd", "prompt_sd")}
    plan = Plan(raters=words["raters"] or 0, **numbers)
    if not plan.raters:
        plan = Plan(raters=find_raters(plan, words["power"]), **numbers)
    facts = {**numbers, "raters": plan.raters, "pairs": plan.raters * plan.per_rater, "power": compute_power(plan)}
    if as_json:
        print(json.dumps(facts))
    else:
        print(
            f"{format_count(plan.raters, 'rater')} x {format_count(plan.per_rater, 'pair')} of "
            f"{format_count(plan.prompts, 'prompt')}: a preference of {plan.effect:g} "
            f"is told from .5 with a power of {facts['power']:.2f}"
        )
    return facts


def _serve(words: dict[str, Any], places: Sequence[str], on_message: Callable[[str], None]) -> None:
    """Serve a study until Ctrl-C."""
    if len(places) != 1:
        raise UsageError("study serve needs one STUDY: the folder that study make wrote")
    for module in ("fastapi", "uvicorn"):
        if find_spec(module) is None:
            raise missing_extra("study")
    server = import_module("emoscene.web.study_server")
    server.serve_study(places[0], words["host"], words["port"], as_list(words["allow_host"]), on_message)

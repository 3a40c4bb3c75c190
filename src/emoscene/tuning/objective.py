"""The bench on which settings are tried: what all trials of a call share, and how one of them is done.

A trial's artifact lies in a folder named by a digest of everything that training depends on. So trials that differ only
in how they generate (runtime fields, `guidance_scale`) share one, a trial whose worker died goes on from the checkpoint
that it left, and what was trained once is never trained again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from emoscene.core import config as configs
from emoscene.core import run_dir, seeds
from emoscene.core.callbacks import ignore_event
from emoscene.core.config import Option, option
from emoscene.core.errors import EmosceneError, TrainingDiverged, TrainingStopped, UsageError
from emoscene.core.setting_names import migrate_settings
from emoscene.data.dataset import PreparedDataset
from emoscene.diffusion.base_spec import check_base, find_spec
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import locate_model
from emoscene.evaluation import judges as judge_loading
from emoscene.learning import checkpoints
from emoscene.learning import learner as learners
from emoscene.methods.base import SHARES, Method
from emoscene.pipeline.generate import load
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.training import state, train
from emoscene.tuning.selector import Observation, Selector, check_disjoint, choose_captions
from emoscene.tuning.studies import Study, Trial, TrialPruned


@dataclass(frozen=True)
class Config:
    """How to search, and by what."""

    objective: str = option(
        "probability", "what is to be high: the asked emotion's mean, or its share", choices=("probability", "accuracy")
    )
    floor: float = option(0.9, "least content, as a share of what the base alone keeps", span=(0.0, 1.0))
    looks: int = option(8, "prompts generated in all eight emotions at each look", span=(2, 10_000))
    rungs: int = option(2, "looks during a training, at which it may be stopped; 0 is none", span=(0, 100))
    pulse: int = option(30, "seconds between a worker's signs of life; three missed, and it is dead", span=(1, 3600))
    guidance_scale: float | None = option(
        None, "how closely to follow the words; the base's own if not set", span=(1.0, 20.0)
    )


class TuningObjective:
    """What all trials of a call have in common, and how one of them is done."""

    def __init__(
        self,
        name: str,
        data: Path,
        out: Path,
        base: str,
        adapters: list[Path],
        on_message: Callable[[str], None],
        settings: Mapping[str, Any],
    ) -> None:
        self.name, self.data, self.out, self.adapters, self.on_message = name, data, out, adapters, on_message
        cls = train.find_learner(name)
        if not issubclass(cls, Method):
            raise UsageError(f"tune searches methods, and {name} is none: give its settings to emoscene train {name}")
        if len(adapters) > 1 or any(learners.read_card(folder)["learner"] != name for folder in adapters):
            raise UsageError(f"--adapter is one folder that `emoscene train {name}` made")
        run_dir.read_manifest(data, "prepared")
        check_base(base)
        run_dir.check_out(out, "tuning")
        self.cls, self.own = cls, configs.list_options(cls.Config)
        self.late = {field.name for field in self.own if field.runtime}
        self.config, self.space, self.defaults = self._parse_settings(settings, base)
        self.first = {key: self.defaults[key] for key in self.space}
        self.selected = PreparedDataset(data, role="selector")
        self.backbone = DiffusionModel.load(base)  # after what the words, the data and the folder say

    def _parse_settings(
        self, settings: Mapping[str, Any], base: str
    ) -> tuple[Config, dict[str, Option], dict[str, Any]]:
        """How to search, what is searched, and the default configuration: a value for every field."""
        fields, mine = [*configs.list_options(state.Config), *self.own], configs.list_options(Config)
        recipe: dict[str, Any] = {}
        if not self.adapters:
            recipe = train.find_recipe(self.name, base)
        said = configs.read_settings([*fields, *mine], {**recipe, **settings}, configs.narrow_option)
        space = {key: value for key, value in said.items() if isinstance(value, Option)}
        fixed = {key: value for key, value in said.items() if key not in space}
        by = {field.name for field in mine} - {"guidance_scale"}
        for key in sorted(by & space.keys()):
            raise UsageError(f"{key} says how to search and is not searched: give it one value")
        settled = sorted(settings.keys() - by - self.late - {"guidance_scale"})
        if self.adapters and settled:
            key = settled[0]
            raise UsageError(f"{key} was settled when {self.adapters[0]} was trained: leave out {key}, or --adapter")
        space = space or self._default_search(settings)
        defaults = {field.name: field.default for field in fields} | {"guidance_scale": find_spec(base).guidance_scale}
        if self.adapters:
            card = learners.read_card(self.adapters[0])
            defaults |= migrate_settings(card["config"], {field.name for field in self.own})
        defaults |= configs.read_settings(fields, recipe)
        defaults |= {key: value for key, value in fixed.items() if key not in by}
        for key, field in space.items():
            try:
                field.read(defaults[key])
            except UsageError as error:
                raise UsageError(f"{error}; a study begins with the default, {defaults[key]}: widen it") from error
        return configs.replace_fields(Config(), {key: fixed[key] for key in by & fixed.keys()}), space, defaults

    def _default_search(self, settings: Mapping[str, Any]) -> dict[str, Option]:
        """What is searched by default: `lr`, `guidance_scale`, and what the method declares."""
        others = [*configs.list_options(state.Config), *configs.list_options(Config)]
        late = self.late | {"guidance_scale"}
        space = {}
        fields = [field for field in others if field.name in {"lr", "guidance_scale"}]
        for field in [*fields, *self.own]:
            if field.type == "bool":
                field = replace(field, choices=(False, True))
            is_bounded = bool(field.choices or field.span)
            is_open = (
                field.name not in settings and field.name not in SHARES and (not self.adapters or field.name in late)
            )
            if is_bounded and is_open:
                space[field.name] = field
        return space

    def set_selector(self, selector: str | Path | None, judges: Sequence[str]) -> dict[str, Any]:
        """Load the selector.

        Args:
            selector: Its folder; the base's EmotionCLIP if left out.
            judges: Further judges of the final comparison.

        Returns:
            What makes two calls the same.

        Raises:
            UsageError: There is no selector, or it has a part in a judge.
        """
        spec = self.backbone.spec
        clip = None
        if spec.emotion_clip:
            clip = locate_model(self.backbone.auxiliary_model("emotion_clip"))
        folder = clip
        if selector:
            folder = Path(selector)
        if folder is None:
            raise UsageError(
                f"the base {self.backbone.name!r} has no EmotionCLIP to pick with: give one with --selector"
            )
        judge_loading.load_judges(self.backbone.name, judges)
        places = [*map(Path, spec.judges.values()), *map(judge_loading.locate_judge, judges)]
        check_disjoint(folder, places, self.cls.columns, self.selected)
        self.selector = Selector(folder, clip, choose_captions(self.selected, self.config.looks))
        self.mark = run_dir.fingerprint_folder(folder)
        return {
            "learner": self.name,
            "base": self.backbone.name,
            "search": {key: field.choices or field.span for key, field in self.space.items()},
            "default": self._relevant(),
            "by": configs.to_dict(self.config),
            "selector": self.mark,
            "judges": judge_loading.judge_fingerprints(self.backbone.name, judges),
        }

    def _relevant(self) -> dict[str, Any]:
        """The default configuration; of an artifact that is there, without what its training was."""
        own = {field.name for field in self.own} | {"guidance_scale"}
        return {key: value for key, value in self.defaults.items() if not self.adapters or key in own}

    def hold_lock(self, what: str) -> FileLock:
        """Make a lock; the system releases the lock of a worker that died.

        Args:
            what: What only one worker may do at a time.

        Returns:
            The lock, which is not held yet.
        """
        return FileLock(self.out / f"{run_dir.TEMPORARY_PREFIX}{what}.lock")

    def run_trial(self, study: Study, trial: Trial) -> float:
        """Train, unless another trial trained the same settings, and observe.

        Args:
            study: The study.
            trial: The trial.

        Returns:
            The value to maximize, from 0 to 1.

        Raises:
            TrialPruned: The trial is given up.
            EmosceneError: The default configuration failed.
        """
        for field in self.space.values():
            suggest_value(trial, field)
        try:
            return self._objective_value(self._observe(study, trial, self.full_settings(trial.params)))
        except TrialPruned as error:
            self.on_message(f"trial {trial.number} is given up: {error}; {format_settings(trial.params)}")
            if trial.params == self.first:
                raise EmosceneError(f"the default configuration failed, and a study needs it: {error}") from error
            raise

    def full_settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Complete the settings of a trial.

        Args:
            params: The values of the searched fields.

        Returns:
            A value for every field; floats that were searched have five digits.
        """
        settings = dict(self.defaults)
        for key, value in params.items():
            settings[key] = value
            if isinstance(value, float):
                settings[key] = float(f"{value:.5g}")
        return settings

    def _observe(self, study: Study, trial: Trial, chosen: Mapping[str, Any]) -> Observation:
        """What the selector sees of a trial's settings, noted in the study with the floor that it must keep."""
        own = configs.replace_fields(self.cls.Config(), {field.name: chosen[field.name] for field in self.own})
        try:
            self.cls.from_scratch(own, self.backbone)
        except UsageError as error:
            raise TrialPruned(str(error)) from error
        if "content" not in study.user_attrs:
            study.set_user_attr(
                "content",
                self.selector.observe_base(EmotionPipeline(self.backbone, {}), self.defaults["guidance_scale"]),
            )
        folder = self.train_artifact(chosen, partial(self._report_rung, trial, chosen))
        pipe = load(self.backbone, method=self.name, adapter=folder, **{key: chosen[key] for key in self.late})
        seen = self.selector.observe(pipe, chosen["guidance_scale"])
        for key, value in asdict(seen).items():
            trial.set_user_attr(key, value)
        trial.set_constraint("floor", self.config.floor * study.user_attrs["content"] - seen.content)
        self.on_message(f"trial {trial.number}: {format_observation(seen)}; {format_settings(trial.params)}")
        return seen

    def _objective_value(self, seen: Observation) -> float:
        return float(getattr(seen, self.config.objective))

    def train_artifact(
        self, chosen: Mapping[str, Any], on_step_end: Callable[[state.TrainingState], bool | None] = ignore_event
    ) -> Path:
        """Train the adapter of some settings, unless it is there; an interrupted training continues.

        Args:
            chosen: A value for every field.
            on_step_end: Receives the run's state before the first step and after each.

        Returns:
            The folder of the adapter.

        Raises:
            TrialPruned: The training diverged, or lags behind the others.
            EmosceneError: A signal stopped it.
        """
        if self.adapters:
            return self.adapters[0]
        plain = {**chosen, **{key: self.defaults[key] for key in self.late}}
        plain.pop("guidance_scale", None)
        mark = f"{seeds.derive_seed(0, json.dumps(plain, sort_keys=True)):016x}"
        folder = self.out / "trained" / mark
        with self.hold_lock(mark):
            again = bool(checkpoints.list_checkpoints(folder / "checkpoints"))
            how: dict[str, Any] = {
                "data": self.data,
                "base": self.backbone.name,
                "resume": again,
                "on_message": self.on_message,
            }
            try:
                return train.train(self.name, out=folder, on_step_end=on_step_end, **how, **plain)
            except TrainingStopped as error:
                raise EmosceneError("stopped, and what is trained is saved: the same call goes on") from error
            except (TrainingDiverged, TrialPruned) as error:
                shutil.rmtree(folder)
                raise TrialPruned(str(error)) from error

    def _report_rung(self, trial: Trial, chosen: Mapping[str, Any], state: state.TrainingState) -> None:
        """Look at a training under way. Raises TrialPruned where it lags behind the others at the same point."""
        rungs = self.config.rungs
        points = [round(chosen["steps"] * place / (rungs + 1)) for place in range(1, rungs + 1)]
        if state.step not in points:
            return
        with state.averaged_weights() as learner:
            assert isinstance(learner, Method)
            before = learner.config
            learner.config = configs.replace_fields(before, {key: chosen[key] for key in self.late})
            try:
                seen = self.selector.observe(
                    EmotionPipeline(learner.base, {self.name: learner}), chosen["guidance_scale"]
                )
            finally:
                learner.config = before
        trial.report(self._objective_value(seen), points.index(state.step))
        if trial.should_prune() and trial.params != self.first:
            raise TrialPruned(f"at step {state.step} {format_observation(seen)}")


def suggest_value(trial: Trial, field: Option) -> None:
    """Let a trial draw the value of a field from its choices or its span.

    Args:
        trial: The trial.
        field: The field.
    """
    if field.choices is not None:
        trial.suggest_categorical(field.name, field.choices)
    elif field.span is not None:
        low, high, *scale = field.span
        if field.type.startswith("int"):
            trial.suggest_int(field.name, low, high, log="log" in scale)
        else:
            trial.suggest_float(field.name, low, high, log="log" in scale)


def format_observation(seen: Observation) -> str:
    """Describe an observation.

    Args:
        seen: The observation.

    Returns:
        A phrase.
    """
    return f"probability {seen.probability:.3f}, accuracy {seen.accuracy:.3f}, content {seen.content:.3f}"


def format_settings(params: Mapping[str, Any]) -> str:
    """Write parameters as on the command line.

    Args:
        params: The parameters.

    Returns:
        `key=value` pairs.
    """
    words = []
    for key, value in params.items():
        if isinstance(value, float):
            words.append(f"{key}={value:.4g}")
        else:
            words.append(f"{key}={value}")
    return " ".join(words)

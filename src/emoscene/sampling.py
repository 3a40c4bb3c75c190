"""One sampler, and the ways to use it.

    pipe = load("mini", method="lora")
    result = pipe("a village by a lake", emotion="awe", seed=7)      pictures of one call
    result = pipe(image="lake.jpg", keep=0.5, emotion="awe")         a picture, changed
    for row, image in pipe.draw(rows): ...                           pictures of any rows, lazily, in order

A picture is a function of its `Row`: its noise comes from a generator seeded with the row's own seed, exactly as
diffusers draws it, so a batch may mix prompts, emotions, strengths and seeds.
"""

from __future__ import annotations

import dataclasses
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from emoscene import config as configs
from emoscene import learner as learners
from emoscene import plugins, stage
from emoscene.backbone import LENGTH, Backbone, Condition
from emoscene.editing import Given, Picture, steps_of
from emoscene.emotions import EMOTIONS, Weights, affect, describe, one_way, weights
from emoscene.errors import Usage
from emoscene.methods.base import Chain, Method
from emoscene.pictures import Row, save
from emoscene.solvers import scheduler, steps

Emotion = str | Mapping[str, float] | Sequence[float] | None


@dataclasses.dataclass(frozen=True)
class Result:
    """The pictures of one call and the rows that make them again."""

    images: list[Image.Image]
    rows: list[Row]


class Pipe:
    """A base with methods on it, ready to paint. `load` makes one."""

    def __init__(self, base: Backbone, methods: Mapping[str, Method], adapters: Sequence[str] = ()) -> None:
        self.base, self.adapters = base, tuple(adapters)
        self.method = "+".join(methods) or "none"
        self.chain = Chain(list(methods.values()))
        self.given = Given(base)

    def __call__(self, prompt: str | Sequence[str] = "", *, batch: int = 8, **asked: Any) -> Result:
        """Paint every prompt in every emotion; asked: whatever `rows` takes. batch: pictures painted at once."""
        for words in [prompt] if isinstance(prompt, str) else prompt:
            for remark in self.remarks(words):
                warnings.warn(remark, stacklevel=2)
        drawn = list(self.draw(self.rows(prompt, **asked), batch))
        return Result([image for _, image in drawn], [row for row, _ in drawn])

    def rows(
        self,
        prompt: str | Sequence[str] = "",
        *,
        emotion: Emotion | list[Emotion] = None,
        valence: float | None = None,
        arousal: float | None = None,
        like: Picture | None = None,
        image: Picture | None = None,
        keep: float | None = None,
        seed: int = 0,
        num: int = 1,
        size: int | tuple[int, int] | None = None,
        cfg: float | None = None,
        **same: Any,
    ) -> list[Row]:
        """The rows that a call asks for: prompts x emotions x `num` seeds counted up from `seed`.

        emotion: a name, a mixture ("awe:0.7,fear:-0.3" or a mapping), eight weights, None for the base, or a list of
        these; or valence and arousal, in [-1, 1]; or like: a picture (or its file) that has it. image: a picture to
        change, keep: how much of it stays, in [0, 1]; its caption stands in for an empty prompt. size: the side, or
        (width, height), in pixels, multiples of 8; of an edit, see `editing`. cfg: how closely to follow the words.
        same: `strength` (0 the base, 1 the method as trained, above extrapolates, below suppresses), `negative`,
        `steps`, `sampler`. Raises Usage for words that are off.
        """
        one_way(emotion, valence, arousal, like)
        source = self.given.source(image, keep, size)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if image is not None and not all(prompts):
            caption = self.given.caption(source["image"])
            prompts = [words or caption for words in prompts]
        asked = [w for one in (emotion if isinstance(emotion, list) else [emotion]) for w in asked_weights(one)]
        if valence is not None and arousal is not None:
            asked = [affect(valence, arousal)]
        if like is not None:
            name, digest = self.given.enter(like)
            asked = [self.given.feel(name, digest)[0]]
            source |= {"like": name, "digests": {**source["digests"], name: digest}}
        shared = {
            "method": self.method,
            "base": self.base.name,
            "adapters": self.adapters,
            "cfg": self.base.spec.cfg if cfg is None else float(cfg),
            **source,
            **same,
        }
        seeds = range(seed, seed + num)
        return [Row(prompt=p, emotion=e, seed=s, **shared) for p, e, s in product(prompts, asked, seeds)]

    def remarks(self, prompt: str) -> list[str]:
        """What is odd about a prompt, a sentence each: words the base does not know, or has no room for."""
        found, base = [], self.base
        if odd := strange_words(base, prompt):
            words = ", ".join(map(repr, odd))
            found.append(f"the base '{base.name}' does not know {words}: emoscene show {base.name} lists its words")
        room = LENGTH - 2 - max((method.room for method in self.chain.methods), default=0)
        if (length := len(base.ids(prompt, 2000))) > room:
            found.append(
                f"the prompt is {length} tokens long and {self.method} has room for {room}: its end is not read"
            )
        return found

    def draw(self, rows: Iterable[Row], batch: int = 8) -> Iterator[tuple[Row, Image.Image]]:
        """The pictures of these rows, lazily and in order, at most `batch` at a time.

        Only neighbours that share steps, sampler, size and `keep` share a batch. Each row comes back with its seconds.
        """
        for _, alike in groupby(rows, key=lambda row: (row.steps, row.sampler, row.size, row.keep)):
            while group := list(islice(alike, batch)):
                began = time.perf_counter()
                *_, x = self.latents(group)
                images = pictures(self.base.decode(x))
                seconds = round((time.perf_counter() - began) / len(group), 4)
                for row, image in zip(group, images, strict=True):
                    sized = image if image.size == row.size else image.resize(row.size, Image.Resampling.LANCZOS)
                    yield dataclasses.replace(row, seconds=seconds), sized

    def latents(self, rows: Sequence[Row]) -> Iterator[Tensor]:
        """The latents [B, 4, h, w] after each step, for rows that share steps, sampler, size and `keep`."""
        return (x for x, _ in self.glimpses(rows))

    def glimpses(self, rows: Sequence[Row]) -> Iterator[tuple[Tensor, Tensor]]:
        """The latents after each step, and what they promise to become, both [B, 4, h, w]: for previews.

        Where all of a picture is kept there is no step, and its own latents are all that comes.
        """
        solver = scheduler(self.base, rows[0].sampler, rows[0].steps)
        x = self.given.begin(solver, rows)
        if not steps_of(rows[0]):
            return iter([(x, x)])
        positive, negative = self.conditions(rows)
        cfg = torch.tensor([row.cfg for row in rows], device=self.base.device)
        return steps(self.base, self.chain, positive, negative, cfg, x, solver)

    @torch.no_grad()
    def conditions(self, rows: Sequence[Row]) -> tuple[Condition, Condition | None]:
        """What these rows lead towards, and away from; None where no row asks for guidance."""
        device = self.base.device
        strengths = torch.tensor([[row.strength] for row in rows], device=device)
        a = torch.tensor([row.emotion for row in rows], device=device) * strengths
        plain = self.base.plain([row.prompt for row in rows], a)
        vectors = self.given.likes(rows)
        if vectors is not None:
            plain = dataclasses.replace(plain, extra={"like": vectors})
        positive = self.chain.condition(plain)
        if all(row.cfg == 1 for row in rows):
            return positive, None
        away = self.base.plain([row.negative for row in rows], (-a).clamp(min=0), plain.g)
        if vectors is not None:
            away = dataclasses.replace(away, extra={"like": torch.zeros_like(vectors)})
        return positive, self.chain.condition(away)


def pictures(images: Tensor) -> list[Image.Image]:
    """Pictures [B, 3, H, W] in [-1, 1] as Pillow's, rounded as diffusers does."""
    pixels = (images.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(np.round(picture * 255).astype(np.uint8)) for picture in pixels]


def asked_weights(emotion: Emotion) -> list[Weights]:
    """One row of weights for what was asked; "all" is each emotion in turn."""
    if emotion == "all":
        return [weights(name) for name in EMOTIONS]
    return [weights(emotion)]


def load(
    base: str | Backbone = "mini",
    *,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    **late: Any,
) -> Pipe:
    """A base with methods on it: `load("mini", method="lora")`.

    base: a name, a folder, a hub id, or one that is loaded already. method: a name or names joined by `+`; left out,
    the adapters say it. adapter: folders that `train` made; a method without one takes the base's own. late: settings
    of the methods that may change at use (`guidance.scale` in a pair).
    Raises Usage for names nobody knows and adapters of another base, Failure for damaged files.
    """
    backbone = base if isinstance(base, Backbone) else loaded(base, device, dtype)
    given = [adapter] if isinstance(adapter, str | Path) else list(adapter or ())
    folders: dict[str, Path] = {}
    for folder in map(Path, given):
        if (other := folders.setdefault(learners.card(folder)["learner"], folder)) is not folder:
            raise Usage(f"{other} and {folder} are both {learners.card(folder)['learner']}: give one of them")
    wanted = method.split("+") if method else list(folders)
    for name in wanted:
        plugins.source("methods", name)
    if strangers := [name for name in folders if name not in wanted]:
        raise Usage(f"{folders[strangers[0]]} is a {strangers[0]}, and --method {method} does not use it")
    names = [name for name in wanted if name != "none"]
    methods = {name: _method(name, backbone, folders, settings(name, names, late)) for name in names}
    own = {name: folder.name for name, folder in folders.items()}
    return Pipe(
        backbone, methods, [own.get(name, f"{backbone.name}:{name}") for name in methods if methods[name].reads]
    )


def loaded(base: str, device: str | None = None, dtype: torch.dtype | str | None = None) -> Backbone:
    """The base on the best device there is, in half precision on CUDA, unless told otherwise."""
    place = device or ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    kind = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    return Backbone.load(base, place, kind or (torch.float16 if place == "cuda" else torch.float32))


def settings(name: str, names: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings meant for one method: `key` alone where there is one method, `name.key` among several."""
    known = {option.name for option in plugins.options("methods", name)}
    mine = {key.removeprefix(f"{name}."): value for key, value in given.items() if key.startswith(f"{name}.")}
    rest = {key: value for key, value in given.items() if "." not in key and (len(names) == 1 or key in known)}
    return {**rest, **mine}


def _method(name: str, base: Backbone, folders: Mapping[str, Path], late: Mapping[str, Any]) -> Method:
    cls: type[Method] = plugins.find("methods", name)
    if not cls.reads:
        return cls.start(configs.replace(cls.Config(), late), base)
    loaded = learners.load("methods", adapter_of(name, base, folders), base, **late)
    assert isinstance(loaded, Method)
    return loaded


def adapter_of(name: str, base: Backbone, folders: Mapping[str, Path]) -> Path:
    """The folder of a method's weights: the one given, else the base's own. Raises Usage where there is neither."""
    if name in folders:
        return folders[name]
    if name not in base.spec.adapters:
        raise Usage(f"the base '{base.name}' has no {name} of its own: train one, and give it with --adapter DIR")
    return Path(__file__).parent / base.spec.adapters[name]


def generate(
    prompt: str = "",
    *,
    out: str | Path = "out",
    emotion: Emotion | list[Emotion] = None,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    base: str = "mini",
    batch: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    tell: Callable[[str], None] | None = None,
    watch: Callable[[int, int], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Path:
    """Paint into the folder `out`: a PNG a picture and `pictures.jsonl`; returns the folder.

    asked: `valence arousal like image keep strength negative seed num steps cfg sampler size`, as `Pipe.rows` has them.
    The same call goes on where it stopped; a picture that is there is not painted again. Raises Usage for words that
    are off.
    """
    pipe = load(base, method=method, adapter=adapter, device=device, dtype=dtype, **(settings or {}))
    tell = tell or _silent
    rows = named(pipe.rows(prompt, emotion=emotion, **asked))
    for remark in [*pipe.remarks(prompt), *(remark for row in rows[:1] for remark in pipe.given.remarks(row, prompt))]:
        tell(remark)
    if asked.get("valence") is not None:
        place = describe(rows[0].emotion) or "no emotion at all"
        tell(f"valence {asked['valence']:g} and arousal {asked['arousal']:g} are {place}")
    if method is None and pipe.method == "none" and any(any(row.emotion) for row in rows):
        tell("the base alone paints, and hears no emotion: give --method lora, or an --adapter")
    call = {"rows": [row.asdict() for row in rows], "settings": settings or {}}
    opened = stage.Stage.open(out, "pictures", call)
    for number in kept(pipe, rows, opened.path, batch):
        if watch:
            watch(number, len(rows))
    if not opened.done:
        opened.finish(pictures=len(rows))
    return opened.path


def kept(pipe: Pipe, rows: Sequence[Row], folder: Path, batch: int = 8) -> Iterator[int]:
    """Paint into a folder the rows that are not in it yet, each a PNG and a line; yields how many there are."""
    index = folder / "pictures.jsonl"
    finished = {row["file"] for row in stage.rows(index)}
    todo = [row for row in rows if row.file not in finished]
    for number, (row, image) in enumerate(pipe.draw(todo, batch), len(rows) - len(todo) + 1):
        save(image, folder / row.file, row)
        stage.append_row(index, row.asdict())
        yield number


def _silent(remark: str) -> None:
    """Tell nobody."""


def named(rows: Sequence[Row]) -> list[Row]:
    """The rows with a file name each: the emotion (or whose it is), the seed, and a number where these repeat."""
    found: dict[str, int] = {}
    named = []
    for row in rows:
        felt = f"like-{Path(row.like).stem}" if row.like else describe(row.emotion) or "base"
        stem = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', felt)[:60]}-{row.seed:04d}"
        found[stem] = found.get(stem, 0) + 1
        named.append(dataclasses.replace(row, file=f"{stem}{f'-{found[stem]}' if found[stem] > 1 else ''}.png"))
    return named


def strange_words(base: Backbone, prompt: str) -> list[str]:
    """The words of a prompt that a base with a vocabulary of its own does not know."""
    if not base.spec.words:
        return []
    known = set((base.folder / base.spec.words).read_text(encoding="utf8").split())
    return [word for word in dict.fromkeys(re.findall(r"[a-z]+", prompt.lower())) if word not in known]

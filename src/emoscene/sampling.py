"""One sampler, and the ways to use it.

    pipe = load("mini", method="lora")
    result = pipe("a village by a lake", emotion="awe", seed=7)      pictures of one call
    result = pipe(image="lake.jpg", keep=0.5, emotion="awe")         a picture, changed
    for row, image in pipe.draw(rows): ...                           pictures of any rows, lazily, in order
    for x in pipe.latents(rows): pipe.preview(x)                     what they will be, after each step

A picture is a function of its `Row`: its noise comes from a generator seeded with the row's own seed, exactly as
diffusers draws it, so a batch may mix prompts, emotions, strengths and seeds.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice, product
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from emoscene import gallery, loras
from emoscene.adapters import fingerprints, methods_of, update_weights
from emoscene.backbone import LENGTH, Backbone, Condition
from emoscene.decoding import ImageDecoder, pictures
from emoscene.device import Thrift, compiled, described, loaded
from emoscene.editing import Given, Picture, steps_of
from emoscene.emotions import EMOTIONS, Weights, affect, describe, one_way, weights
from emoscene.errors import Usage, unknown
from emoscene.limits import read_number, read_seeds
from emoscene.methods.base import Chain, Method
from emoscene.pictures import Row, named, read_prompts
from emoscene.preview import Preview
from emoscene.solvers import SCHEDULERS, scheduler, steps

ASKED = {
    *("valence", "arousal", "like", "image", "keep", "strength", "negative", "seed", "num", "steps", "size"),
    *("cfg", "cfg_low", "cfg_high", "sampler"),
}
"""What `generate` asks of `Pipe.rows`, beside prompt and emotion."""
Emotion = str | Mapping[str, float] | Sequence[float] | None


@dataclasses.dataclass(frozen=True)
class Result:
    """The pictures of one call and the rows that make them again."""

    images: list[Image.Image]
    rows: list[Row]


class Pipe:
    """A base with methods on it, ready to paint. `load` makes one."""

    def __init__(
        self,
        base: Backbone,
        methods: Mapping[str, Method],
        adapters: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        tiny: str | Path | None = None,
    ) -> None:
        self.base, self.methods, self.adapters = base, dict(methods), tuple(adapters)
        self.settings = dict(settings or {})  # those that are not the methods' own
        self.method = "+".join(methods) or "none"
        self.trained = [name for name, method in methods.items() if method.reads]
        self.adapter_remarks = [method.remark for method in methods.values() if method.remark]
        self.chain = Chain(list(methods.values()))
        self.given = Given(base, self.chain.methods)
        self.sketch = Preview(base, tiny)
        self.tell: Callable[[str], None] = _warn
        self.thrift = Thrift(base, lambda remark: self.tell(remark))
        self.decoder = ImageDecoder(base, lambda remark: self.tell(remark))

    def __call__(self, prompt: str | Sequence[str] = "", *, batch: int = 8, **asked: Any) -> Result:
        """Paint every prompt in every emotion; asked: whatever `rows` takes. batch: pictures painted at once."""
        prompts = read_prompts(prompt)
        for remark in dict.fromkeys(remark for words in prompts for remark in self.remarks(words)):
            warnings.warn(remark, stacklevel=2)
        rows = self.rows(prompts, **asked)
        for row in rows[:1]:
            for remark in self.given.cautions(row, prompts[0]):
                warnings.warn(remark, stacklevel=2)
        drawn = list(self.draw(rows, batch))
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
        (width, height), in pixels, multiples of the base's `unit`; of an edit, see `editing`. cfg: how closely to
        follow the words.
        same: `strength` (0 the base, 1 the method as trained, above extrapolates, below suppresses), `negative`,
        `steps`, `sampler`, `cfg_low` and `cfg_high` (the noise levels t / T between which `cfg` acts). Raises Usage for
        words that are off.
        """
        one_way(emotion, valence, arousal, like)
        if (low := same.get("cfg_low", 0.0)) > (high := same.get("cfg_high", 1.0)):
            raise Usage(f"cfg_low={low} is above cfg_high={high}: --cfg acts from high down to low")
        source = self.given.source(image, keep, size)
        prompts = read_prompts(prompt)
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
            "loras": self.base.loras,
            "settings": self.settings,
            "cfg": self.base.spec.cfg if cfg is None else cfg,
            **source,
            **same,
        }
        seeds = read_seeds(seed, num)
        return [checked(Row(prompt=p, emotion=e, seed=s, **shared)) for p, e, s in product(prompts, asked, seeds)]

    def remarks(self, prompt: str) -> list[str]:
        """What is odd about a prompt, a sentence each: words the base does not know, or has no room for.

        And about any prompt here: adapters that were trained on another base.
        """
        found, base = list(self.adapter_remarks), self.base
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

        Only neighbours that share steps, sampler, size, `keep` and guidance's interval share a batch. Each row comes
        back with its seconds. Where memory runs out it goes on with less (`Thrift`).
        """
        batch = read_number("batch", batch)
        for _, alike in groupby(rows, key=together):
            while group := list(islice(alike, batch)):
                began = time.perf_counter()
                images = self.thrift(self._paint, group)
                seconds = round((time.perf_counter() - began) / len(group), 4)
                for row, image in zip(group, images, strict=True):
                    sized = image if image.size == row.size else image.resize(row.size, Image.Resampling.LANCZOS)
                    sized.info["emoscene"] = json.dumps(row.asdict())  # in memory too it says where it comes from
                    yield dataclasses.replace(row, seconds=seconds), sized

    def _paint(self, rows: Sequence[Row]) -> list[Image.Image]:
        *_, x = self.latents(rows)
        return self.decode(x, rows)

    def decode(self, x: Tensor, rows: Sequence[Row]) -> list[Image.Image]:
        """The finished images of latents [B, 4, h, w]; rows: what they were made from. Raises as `ImageDecoder`."""
        return self.decoder(x, [row.seed for row in rows])

    def preview(self, latents: Tensor) -> list[Image.Image]:
        """What latents [B, 4, h, w] between two steps look like, by the tiny decoder where one was given."""
        return pictures(self.sketch(latents).nan_to_num())  # a finished image is checked, a sketch is shown as it is

    def latents(self, rows: Sequence[Row]) -> Iterator[Tensor]:
        """The latents [B, 4, h, w] after each step, for rows that share all that `together` says."""
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
        interval = rows[0].cfg_low, rows[0].cfg_high
        return steps(self.base, self.chain, positive, negative, cfg, x, solver, interval)

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


def checked(row: Row) -> Row:
    """The row, whose numbers are in bounds. Raises Usage for a sampler that nobody knows."""
    if row.sampler not in SCHEDULERS:
        raise unknown("sampler", row.sampler, SCHEDULERS)
    return row


def together(row: Row) -> tuple[Any, ...]:
    """What rows must have in common to be painted at once."""
    return row.steps, row.sampler, row.size, row.keep, row.cfg_low, row.cfg_high


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
    lora: str | Path | Sequence[str | Path] | None = None,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    compile: bool = False,
    tiny: str | Path | None = None,
    **late: Any,
) -> Pipe:
    """A base with methods on it: `load("mini", method="lora")`.

    base: a name, a folder, a hub id, or one that is loaded already. method: a name or names joined by `+`; left out,
    the adapters say it. adapter: folders that `train` made; a method without one takes the base's own. lora:
    LoRAs trained elsewhere, `FILE` or `FILE:scale`, which become part of the base; one that is given loaded stays as it
    is. device, dtype: the best there is, if left out (`device`). compile: compile the UNet, which pays for many
    pictures of one size. tiny: the folder of an AutoencoderTiny for previews. late: settings of the methods that may
    change at use (`guidance.scale` in a pair).
    Raises Usage for names nobody knows and adapters of another architecture, Failure for damaged files or without a
    compiler.
    """
    backbone = base if isinstance(base, Backbone) else loaded(base, device, dtype)
    backbone = loras.put_on(backbone, lora) if lora else backbone
    if compile:
        compiled(backbone)
    return Pipe(backbone, *methods_of(backbone, method, adapter, late), tiny)


def generate(
    prompt: str = "",
    *,
    out: str | Path = "out",
    emotion: Emotion | list[Emotion] = None,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    base: str = "mini",
    lora: str | Path | Sequence[str | Path] | None = None,
    batch: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    compile: bool = False,
    tell: Callable[[str], None] | None = None,
    watch: Callable[[int, int], None] | None = None,
    **asked: Any,
) -> Path:
    """Paint into the folder `out`: a PNG a picture and `pictures.jsonl`; returns the folder.

    asked: `valence arousal like image keep strength negative seed num steps cfg cfg_low cfg_high sampler size`, as
    `Pipe.rows` has them, and settings of the methods that may change at use; device, dtype, compile: as `load` has
    them.
    The same call goes on where it stopped; a picture that is there is not painted again. Processes that were launched
    together share the painting. Raises Usage for words that are off.
    """
    late = {key: asked.pop(key) for key in list(asked) if key not in ASKED}
    backbone = loaded(base, device, dtype)
    pipe = load(backbone, method=method, adapter=adapter, lora=lora, compile=compile, **late)
    pipe.tell = tell = tell or _silent
    rows = named(pipe.rows(prompt, emotion=emotion, **asked))
    tell(described(pipe.base))
    first = rows[0]
    for remark in [*pipe.remarks(prompt), *pipe.given.remarks(first, prompt), *pipe.given.cautions(first, prompt)]:
        tell(remark)
    if asked.get("valence") is not None:
        place = describe(rows[0].emotion) or "no emotion at all"
        tell(f"valence {asked['valence']:g} and arousal {asked['arousal']:g} are {place}")
    if method is None and pipe.method == "none" and any(any(row.emotion) for row in rows):
        tell("the base alone paints, and hears no emotion: give --method lora, or an --adapter")
    marks = fingerprints(backbone, pipe.trained, adapter)
    opened = gallery.begin(out, rows, late, marks, partial(update_weights, base=backbone))
    if not opened.done:
        facts = {"remarks": pipe.adapter_remarks} if pipe.adapter_remarks else {}
        gallery.fill(opened, pipe.draw, rows, batch, watch, facts)
    return opened.path


def _silent(remark: str) -> None:
    """Tell nobody."""


def _warn(remark: str) -> None:
    """Tell whoever listens to warnings."""
    warnings.warn(remark, stacklevel=2)


def strange_words(base: Backbone, prompt: str) -> list[str]:
    """The words of a prompt that a base with a vocabulary of its own does not know."""
    if not base.spec.words:
        return []
    known = set((base.folder / base.spec.words).read_text(encoding="utf8").split())
    return [word for word in dict.fromkeys(re.findall(r"[a-z]+", prompt.lower())) if word not in known]

"""What a user should know about planned images before they are generated: what of the call would be lost in silence.

Words that the base does not know, the end of a prompt that is not read, an emotion that no method conveys, a negative
prompt without guidance, an interval of guidance without a step, an edit without a step. Each is a sentence, said once
for all images of a call.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from emoscene.core import registry
from emoscene.core.file_reading import read_utf8
from emoscene.core.params import GenerationParams
from emoscene.core.plain_text import format_count
from emoscene.core.request import PARAMETERS
from emoscene.diffusion.model import LENGTH, DiffusionModel
from emoscene.pipeline.image_inputs import num_steps_run
from emoscene.pipeline.samplers import keep_last_steps, make_scheduler, remaining_timesteps

SHOWN = 8  # words of a list


def remark_rows(base: DiffusionModel, room: int, rows: Sequence[GenerationParams]) -> list[str]:
    """Look at planned images.

    Args:
        base: The base.
        room: How many tokens of a prompt are read beside the method's own.
        rows: The parameters of each image, of one method.

    Returns:
        A sentence for each thing that is odd.
    """
    prompts = dict.fromkeys(row.prompt for row in rows)
    remarks = remark_prompts(base, room, prompts, rows[0].method)
    unguided = _remark_guidance(base, rows)
    remarks += unguided
    negative = dict.fromkeys(row.negative_prompt for row in rows if row.negative_prompt)
    if negative and unguided:
        remarks.append("the negative prompt acts through guidance, and there is none")
    elif negative and all(row.guidance_scale == 1 for row in rows):
        remarks.append("the negative prompt acts through guidance, and at a guidance scale of 1 there is none")
    else:
        if not any(_suppresses(row) for row in rows):
            room = LENGTH - 2
        remarks += remark_prompts(base, room, negative, rows[0].method, "negative prompt")
    if rows[0].method == "none" and any(any(row.emotion) for row in rows):
        remarks.append("without a method no emotion has an effect: choose one")
    if any(row.emotion_scale != 1 for row in rows) and not any(any(row.emotion) for row in rows):
        remarks.append("the emotion scale has no effect without an emotion: give one")
    return remarks + _remark_few_steps(rows[0]) + _remark_strength(rows[0])


def remark_idle_method(rows: Sequence[GenerationParams]) -> list[str]:
    """Look whether a call names a method and asks for no emotion, so that its images are the base's own.

    It is no remark of a pipeline: whoever calls that without an emotion wants the base's image to compare with.

    Args:
        rows: The parameters of each image, of one method.

    Returns:
        A sentence, or nothing.
    """
    if not rows or rows[0].method == "none" or any(any(row.emotion) for row in rows):
        return []
    return [f"without an emotion {rows[0].method} has no effect, and the images are the base's own: give --emotion"]


def remark_prompts(
    base: DiffusionModel, room: int, prompts: Iterable[str], method: str, kind: str = "prompt"
) -> list[str]:
    """Look at prompts.

    Args:
        base: The base.
        room: How many tokens of a prompt are read.
        prompts: The prompts.
        method: The method's name.
        kind: What they are called.

    Returns:
        A sentence on words out of vocabulary, and one on prompts with more tokens than are read.
    """
    odd: dict[str, None] = {}
    longest, cut, count = 0, 0, 0
    for prompt in prompts:
        odd.update(dict.fromkeys(unknown_words(base, prompt)))
        length = len(base.tokenize(prompt, 2000))
        longest = max(longest, length)
        cut += length > room
        count += 1

    remarks = []
    if odd:
        words = ", ".join(map(repr, list(odd)[:SHOWN]))
        if len(odd) > SHOWN:
            words += f" and {format_count(len(odd) - SHOWN, 'more word')}"
        remarks.append(f"the base '{base.name}' does not know {words}: emoscene show {base.name} lists its words")
    if cut and count == 1:
        remarks.append(
            f"the {kind} is {format_count(longest, 'token')} long and {method} has room for {room}: its end is not read"
        )
    elif cut:
        which = f"of {count} {kind}s, {format_count(cut, 'is', 'are')} up to {longest} tokens long"
        remarks.append(f"{which} and {method} has room for {room}: their ends are not read")
    return remarks


def unknown_words(base: DiffusionModel, prompt: str) -> list[str]:
    """List the words of a prompt that are out of a base's vocabulary.

    Args:
        base: The base.
        prompt: The prompt.

    Returns:
        The words, each once, in order; none for a base that has no list of words.
    """
    if not base.spec.vocabulary:
        return []
    known = set(read_utf8(base.folder / base.spec.vocabulary).split())
    words = dict.fromkeys(re.findall(r"[a-z]+", prompt.lower()))
    return [word for word in words if word not in known]


def _suppresses(row: GenerationParams) -> bool:
    """Whether a row has an emotion below zero, whose tokens stand in the negative half."""
    return any(weight * row.emotion_scale < 0 for weight in row.emotion)


def _remark_guidance(base: DiffusionModel, rows: Sequence[GenerationParams]) -> list[str]:
    """What is odd about the interval of noise levels in which guidance acts: that it acts at no step."""
    first = rows[0]
    if first.guidance_interval == PARAMETERS["guidance_interval"].default or not num_steps_run(first):
        return []
    low, high = first.guidance_interval
    if all(row.guidance_scale == 1 for row in rows):
        return ["the guidance interval has no effect, because at a guidance scale of 1 there is no guidance"]
    solver = make_scheduler(base, first.sampler, first.num_inference_steps)
    keep_last_steps(solver, num_steps_run(first))
    levels = (remaining_timesteps(solver) / base.noise_process.num_timesteps).tolist()
    if any(low <= level <= high for level in levels):
        return []
    between = f"from {levels[0]:.3f} to {levels[-1]:.3f}"
    return [
        f"no step has a noise level in the guidance interval {low:g} to {high:g}, so there is no guidance: the steps' "
        f"levels go {between}"
    ]


def _remark_few_steps(row: GenerationParams) -> list[str]:
    """What is odd about the guidance scale of a sampler that was made for nearly none."""
    largest = registry.load_table("samplers", row.sampler).get("largest_guidance_scale")
    if largest is None or row.guidance_scale <= largest:
        return []
    return [
        f"the sampler {row.sampler} is made for guidance scales from 1 to {largest:g}, and images are overdone at "
        f"{row.guidance_scale:g}: give --guidance-scale 1"
    ]


def _remark_strength(row: GenerationParams) -> list[str]:
    """What is odd about the denoising strength of an edit: that it is no step, which one above 0 may be too."""
    if row.strength is None or num_steps_run(row):
        return []
    steps = row.num_inference_steps
    enough = math.floor(100 / (2 * steps) + 1) / 100  # round(enough * steps) is 1 at least
    remedy = f"from {enough:g} on it is one"
    return [f"a denoising strength of {row.strength:g} is no step of {steps}, so the image stays as it is: {remedy}"]

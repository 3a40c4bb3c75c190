"""Contenders take turns in one process, so that a machine that slows down slows all of them.

The ratio of a turn is the result: its median over the turns, with the quartiles. Beside the figures goes a plot, an SVG
that any browser shows: a row a contender, its turns as dots, its quartiles as a bar.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import torch

from emoscene.diffusion.device_choice import PINNED, choose_device, peak_device_memory

WIDE, LEFT, ROW = 720, 150, 34  # pixels of the plot


@dataclass(frozen=True)
class Ratio:
    """How often the other's time goes into one's own, over the turns: quartiles and median."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def take(runners: Mapping[str, Callable[[int], object]], count: int, warm: int) -> dict[str, list[float]]:
    """Seconds of each contender's turns; the first `warm` turns are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(warm + count):
        for name, run in runners.items():
            taken = timed(run, turn)
            if turn >= warm:
                seconds[name].append(taken)
    return seconds


def timed(run: Callable[[int], object], turn: int) -> float:
    """Seconds of one turn, by the clock; an accelerator has nothing left to do before and after."""
    wait_for_accelerator()
    began = time.perf_counter()
    run(turn)
    wait_for_accelerator()
    return time.perf_counter() - began


def wait_for_accelerator() -> None:
    """Wait until the accelerator, where there is one, has done what it was asked."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def peak(run: Callable[[int], object]) -> float | None:
    """GiB that a turn needs of the accelerator's memory at its height; None where none is counted."""
    device = choose_device()
    if device.type not in PINNED:
        return None
    torch.get_device_module(device).reset_peak_memory_stats()
    run(0)
    wait_for_accelerator()
    return peak_device_memory(device) / 2**30


def ratios(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """One's own time by the other's, turn by turn."""
    return [one / other for one, other in zip(mine, theirs, strict=True)]


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """The ratio over all turns."""
    found = ratios(mine, theirs)
    low, median, high = statistics.quantiles(found, n=4) if len(found) > 1 else found * 3
    return Ratio(median, low, high)


def plot(rows: Mapping[str, Sequence[float]], title: str) -> str:
    """An SVG of some numbers a row, from 0 to the largest."""
    scale = (WIDE - LEFT - 30) / max(max(values) for values in rows.values())
    high = ROW * (len(rows) + 2)
    parts = [f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>']
    for number, (name, values) in enumerate(rows.items()):
        y = ROW * (number + 1.5)
        low, median, top = (LEFT + scale * v for v in (statistics.quantiles(values, n=4) if values[1:] else values * 3))
        parts += [
            f'<text x="10" y="{y + 4}">{escape(name)}</text>',
            f'<rect x="{low:.1f}" y="{y - 7}" width="{max(top - low, 1):.1f}" height="14" fill="#c9d7e6"/>',
            f'<line x1="{median:.1f}" x2="{median:.1f}" y1="{y - 9}" y2="{y + 9}" stroke="#1d4f80" stroke-width="2"/>',
            *(f'<circle cx="{LEFT + scale * v:.1f}" cy="{y}" r="2" fill="#1d4f80" opacity=".5"/>' for v in values),
        ]
    for share in range(5):
        x, value = LEFT + share / 4 * (WIDE - LEFT - 30), share / 4 * (WIDE - LEFT - 30) / scale
        parts.append(f'<text x="{x:.1f}" y="{high - 12}" text-anchor="middle" fill="#666">{value:.3g}</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {high}" font-family="sans-serif" font-size="13">'
    )
    return f"{head}{''.join(parts)}</svg>\n"

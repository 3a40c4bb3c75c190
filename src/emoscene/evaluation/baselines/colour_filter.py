"""A colour filter, which no network takes part in: the base's image in the mean colours of an emotion's images.

Reinhard et al. (2001): mean and deviation of l, alpha and beta become the mean ones of the emotion's training images.
Of photographs colour alone tells little (AIF and CLVA, two methods of colour and style, are read as asked in .13 to .14
of edits, chance .125). Where the filter is read as asked more often, the data or the judge are easy, and so is the
accuracy of every method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.images import open_image
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.baselines.base import Baseline
from emoscene.evaluation.colours import transfer_colours
from emoscene.evaluation.predictions import Sample
from emoscene.evaluation.references import References


@final
class ColourFilter(Baseline):
    """Recolours the base's image of each prompt and seed, once for each emotion."""

    def __init__(self, config: Any, references: References) -> None:
        super().__init__(config, references)
        known = np.isfinite(references.colours.statistics).all(1)
        missing = [name for name, there in zip(EMOTIONS, known, strict=True) if not there]
        if missing:
            raise UsageError(
                f"no images for methods of {', '.join(missing)} are in {references.data}, and the filter takes their "
                "colours: prepare some"
            )

    def finish(self, samples: Sequence[Sample], folder: Path) -> list[Sample]:
        """Recolour images, as PNG files in a folder of their own; those that are there stay."""
        own = folder / "colour_filter"
        own.mkdir(exist_ok=True)
        made = []
        for sample in samples:
            file = own / f"{sample.prompt:03d}-{EMOTIONS[sample.asked]}-{sample.seed:04d}.png"
            if not file.exists():
                image = transfer_colours(open_image(sample.file), self.references.colours.statistics[sample.asked])
                run_dir.write_atomic(file, partial(image.save, format="PNG"))
            made.append(replace(sample, file=file))
        return made

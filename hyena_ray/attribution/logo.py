"""Letters of a window, as high as their scores; drawn by logomaker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = {"A": "#007f5c", "C": "#0072b2", "G": "#a36a00", "T": "#c4500a"}
"""Colours of the letters on a light ground, those of a report's."""


def draw_letters(
    axes: Any,
    bases: NDArray[np.uint8],
    scores: NDArray[np.float32],
    colours: Mapping[str, str] = COLOURS,
    axis: str = "grey",
) -> None:
    """Draw one letter per base; `logomaker.Logo` would also draw three of height 0.

    Args:
        axes: Axes of matplotlib.
        bases: Base codes, shape (L,), uint8; A C G T = 0 1 2 3; of anything else nothing is drawn.
        scores: Height of each letter, shape (L,); negative ones hang upside down.
        colours: Colour of each letter.
        axis: Colour of the line at 0.
    """
    from logomaker import Glyph

    for position, (base, score) in enumerate(zip(bases.tolist(), scores.tolist(), strict=True)):
        if base < 4:
            letter = "ACGT"[base]
            Glyph(
                position,
                letter,
                ax=axes,
                floor=min(score, 0.0),
                ceiling=max(score, 0.0),
                color=colours[letter],
                flip=score < 0,
                font_name="DejaVu Sans",
            )
    axes.axhline(0, color=axis, linewidth=0.6)
    axes.grid(visible=False)

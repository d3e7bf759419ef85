# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rows that were given equally much, and how they are drawn."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune.report.displays._drawing import shades
from sk_tune.report.displays._trials import Trials

__all__ = ["Level", "levels_of"]

_MARKERS = "os^DvP*X"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """All result rows that were given as many resources, 0 for a search without rungs.

    `style` is for ``ax.scatter``: colour, marker and label.
    """

    n_resources: int
    rows: npt.NDArray[np.bool_]
    style: dict[str, Any]


def levels_of(trials: Trials) -> list[Level]:
    """Return the levels of resources that rungs granted, the least first."""
    numbers = np.unique(trials.n_resources)
    return [
        Level(
            n_resources=int(number),
            rows=trials.n_resources == number,
            style={
                "color": color,
                "marker": _MARKERS[order % len(_MARKERS)],
                "s": 26,
                "edgecolors": "white",
                "linewidths": 0.4,
                "zorder": 3,
                "label": "Candidate"
                if len(numbers) == 1
                else trials.resource_text(int(number)),
            },
        )
        for order, (number, color) in enumerate(
            zip(numbers, shades(len(numbers)), strict=True)
        )
    ]

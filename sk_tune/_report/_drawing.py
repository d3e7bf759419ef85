# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Axes, colours, scales, titles and legends that displays share.

The palette of Okabe and Ito [1]_ is legible for people with any colour vision; line styles
and markers repeat its distinctions.

References
----------
.. [1] M. Okabe, K. Ito. Color universal design: how to make figures and presentations that
   are friendly to colorblind people. 2008.
"""

import textwrap
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sk_tune._compat import check_matplotlib_support

COLORS = {"blue": "#0072B2", "vermilion": "#D55E00", "black": "#000000", "grey": "#8C8C8C"}
# Losses that span more are drawn on a logarithmic axis.
_LOG_SPAN = 30.0
# Scores further below the middle than this many distances of the best above it would
# squeeze all other scores into a line.
_OUTLYING = 20.0
_SHOWN_BELOW = 8.0
# Mean width of a character, in parts of the font's size.
_CHARACTER_WIDTH = 0.56


def score_range(scores: Any) -> tuple[float, float]:
    """Return the range of scores to show: all, except a few far below the rest.

    >>> score_range([0.5, 0.8, 0.9]), score_range([0.5, 0.6, 0.7, -1e9])
    ((0.5, 0.9), (0.5, 0.7))
    """
    finite = np.asarray(scores, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return 0.0, 1.0
    low, middle, high = finite.min(), np.median(finite), finite.max()
    above = high - middle
    if above > 0 and middle - low > _OUTLYING * above:
        low = finite[finite >= middle - _SHOWN_BELOW * above].min()
    return float(low), float(high)


def needs_log(values: Any) -> bool:
    """Return whether positive values span too much for a linear axis."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    return bool(
        len(finite) and finite.min() > 0 and finite.max() > _LOG_SPAN * finite.min()
    )


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise ValueError, worded as in scikit-learn, unless `choices` have a value."""
    if value not in choices:
        raise ValueError(
            f"The {name!r} parameter must be one of {list(choices)}. Got {value!r} instead."
        )


def shortened(text: str, n_characters: int) -> str:
    """Return a text with an ellipsis in its middle if it has over `n_characters`."""
    if len(text) <= n_characters:
        return text
    half = (n_characters - 1) // 2
    return text[: n_characters - 1 - half] + "\N{HORIZONTAL ELLIPSIS}" + text[-half:]


def fitted(text: str, width: float) -> str:
    """Return a text shortened to a width in pixels, by the mean widths of letters."""
    widths = [8.5 if letter.isupper() else 6.5 for letter in text]
    return shortened(text, max(3, int(width * len(text) / max(sum(widths), 1))))


class Display:
    """A picture with its axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure with the axes.
    """

    def _new_axes(self, ax: Any = None) -> Any:
        """Return the user's axes, or new axes in a new figure."""
        check_matplotlib_support(f"{type(self).__name__}.plot")
        if ax is not None:
            return ax
        import matplotlib.pyplot as plt

        return plt.subplots(layout="constrained")[1]

    def _finish(self, ax: Any, title: str, handles: Sequence[Any] | None = None) -> Self:
        """Set a title above the axes and a legend of `handles` between them."""
        # The figure's layout gives the axes the width that labels leave them; a subfigure
        # is laid out with the figure around it.
        getattr(ax.figure, "draw_without_rendering", lambda: None)()
        if handles is None:
            handles, _ = ax.get_legend_handles_labels()
        height = 0.0
        for n_columns in range(len(handles), 0, -1):
            legend = ax.legend(
                handles=handles,
                loc="lower left",
                bbox_to_anchor=(0.0, 1.0),
                ncols=n_columns,
                frameon=False,
                fontsize="small",
                borderaxespad=0.0,
                borderpad=0.2,
                handlelength=1.8,
                handletextpad=0.5,
                columnspacing=1.2,
            )
            # The title makes room for the legend; the legend's width must not narrow the
            # axes.
            legend.set_in_layout(not title)
            extent = legend.get_window_extent()
            height = extent.height / ax.figure.dpi * 72.0
            if extent.width <= ax.bbox.width:
                break
        text = textwrap.fill(title, max(16, label_width(ax, "medium")))
        # The distance from the axes is in points.
        ax.set_title(text, loc="left", fontsize="medium", pad=height + 4.0)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def set_y_label(ax: Any, label: str) -> None:
    """Set the y axis' label, in as many lines as its height takes."""
    # Titles, legends and turned ticks may take some of the height yet.
    n_characters = int(0.85 * _characters(ax, ax.bbox.height, "medium"))
    ax.set_ylabel(textwrap.fill(label, max(10, n_characters)))


def label_width(ax: Any, size: str) -> int:
    """Return the number of characters that fit into the axes' width."""
    return int(_characters(ax, ax.bbox.width, size))


def _characters(ax: Any, length: float, size: str) -> float:
    """Return the number of characters of mean width in a length in pixels."""
    from matplotlib.font_manager import FontProperties

    points = FontProperties(size=size).get_size_in_points()
    return float(length / ax.figure.dpi * 72.0 / (_CHARACTER_WIDTH * points))

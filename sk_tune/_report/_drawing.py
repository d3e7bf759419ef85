# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Axes, colours, scales, titles and legends that all pictures share.

The palette of Okabe and Ito [1]_ is legible for people with any colour vision; line styles
and markers repeat its distinctions.

References
----------
.. [1] M. Okabe, K. Ito. Color universal design: how to make figures and presentations that
   are friendly to colorblind people. 2008.
"""

import inspect
import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from sk_tune._compat import check_matplotlib_support
from sk_tune._report._search_trials import Parameter, Trials

Floats = npt.NDArray[np.float64]

_Class = TypeVar("_Class", bound=type)
_Display = TypeVar("_Display", bound=Any)

_SHARED_DOCS = {
    "made": "Made by :meth:`from_search`.  All parameters are stored as attributes.",
    "trials": """
        trials : Trials
            Results of the search.""",
    "axes": """
        ax_ : matplotlib Axes
            Axes with the picture.
        figure_ : matplotlib Figure
            Figure with the axes.""",
    "example": """
        >>> from sklearn.datasets import load_iris
        >>> from sk_tune import GridSearchCV, MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> net = MLPClassifier(width=8, max_epochs=5, random_state=0)
        >>> search = GridSearchCV(net, {"learning_rate": [0.001, 0.01]}, cv=3).fit(X, y)""",
    "search": """
        search : estimator
            Fitted search of sk_tune, scikit-learn or scikit-optimize.""",
    "metric": """
        metric : str or None, default=None
            Metric of a search with several; the deciding metric if None.""",
    "ax": """
        ax : matplotlib Axes or None, default=None
            Where to draw; a new figure if None.""",
    "kwargs": """
        **kwargs : dict of str to object
            Arguments of :meth:`plot`.""",
    "returns": """
        Returns
        -------
        self
            With the artists as attributes.""",
}


def with_shared_docs(cls: _Class) -> _Class:
    """Replace lines such as ``{ax}`` in docstrings by the displays' shared descriptions."""
    for member in (cls, *cls.__dict__.values()):
        documented: Any = getattr(member, "__func__", member)
        doc = getattr(documented, "__doc__", None)
        # An installation may run with docstrings stripped (python -OO).
        if callable(documented) and doc is not None:
            documented.__doc__ = re.sub(
                r"^\{(\w+)\}$",
                lambda marker: inspect.cleandoc(_SHARED_DOCS[marker[1]]),
                inspect.cleandoc(doc),
                flags=re.MULTILINE,
            )
    return cls


COLORS = {"blue": "#0072B2", "vermilion": "#D55E00", "black": "#000000", "grey": "#8C8C8C"}
# Losses that span more are drawn on a logarithmic axis.
_LOG_SPAN = 30.0
# Scores further below the middle than this many distances of the best above it would
# squeeze the other scores into a line.
_OUTLYING = 20.0
_SHOWN_BELOW = 8.0
# Turns by this part of a circle spread neighbours evenly.
GOLDEN = 0.6180339887498949
# Mean width of a character, in parts of the font's size.
_CHARACTER_WIDTH = 0.56
# Height of the marks of missing scores, and the room for them, in parts of the axes'
# height.
_MISSING_AT = 0.03
_MISSING_ROOM = 0.09
_MARGIN = 0.05
# Inches of each axes in a grid.
_SMALL_AXES = (3.4, 2.7)
# With more values not each of them has a tick.
_MOST_TICKS = 6
_LONGEST_TICK = 14


class ScoreRange(NamedTuple):
    """Lowest and highest score on an axis, and the number of lower scores."""

    low: float
    high: float
    n_below: int


def score_range(scores: Any) -> ScoreRange:
    """Return the range of scores to show: all, except a few far below the rest.

    >>> score_range([0.5, 0.8, 0.9])
    ScoreRange(low=0.5, high=0.9, n_below=0)
    >>> score_range([0.5, 0.6, 0.7, -1e9]).n_below
    1
    """
    finite = np.asarray(scores, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return ScoreRange(0.0, 1.0, 0)
    low, middle, high = finite.min(), np.median(finite), finite.max()
    above = high - middle
    if above > 0 and middle - low > _OUTLYING * above:
        shown = finite[finite >= middle - _SHOWN_BELOW * above]
        low = shown.min()
    return ScoreRange(float(low), float(high), int(np.count_nonzero(finite < low)))


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


def new_axes(caller: Any, ax: Any = None) -> Any:
    """Return the user's axes, or new axes in a new figure; `caller` is named in errors."""
    check_matplotlib_support(f"{type(caller).__name__}.plot")
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def new_axes_grid(caller: Any, ax: Any, n: int, n_columns: int) -> Any:
    """Return `n` axes in the order of reading, `n_columns` side by side.

    `ax` is divided, or holds `n` axes (else ValueError); None makes a new figure.
    """
    check_matplotlib_support(f"{type(caller).__name__}.plot")
    n_columns = min(n, n_columns)
    n_rows = -(-n // n_columns)
    if ax is None:
        import matplotlib.pyplot as plt

        width, height = _SMALL_AXES
        figure = plt.figure(
            figsize=(max(4.0, width * n_columns), max(3.0, height * n_rows)),
            layout="constrained",
        )
        places = figure.add_gridspec(n_rows, n_columns)
    elif hasattr(ax, "get_subplotspec"):
        ax.set_axis_off()
        figure = ax.figure
        places = ax.get_subplotspec().subgridspec(n_rows, n_columns)
    else:
        axes = np.asarray(ax, dtype=object).ravel()
        if len(axes) != n:
            raise ValueError(f"'ax' must hold {n} axes. Got {len(axes)} instead.")
        return axes
    axes = np.empty(n, dtype=object)
    for number in range(n):
        axes[number] = figure.add_subplot(places[divmod(number, n_columns)])
    return axes


def parameter_axis(ax: Any, parameter: Parameter) -> None:
    """Give the x axis, with the values drawn, a parameter's scale, ticks and name."""
    support = parameter.support
    if parameter.is_log:
        ax.set_xscale("log")
    if parameter.categories:
        texts = [shortened(text, _LONGEST_TICK) for text in parameter.categories]
        # Ticks are evenly apart, with a blank between their texts at least.
        is_tight = len(texts) * (max(map(len, texts)) + 1) > label_width(ax, "small")
        turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(
            range(len(texts)), texts, fontsize="small", **(turned if is_tight else {})
        )
        ax.set_xlim(-0.6, len(texts) - 0.4)
    elif len(support) <= _MOST_TICKS:
        ax.set_xticks(support, [parameter.text(value) for value in support])
        ax.minorticks_off()
    active = parameter.is_active
    label = parameter.label
    if not active.all():
        label += f" ({np.count_nonzero(active)} of {len(active)} have it)"
    ax.set_xlabel("\n".join(textwrap.wrap(label, max(12, label_width(ax, "medium")))))


def shortened(text: str, n_characters: int) -> str:
    """Return a text with an ellipsis in its middle if it has over `n_characters`."""
    if len(text) <= n_characters:
        return text
    half = (n_characters - 1) // 2
    return text[: n_characters - 1 - half] + "\N{HORIZONTAL ELLIPSIS}" + text[-half:]


def figure_legend(axes: Any) -> None:
    """Draw a common legend below several axes if they have several kinds of artists."""
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(handles) > 1:
        axes[0].figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower left",
            ncols=len(handles),
            frameon=False,
            fontsize="small",
        )


def score_axis(ax: Any, scores: Any) -> ScoreRange:
    """Set the y axis to the range of scores, with room for marks of lower scores."""
    shown = score_range(scores)
    height = (shown.high - shown.low) or max(abs(shown.high), 1.0)
    has_missing = shown.n_below > 0 or not np.isfinite(scores).all()
    below = _MARGIN + (_MISSING_ROOM if has_missing else 0.0)
    ax.set_ylim(shown.low - below * height, shown.high + _MARGIN * height)
    return shown


def mark_missing(ax: Any, places: Any, scores: Any, shown: ScoreRange) -> None:
    """Mark missing scores, and scores below the axis, at the lower edge."""
    is_failed = ~np.isfinite(scores)
    is_below = np.where(is_failed, np.inf, scores) < shown.low
    marks = ((is_failed, "x", "Failed"), (is_below, "v", "Below the axis"))
    for mask, marker, label in marks:
        if mask.any():
            ax.scatter(
                places[mask],
                np.full(np.count_nonzero(mask), _MISSING_AT),
                transform=ax.get_xaxis_transform(),
                color=COLORS["vermilion"],
                marker=marker,
                s=24,
                zorder=3,
                label=label,
            )


def finish(
    display: _Display, ax: Any, title: str, handles: Sequence[Any] | None = None
) -> _Display:
    """Set a title above the axes and a legend between them, outside of the data.

    Both are at most as wide as the axes. Axes and figure become `ax_` and `figure_` of the
    display. `handles` are the artists in the legend; all with a label if None.
    """
    # The figure's layout gives the axes the width that labels leave them; a subfigure is
    # laid out with the figure around it.
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
        # The title makes room for the legend; the legend's width must not narrow the axes.
        legend.set_in_layout(not title)
        extent = legend.get_window_extent()
        height = extent.height / ax.figure.dpi * 72.0
        if extent.width <= ax.bbox.width:
            break
    text = textwrap.fill(title, max(16, label_width(ax, "medium")))
    # The distance from the axes is in points.
    ax.set_title(text, loc="left", fontsize="medium", pad=height + 4.0)
    display.ax_, display.figure_ = ax, ax.figure
    return display


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


_MARKERS = "os^DvP*X"


def levels_of(trials: Trials) -> list[tuple[npt.NDArray[np.bool_], dict[str, Any]]]:
    """Return rows with equal resources, and a style of ``ax.scatter`` for each of them."""
    from matplotlib import colormaps

    name = (trials.resource or "resources").rpartition("__")[2]
    noun = {"max_epochs": "epochs", "n_samples": "samples"}.get(name, name)
    numbers = np.unique(trials.n_resources)
    is_one = len(numbers) == 1
    levels = []
    # From light to dark, so that a grey print shows the order.
    for order, place in enumerate(np.linspace(0.85, 0.1, len(numbers))):
        number = numbers[order]
        granted = f"{number} {noun.rstrip('s') if number == 1 else noun}"
        style = {
            "color": COLORS["blue"] if is_one else colormaps["viridis"](place),
            "marker": _MARKERS[order % len(_MARKERS)],
            "s": 26,
            "edgecolors": "white",
            "linewidths": 0.4,
            "zorder": 3,
            "label": "Candidate" if is_one else granted,
        }
        levels.append((trials.n_resources == number, style))
    return levels

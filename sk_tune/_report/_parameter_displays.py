# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The score against hyperparameters: each alone, and all at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune._report._drawing import (
    COLORS,
    GOLDEN,
    figure_legend,
    finish,
    label_width,
    levels_of,
    mark_missing,
    new_axes,
    new_axes_grid,
    parameter_axis,
    score_axis,
    score_range,
    set_y_label,
    shortened,
    with_shared_docs,
)
from sk_tune._report._search_trials import Parameter, Trials, parameters_of, trials_of
from sk_tune._text import counted

Floats = npt.NDArray[np.float64]

# Height at which lines pass the axis of a missing parameter; axes go from 0 to 1.
_ABSENT = -0.14
_MOST_TICKS = 6
_OPAQUE_LINES = 50.0
# With less room for texts, only the ends of an axis are labelled.
_LEAST_CHARACTERS = 6


def line_heights(parameters: Sequence[Parameter], scores: Floats) -> Floats:
    """Return the heights of lines at each axis, 0 to 1, the last for scores."""
    shown = score_range(scores)
    if shown.high > shown.low:
        ends = (np.maximum(scores, shown.low) - shown.low) / (shown.high - shown.low)
    else:
        ends = np.where(np.isfinite(scores), 0.5, np.nan)
    heights = np.column_stack([*(p.codes for p in parameters), ends])
    return np.where(np.isfinite(heights), heights, _ABSENT)


def axis_ticks(parameter: Parameter) -> Floats:
    """Return the values that label an axis: all if few, else round numbers."""
    support = parameter.support
    if parameter.categories or len(support) <= _MOST_TICKS:
        return support
    from matplotlib.ticker import LogLocator, MaxNLocator

    low, high = support[0], support[-1]
    locator = LogLocator(numticks=_MOST_TICKS) if parameter.is_log else MaxNLocator(4)
    ticks = np.asarray(locator.tick_values(low, high), dtype=np.float64)
    inside = ticks[(ticks >= low) & (ticks <= high)]
    return inside if len(inside) > 1 else np.array([low, high])


@with_shared_docs
@dataclass(kw_only=True, eq=False, repr=False)
class _ParameterDisplay:
    """A picture of scores against hyperparameters."""

    trials: Trials
    parameters: list[Parameter]

    plot: ClassVar[Callable[..., Any]]

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        parameters: Sequence[str] | None = None,
        metric: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the results of a search.

        Parameters
        ----------
        {search}
        parameters : sequence of str or None, default=None
            Names of hyperparameters; all with several values if None.
        {metric}
        ax : matplotlib Axes, array of Axes or None, default=None
            Where to draw, as in :meth:`plot`; a new figure if None.
        {kwargs}

        {returns}
        """
        trials = trials_of(search, metric)
        shown = parameters_of(trials.params)
        if parameters is not None:
            by_name = {p.label: p for p in shown} | {p.name: p for p in shown}
            if not parameters or not by_name.keys() >= set(parameters):
                raise ValueError(
                    "The 'parameters' parameter must name hyperparameters that the search "
                    f"varied: {[p.name for p in shown]}. Got {list(parameters)!r} instead."
                )
            shown = [by_name[name] for name in parameters]
        display: Self = cls(trials=trials, parameters=shown).plot(ax=ax, **kwargs)
        return display


@with_shared_docs
class ParallelCoordinatesDisplay(_ParameterDisplay):
    """A line for each candidate across an axis for each hyperparameter and the score.

    {made}

    Parameters
    ----------
    {trials}
    parameters : list of Parameter
        Axes, from left to right; the score follows.

    Attributes
    ----------
    {axes}
    lines_ : LineCollection
        Candidates with a score, the best on top.
    best_line_ : Line2D or None
        The best candidate.
    failed_lines_ : LineCollection or None
        Candidates without a score.

    See Also
    --------
    SliceDisplay : One hyperparameter at a time.

    Notes
    -----
    A configuration in several rungs is drawn at its last rung.  A line dips below the axis
    of a parameter that the configuration lacks.

    Examples
    --------
    {example}
    >>> from sk_tune import ParallelCoordinatesDisplay
    >>> len(ParallelCoordinatesDisplay.from_search(search).lines_.get_segments())
    2
    """

    def plot(
        self,
        ax: Any = None,
        *,
        cmap: str = "cividis_r",
        title: str | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the lines.

        Parameters
        ----------
        {ax}
        cmap : str, default="cividis_r"
            Colours from the worst to the best candidate, by rank.
        title : str or None, default=None
            Title in place of the number of candidates.
        line_kw : dict or None, default=None
            For the ``LineCollection`` of the candidates.

        {returns}
        """
        ax = new_axes(self, ax)
        from matplotlib.collections import LineCollection

        trials, n_axes = self.trials, len(self.parameters) + 1
        heights = line_heights(self.parameters, trials.scores)
        places = np.arange(n_axes)
        segments = np.stack(np.broadcast_arrays(places, heights), axis=2)
        has_score = np.isfinite(trials.scores)
        scored = np.flatnonzero(has_score & trials.is_last)
        scored = scored[np.argsort(trials.scores[scored], kind="stable")]
        failed = np.flatnonzero(~has_score & trials.is_last)
        # Many lines would hide each other.
        alpha = float(np.clip(_OPAQUE_LINES / max(len(scored), 1), 0.25, 0.75))
        options = {"cmap": cmap, "linewidths": 1.1, "alpha": alpha, **(line_kw or {})}
        self.lines_ = LineCollection(
            # Colours go by rank, because most scores are often close to the best.  The
            # lightest colours would be hard to see on white.
            list(segments[scored]),
            array=np.linspace(0.0, 1.0, len(scored)),
            clim=(-0.2, 1.0),
            **options,
        )
        ax.add_collection(self.lines_)
        self.failed_lines_ = self.best_line_ = None
        if len(failed):
            self.failed_lines_ = LineCollection(
                list(segments[failed]),
                colors=COLORS["grey"],
                linestyles=":",
                linewidths=0.9,
            )
            ax.add_collection(self.failed_lines_)
        if trials.best is not None and has_score[trials.best]:
            (self.best_line_,) = ax.plot(
                places,
                heights[trials.best],
                color=COLORS["vermilion"],
                linewidth=2.2,
                linestyle="-",
                marker="o",
                markersize=4,
                zorder=4,
            )
        self._draw_axes(ax, bool((heights < 0).any()))
        usual = self._title(len(scored), len(failed))
        return finish(self, ax, usual if title is None else title)

    def _draw_axes(self, ax: Any, has_absent: bool) -> None:  # noqa: FBT001
        n_axes = len(self.parameters) + 1
        n_characters = max(4, label_width(ax, "x-small") // n_axes - 2)
        for place, parameter in enumerate(self.parameters):
            ticks = axis_ticks(parameter)
            if n_characters < _LEAST_CHARACTERS:
                ticks = ticks[[0, -1]]
            heights = parameter.scaled(ticks)
            texts = [parameter.text(tick) for tick in ticks]
            if parameter.categories:
                texts = [shortened(text, n_characters) for text in texts]
            self._draw_axis(ax, place, heights, texts)
        shown = score_range(self.trials.scores)
        ends = [0.0, 0.5, 1.0] if shown.high > shown.low else [0.5]
        texts = [f"{shown.low + end * (shown.high - shown.low):.3g}" for end in ends]
        if shown.n_below:
            texts[0] = f"\N{LESS-THAN OR EQUAL TO} {texts[0]}"
        self._draw_axis(ax, n_axes - 1, ends, texts)
        names = [*(p.label for p in self.parameters), self.trials.score_name]
        n_fitting = label_width(ax, "small") // n_axes
        turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(
            range(n_axes),
            [shortened(name, max(12, label_width(ax, "small") // 4)) for name in names],
            fontsize="small",
            **(turned if max(map(len, names)) > n_fitting else {}),
        )
        ax.tick_params(axis="x", length=0)
        absent = ([_ABSENT], ["none"]) if has_absent else ([], [])
        ax.set_yticks(*absent, fontsize="x-small")
        ax.tick_params(axis="y", length=0)
        ax.set_xlim(-0.15, n_axes - 0.55)
        ax.set_ylim(_ABSENT - 0.06 if has_absent else -0.05, 1.05)
        for side in ax.spines.values():
            side.set_visible(False)

    @staticmethod
    def _draw_axis(ax: Any, place: int, heights: Any, texts: Any) -> None:
        ax.vlines(place, 0.0, 1.0, color=COLORS["black"], linewidth=1.0, zorder=3)
        for height, text in zip(heights, texts, strict=True):
            ax.plot(place, height, marker="_", color=COLORS["black"], zorder=3)
            ax.annotate(
                text,
                (place, height),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize="x-small",
                zorder=5,
                bbox={
                    "boxstyle": "square,pad=0.1",
                    "fc": "white",
                    "ec": "none",
                    "alpha": 0.75,
                },
            )

    def _title(self, n_scored: int, n_failed: int) -> str:
        if not n_scored:
            return f"{counted(n_failed, 'candidate')}, all failed"
        text = f"{counted(n_scored, 'candidate')}, dark is better; the best in orange"
        return text + (f"; {n_failed} failed (dotted)" if n_failed else "")


# Largest distance of points from the tick of their category; ticks are 1 apart.
_JITTER = 0.28


@with_shared_docs
class SliceDisplay(_ParameterDisplay):
    """Scores against each hyperparameter, each in its own axes.

    {made}

    Parameters
    ----------
    {trials}
    parameters : list of Parameter
        Parameters of the axes.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, shape (n_parameters,)
        Axes of each parameter.
    figure_ : matplotlib Figure
        Figure with the axes.
    scatters_ : list of list of PathCollection
        Points of each parameter, by resources.

    See Also
    --------
    ParallelCoordinatesDisplay : All hyperparameters at once.
    HyperparameterImportanceDisplay : Which of them matter.

    Notes
    -----
    A configuration in several rungs has the score of its last rung.

    Examples
    --------
    {example}
    >>> from sk_tune import SliceDisplay
    >>> SliceDisplay.from_search(search).axes_[0].get_xscale()
    'log'
    """

    def plot(
        self,
        ax: Any = None,
        *,
        n_columns: int = 3,
        title: str | None = None,
        scatter_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib Axes, array of Axes or None, default=None
            Axes to divide for the parameters, or an array with axes for each of them; a new
            figure if None.
        n_columns : int, default=3
            Axes side by side.
        title : str or None, default=None
            Title of a new figure.
        scatter_kw : dict or None, default=None
            For ``ax.scatter``.

        {returns}
        """
        axes = new_axes_grid(self, ax, len(self.parameters), n_columns)
        levels = levels_of(self.trials)
        self.scatters_ = [
            self._draw(axis, parameter, levels, scatter_kw or {})
            for axis, parameter in zip(axes, self.parameters, strict=True)
        ]
        for number, axis in enumerate(axes):
            if ax is None and number % n_columns:
                axis.tick_params(labelleft=False)
            else:
                set_y_label(axis, self.trials.score_label)
        if ax is None:
            figure_legend(axes)
            axes[0].figure.suptitle(title or "", x=0.01, ha="left", fontsize="medium")
        self.axes_, self.figure_ = axes, axes[0].figure
        return self

    def _draw(
        self, ax: Any, parameter: Parameter, levels: list[Any], options: dict[str, Any]
    ) -> list[Any]:
        trials = self.trials
        # Points of a category are spread, so that neighbours in the search lie apart and
        # do not look like a trend.
        places = parameter.values
        if parameter.categories:
            values = pd.Series(parameter.values)
            turns = values.groupby(values).cumcount().to_numpy() * GOLDEN % 1.0
            places = parameter.values + _JITTER * (2.0 * turns - 1.0)
        is_drawn = trials.is_last & parameter.is_active
        scatters = []
        for rows, style in levels:
            drawn = is_drawn & rows
            kwargs = {**style, **options}
            scatters.append(ax.scatter(places[drawn], trials.scores[drawn], **kwargs))
        if trials.best is not None and is_drawn[trials.best]:
            ax.scatter(
                places[trials.best],
                trials.scores[trials.best],
                s=90,
                facecolors="none",
                edgecolors=COLORS["black"],
                linewidths=1.2,
                zorder=4,
                label="Best",
            )
        parameter_axis(ax, parameter)
        shown = score_axis(ax, trials.scores[trials.is_last])
        mark_missing(ax, places[is_drawn], trials.scores[is_drawn], shown)
        return scatters

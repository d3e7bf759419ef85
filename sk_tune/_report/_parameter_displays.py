# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The score against each hyperparameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from sk_tune._report._drawing import (
    COLORS,
    GOLDEN,
    figure_legend,
    levels_of,
    mark_missing,
    new_axes_grid,
    parameter_axis,
    score_axis,
    set_y_label,
    with_shared_docs,
)
from sk_tune._report._search_trials import Parameter, Trials, parameters_of, trials_of

# Largest distance of points from the tick of their category; ticks are 1 apart.
_JITTER = 0.28


@with_shared_docs
@dataclass(kw_only=True, eq=False, repr=False)
class SliceDisplay:
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

    trials: Trials
    parameters: list[Parameter]

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
        return cls(trials=trials, parameters=shown).plot(ax=ax, **kwargs)

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

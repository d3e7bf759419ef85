# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The score against each hyperparameter by itself."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sk_tune.report.displays._drawing import (
    COLORS,
    figure_legend,
    mark_missing,
    new_axes_grid,
    parameter_axis,
    score_axis,
    set_y_label,
)
from sk_tune.report.displays._levels import Level, levels_of
from sk_tune.report.displays._parameters import Parameter, chosen_parameters
from sk_tune.report.displays._trials import Trials, trials_of

__all__ = ["SliceDisplay", "spread_places"]

Floats = npt.NDArray[np.float64]

# How far points of one category lie from its tick at most, which are 1 apart.
_JITTER = 0.28
_GOLDEN = 0.6180339887498949


def spread_places(parameter: Parameter) -> Floats:
    """Return where configurations lie on a parameter's axis; NaN without the parameter.

    Numbers lie at their values, categories around their positions, apart from each other.
    """
    places = parameter.values.copy()
    if not parameter.categories:
        return places
    for position in parameter.support:
        own = np.flatnonzero(parameter.values == position)
        if len(own) > 1:
            # Neighbours in the search lie apart, and do not look like a trend.
            turns = np.arange(len(own)) * _GOLDEN % 1.0
            places[own] += _JITTER * (2.0 * turns - 1.0)
    return places


class SliceDisplay:
    """Scores against each hyperparameter, one axes for each.

    Made by :meth:`from_search`.  All parameters are stored as attributes.

    Parameters
    ----------
    trials : Trials
        What the search evaluated.
    parameters : list of Parameter
        What to draw the scores against.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, shape (n_parameters,)
        One for each parameter.
    figure_ : matplotlib Figure
        Where the axes are.
    scatters_ : list of list of PathCollection
        By parameter, one for each number of resources.

    See Also
    --------
    ParallelCoordinatesDisplay : All hyperparameters at once.
    HyperparameterImportanceDisplay : Which of them matter.

    Notes
    -----
    Of a configuration in several rungs, the score of the last one is drawn.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier
    >>> from sk_tune.report import SliceDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, max_epochs=5, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [0.001, 0.01]}, cv=3).fit(X, y)
    >>> SliceDisplay.from_search(search).axes_[0].get_xscale()
    'log'
    """

    def __init__(self, *, trials: Trials, parameters: list[Parameter]) -> None:
        self.trials = trials
        self.parameters = parameters

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
            What to divide into as many axes as there are parameters, or these axes; a new
            figure if None.
        n_columns : int, default=3
            Axes side by side.
        title : str or None, default=None
            Of the figure, if it is a new one.
        scatter_kw : dict or None, default=None
            For ``ax.scatter``.

        Returns
        -------
        self
            With the artists as attributes.
        """
        axes = new_axes_grid(self, ax, len(self.parameters), n_columns)
        levels = levels_of(self.trials)
        self.scatters_ = []
        for own, parameter in zip(axes, self.parameters, strict=True):
            self.scatters_.append(self._draw(own, parameter, levels, scatter_kw or {}))
        for number, own in enumerate(axes):
            if ax is None and number % n_columns:
                own.tick_params(labelleft=False)
            else:
                set_y_label(own, self.trials.score_label)
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
        """Draw the scores of a search.

        Parameters
        ----------
        search : estimator
            Fitted: one of sk_tune's, scikit-learn's or scikit-optimize's.
        parameters : sequence of str or None, default=None
            Names of hyperparameters; all that vary if None.
        metric : str or None, default=None
            Which of several metrics; that which decides if None.
        ax : matplotlib Axes, array of Axes or None, default=None
            Where to draw; a new figure if None.
        **kwargs : dict of str to object
            Of :meth:`plot`.

        Returns
        -------
        SliceDisplay
            Drawn.
        """
        trials = trials_of(search, metric)
        own = chosen_parameters(trials.params, parameters)
        return cls(trials=trials, parameters=own).plot(ax=ax, **kwargs)

    def _draw(
        self, ax: Any, parameter: Parameter, levels: list[Level], options: dict[str, Any]
    ) -> list[Any]:
        trials = self.trials
        places = spread_places(parameter)
        is_drawn = trials.is_last & parameter.is_active
        scatters = []
        for level in levels:
            own = is_drawn & level.rows
            style = {**level.style, **options}
            scatters.append(ax.scatter(places[own], trials.scores[own], **style))
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

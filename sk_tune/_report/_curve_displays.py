# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Learning curves by epoch of one candidate, and curves of all candidates by rung.

The first show over- and underfitting, the second the rungs at which candidates were
dropped.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sk_tune._declaration import with_inherited_docs
from sk_tune._diagnosis import (
    Curves,
    Finding,
    curves_of,
    curves_of_estimator,
    findings_of,
    verdict,
)
from sk_tune._nesting import innermost
from sk_tune._report._drawing import (
    COLORS,
    Display,
    check_choice,
    needs_log,
    score_range,
    set_y_label,
)
from sk_tune._report._search_trials import Trials, curve_table, trials_of
from sk_tune._search_record import grants_epochs
from sk_tune._text import counted
from sk_tune._types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_LINES: dict[str, dict[str, Any]] = {
    "train": {"label": "Train", "color": COLORS["blue"], "linestyle": "--"},
    "valid": {"label": "Held out", "color": COLORS["vermilion"], "linestyle": "-"},
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldSummary:
    """Curves of several folds as a line with a band, (T,) each, at T epochs.

    A fold that ends earlier keeps its last value: a mean over the other folds would jump.
    """

    epochs: Floats  # from 1
    mean: Floats
    low: Floats  # over the folds, NaN for a single fold
    high: Floats

    @property
    def is_empty(self) -> bool:
        return bool(np.isnan(self.mean).all())


def fold_summary(curves: Any, *, n_most: int | None = None) -> FoldSummary:
    """Return mean, lowest and highest fold of curves, (n_folds, n_epochs).

    More epochs than `n_most` are thinned out evenly.

    >>> summary = fold_summary([[3.0, 1.0, 0.5], [5.0, 2.0, float("nan")]])
    >>> summary.mean.tolist(), summary.high.tolist()
    ([4.0, 1.5, 1.25], [5.0, 2.0, 2.0])
    """
    folds = pd.DataFrame(np.asarray(curves, dtype=np.float64)).ffill(axis=1).to_numpy()
    n_epochs = folds.shape[1]
    shown = np.arange(n_epochs)
    if n_most is not None and n_epochs > n_most:
        shown = np.unique(np.linspace(0, n_epochs - 1, n_most).round().astype(int))
    folds = folds[np.isfinite(folds).any(axis=1)][:, shown]
    mean = low = high = np.full(len(shown), np.nan)
    if len(folds):
        mean = folds.mean(axis=0)
    if len(folds) > 1:
        # Unlike nanmin and nanmax, they do not warn where all values are NaN.
        low, high = np.fmin.reduce(folds, axis=0), np.fmax.reduce(folds, axis=0)
    return FoldSummary(epochs=(shown + 1).astype(np.float64), mean=mean, low=low, high=high)


@with_inherited_docs
@dataclass(kw_only=True, eq=False, repr=False)
class EpochCurveDisplay(Display):
    """Learning curves by epoch on training and held-out rows, with a band for the folds.

    Lines are means over the folds; a fold that ends earlier keeps its last value.  Made by
    :meth:`from_search` or :meth:`from_estimator`.  All parameters are stored as attributes.

    Parameters
    ----------
    curves : Curves
        Losses and scores of each fold and epoch.
    chosen_epoch : int or None, default=None
        Epoch of the weights in use, counted from 1.
    finding : Finding or None, default=None
        The verdict on the curves, for the title.
    loss_name : str, default="Loss"
        Label of the axis of losses, with its unit.
    score_name : str, default="Score"
        Label of the axis of scores.

    Attributes
    ----------
    {attributes}
    lines_ : dict of str to Line2D
        Means over folds, by "train" and "valid".
    bands_ : dict of str to PolyCollection
        Spread over the folds; empty for a single fold.

    See Also
    --------
    RungDisplay : Curves of all candidates.
    sklearn.model_selection.LearningCurveDisplay : Learning curves by samples.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import GridSearchCV, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, max_epochs=5, random_state=0)
    >>> search = GridSearchCV(net, {"learning_rate": [0.001, 0.01]}, cv=3).fit(X, y)
    >>> from sk_tune import EpochCurveDisplay
    >>> display = EpochCurveDisplay.from_search(search)
    >>> display.lines_["valid"].get_xdata().tolist()
    [1, 2, 3, 4, 5]
    """

    curves: Curves
    chosen_epoch: int | None = None
    finding: Finding | None = None
    loss_name: str = "Loss"
    score_name: str = "Score"

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        quantity: str = "loss",
        title: str | None = None,
        line_kw: dict[str, Any] | None = None,
        band_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; a new figure if None.
        quantity : {"loss", "score"}, default="loss"
            Quantity to draw; scores exist for held-out rows only.
        title : str or None, default=None
            Title in place of the verdict.
        line_kw, band_kw : dict or None, default=None
            For ``ax.plot`` and ``ax.fill_between``.

        Raises
        ------
        ValueError
            If `quantity` is neither "loss" nor "score".
        """
        check_choice("quantity", quantity, ("loss", "score"))
        axes: Any = self._new_axes(ax)
        curves = {"valid": self.curves.valid_score}
        if quantity == "loss":
            curves = {"train": self.curves.train_loss, "valid": self.curves.valid_loss}
        self.lines_: dict[str, Any] = {}
        self.bands_: dict[str, Any] = {}
        for name, folds in curves.items():
            summary = fold_summary(folds)
            if summary.is_empty:
                continue
            epochs, style = summary.epochs.astype(int), {**_LINES[name], **(line_kw or {})}
            if np.count_nonzero(np.isfinite(summary.mean)) == 1:
                style = {"marker": "o", **style}
            (self.lines_[name],) = axes.plot(epochs, summary.mean, **style)
            if not np.isnan(summary.low).all():
                shade = {"color": style["color"], "alpha": 0.18, "linewidth": 0.0}
                self.bands_[name] = axes.fill_between(
                    epochs, summary.low, summary.high, **{**shade, **(band_kw or {})}
                )
        if quantity == "loss" and needs_log(list(curves.values())):
            axes.set_yscale("log")
        if self.chosen_epoch is not None:
            axes.axvline(
                self.chosen_epoch,
                color=COLORS["black"],
                linestyle=":",
                linewidth=1.2,
                label=f"Chosen epoch: {self.chosen_epoch}",
                zorder=1,
            )
        axes.set_xlabel("Epoch")
        set_y_label(axes, self.loss_name if quantity == "loss" else self.score_name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        # Epochs start at 1; a margin would show epoch 0.
        n_epochs = self.curves.n_epochs
        margin = 0.02 * max(n_epochs - 1, 25)
        axes.set_xlim(1 - margin, n_epochs + margin)
        return self._finish(axes, self._title() if title is None else title)

    @classmethod
    def from_search(
        cls,
        search: Any,
        result_row: int | None = None,
        *,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the curves of a candidate of a search.

        Parameters
        ----------
        search : estimator
            A fitted search of sk_tune.
        result_row : int or None, default=None
            Row of ``cv_results_``; the best if None.

        Raises
        ------
        ValueError
            If the candidate has no curves: it is not a network, or failed in all folds.
        """
        row = (trials_of(search).preferred or 0) if result_row is None else result_row
        if row not in set(curve_table(search)["result_row"]):
            raise ValueError(
                "'result_row' of EpochCurveDisplay must be a row with learning curves. "
                f"Row {row} has none: its estimator is not a network, or failed in all "
                "folds."
            )
        curves = curves_of(search, row)
        # Findings about the whole search do not belong in the picture of a candidate.
        findings = [
            f for f in findings_of(search, result_row=row) if f.result_row is not None
        ]
        display = cls(
            curves=curves,
            chosen_epoch=getattr(search, "best_epochs_", {}).get(row),
            finding=verdict(findings),
            loss_name=loss_name(search, curves.params),
            score_name=score_name(search),
        )
        return display.plot(ax=ax, **kwargs)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: "Axes | None" = None, **kwargs: Any
    ) -> Self:
        """Draw the curves of a fitted network.

        Parameters
        ----------
        estimator : estimator
            A fitted network of sk_tune, or a pipeline with a network as its last step.
            Curves on held-out rows need ``early_stopping=True``.
        """
        check_is_fitted(estimator)
        network = innermost(estimator)
        curves = curves_of_estimator(estimator)
        stops_early = curves.params.get("early_stopping", False)
        display = cls(
            curves=curves,
            chosen_epoch=network.best_epoch_ if stops_early else None,
            finding=verdict(findings_of(estimator)),
            loss_name=loss_name(network),
            score_name=score_name(network),
        )
        return display.plot(ax=ax, **kwargs)

    def _title(self) -> str:
        finding = self.finding
        if finding is None:
            return ""
        words = re.findall(r"\w+", finding.message.lower())
        has_name = set(finding.name.split()) <= set(words)
        if has_name or finding.outcome == "not applicable":
            return finding.message
        name = finding.name[0].upper() + finding.name[1:]
        return f"{name}: {finding.message[0].lower()}{finding.message[1:]}"


def loss_name(estimator: Any, network_params: Mapping[str, Any] | None = None) -> str:
    """Return the label of an axis of losses, with the unit.

    The loss is read from `network_params`, or without them from the estimator's parameters.
    """
    if is_classifier(estimator):
        return "Loss (nats per sample)"
    params = network_params or getattr(estimator, "get_params", dict)()
    losses = {v for k, v in params.items() if k.rpartition("__")[2] == "loss"}
    if losses & {"poisson", "gamma", "tweedie"}:
        return "Loss (deviance of y / mean)"
    is_squared = losses <= {"squared_error"}
    return f"Loss ({'squared ' if is_squared else ''}standard deviations)"


def score_name(estimator: Any) -> str:
    """Return the label of an axis of a network's scores after each epoch."""
    return "Accuracy" if is_classifier(estimator) else "R\N{SUPERSCRIPT TWO}"


# Rungs that span more are drawn on a logarithmic axis.
_LOG_SPAN = 8.0
# Room above and below the scores, in parts of their range.
_MARGIN = 0.05
_QUANTITIES = {"score": "valid_score", "loss": "valid_loss"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandidateCurve:
    """The curve of one configuration, as means over the folds."""

    row: int  # the last row of ``cv_results_``
    resources: Floats  # epochs, or resources of rungs
    values: Floats
    survives: bool  # to the last rung of its bracket


def candidate_curves(
    search: Any, trials: Trials, quantity: str = "score"
) -> list[CandidateCurve]:
    """Return the curves of configurations by epochs or rungs, by their last result rows."""
    n_resources = pd.Series(trials.n_resources)
    survives = n_resources == n_resources.groupby(trials.brackets).transform("max")
    table, column = curve_table(search), _QUANTITIES[quantity]
    points: dict[int, tuple[Floats, Floats]] = {}
    if counts_epochs(trials) and len(table):
        is_last = table["result_row"].isin(np.flatnonzero(trials.is_last))
        for row, curves in table[is_last].groupby("result_row"):
            folds = curves.pivot(index="fold", columns="epoch", values=column)
            values = fold_summary(folds.to_numpy(np.float64)).mean
            points[int(str(row))] = (folds.columns.to_numpy(np.float64), values)
    else:
        rungs = pd.Series(trials.configurations).groupby(trials.configurations).groups
        points = {
            int(rows[-1]): (trials.n_resources[rows].astype(float), trials.scores[rows])
            for rows in rungs.values()
        }
    return [
        CandidateCurve(
            row=row, resources=resources, values=values, survives=bool(survives[row])
        )
        for row, (resources, values) in sorted(points.items())
    ]


def counts_epochs(trials: Trials) -> bool:
    """Return whether rungs grant epochs, or the search has no rungs."""
    return trials.resource is None or grants_epochs(trials.resource)


@with_inherited_docs
@dataclass(kw_only=True, eq=False, repr=False)
class RungDisplay(Display):
    """Curves of all candidates, and the rungs at which they were dropped.

    Made by :meth:`from_search`.  All parameters are stored as attributes.

    Parameters
    ----------
    trials : Trials
        Results of the search.
    curves : list of CandidateCurve
        Curves to draw.
    value_name : str
        Label of the axis of values.
    is_loss : bool, default=False
        Whether values are losses.

    Attributes
    ----------
    {attributes}
    lines_ : dict of int to Line2D
        By the configuration's last row of ``cv_results_``.

    See Also
    --------
    EpochCurveDisplay : Curves of one candidate.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import HalvingGridSearchCV, MLPClassifier
    >>> from sk_tune import RungDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier(width=8, batch_size=16, random_state=0)
    >>> search = HalvingGridSearchCV(
    ...     net, {"learning_rate": [1e-4, 1e-3, 1e-2]}, resource="max_epochs",
    ...     min_resources=2, max_resources=6, cv=3,
    ... ).fit(X, y)
    >>> display = RungDisplay.from_search(search)
    >>> [len(line.get_xdata()) for line in display.lines_.values()]
    [2, 2, 6]
    """

    trials: Trials
    curves: list[CandidateCurve]
    value_name: str
    is_loss: bool = False

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        title: str | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        title : str or None, default=None
            Title in place of the number of candidates trained to the end.
        line_kw : dict or None, default=None
            For ``ax.plot``.
        """
        axes: Any = self._new_axes(ax)
        curves = self.curves
        lines: dict[int, Any] = {}
        for kind, style in _STYLES.items():
            for number, curve in enumerate(c for c in curves if self._kind(c) == kind):
                is_point = len(curve.values) == 1 and kind != "Dropped"
                options = {
                    **style,
                    **({"marker": "o"} if is_point else {}),
                    **(line_kw or {}),
                    # The legend has one line of each kind.
                    "label": f"_{kind}" if number else kind,
                }
                (lines[curve.row],) = axes.plot(curve.resources, curve.values, **options)
        handles = [line for line in lines.values() if not line.get_label().startswith("_")]
        self.lines_ = dict(sorted(lines.items()))
        self._set_axes(axes)
        if title is None:
            title = counted(len(curves), "candidate")
            if self.trials.resource is not None:
                n_end = sum(curve.survives for curve in curves)
                title += f", {n_end} trained to the end"
        return self._finish(axes, title, handles)

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        quantity: str = "score",
        metric: str | None = None,
        ax: "Axes | None" = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the curves of a search.

        Parameters
        ----------
        search : estimator
            Fitted search.
        quantity : {"score", "loss"}, default="score"
            Accuracy or R^2 on held-out rows after each epoch, or their loss.
        metric : str or None, default=None
            Metric that decides which candidate is best; it is also drawn if the search has
            no curves by epochs.  The search's deciding metric if None.

        Raises
        ------
        ValueError
            If the search has neither rungs nor networks.
        """
        check_choice("quantity", quantity, tuple(_QUANTITIES))
        trials = trials_of(search, metric)
        has_epochs = counts_epochs(trials) and len(curve_table(search))
        if not has_epochs and trials.resource is None:
            raise ValueError(
                "RungDisplay needs rungs, or networks that trained. "
                f"{type(search).__name__} has neither."
            )
        name = (score_name if quantity == "score" else loss_name)(search)
        display = cls(
            trials=trials,
            curves=candidate_curves(search, trials, quantity),
            value_name=f"{name}, held-out rows" if has_epochs else trials.score_label,
            is_loss=bool(has_epochs and quantity == "loss"),
        )
        return display.plot(ax=ax, **kwargs)

    def _kind(self, curve: CandidateCurve) -> str:
        if curve.row == self.trials.best:
            return "Best"
        if self.trials.resource is None:
            return "Candidate"
        return "Trained to the end" if curve.survives else "Dropped"

    def _set_axes(self, ax: Any) -> None:
        rungs = np.unique(self.trials.n_resources)
        has_rungs = self.trials.resource is not None and len(rungs) > 1
        if has_rungs:
            for rung in rungs[:-1]:
                ax.axvline(
                    rung, color=COLORS["black"], linestyle=":", linewidth=0.8, zorder=1
                )
            if rungs[-1] > _LOG_SPAN * rungs[0]:
                ax.set_xscale("log")
            ax.set_xticks(rungs, [f"{n}" for n in rungs])
            ax.minorticks_off()
        else:
            ax.xaxis.get_major_locator().set_params(integer=True)
        name = (self.trials.resource or "").rpartition("__")[2]
        name = "Samples" if name == "n_samples" else name
        ax.set_xlabel("Epoch" if counts_epochs(self.trials) else name)
        set_y_label(ax, self.value_name)
        values = np.concatenate([np.empty(0), *(curve.values for curve in self.curves)])
        if not self.is_loss:
            low, high = score_range(values)
            room = _MARGIN * ((high - low) or max(abs(high), 1.0))
            ax.set_ylim(low - room, high + room)
        elif needs_log(values):
            ax.set_yscale("log")


_STYLES: dict[str, dict[str, Any]] = {
    "Best": {"color": COLORS["vermilion"], "linewidth": 2.2, "zorder": 4},
    "Trained to the end": {"color": COLORS["blue"], "linewidth": 1.2, "zorder": 3},
    "Candidate": {"color": COLORS["blue"], "linewidth": 0.9, "alpha": 0.6, "zorder": 3},
    "Dropped": {
        "color": COLORS["grey"],
        "linewidth": 0.8,
        "linestyle": "--",
        # The end of a grey line would be hard to find without a marker.
        "marker": "x",
        "markersize": 4,
        "markevery": [-1],
        "zorder": 2,
    },
}

# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Learning curves of a candidate by epoch: over- and underfitting at a glance."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
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
    check_choice,
    finish,
    needs_log,
    new_axes,
    set_y_label,
)
from sk_tune._report._search_trials import curve_table, trials_of
from sk_tune._types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_LINES: dict[str, dict[str, Any]] = {
    "train": {"label": "Train", "color": COLORS["blue"], "linestyle": "--"},
    "valid": {"label": "Held out", "color": COLORS["vermilion"], "linestyle": "-"},
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldSummary:
    """Curves of several folds as a line with a band, (T,) each, at T epochs."""

    epochs: Floats  # from 1
    mean: Floats  # NaN once a fold has ended, because the mean over the rest would jump
    low: Floats  # over the folds that reached the epoch
    high: Floats

    @property
    def is_empty(self) -> bool:
        """Whether no epoch has a mean."""
        return bool(np.isnan(self.mean).all())


def fold_summary(curves: Any, *, n_most: int | None = None) -> FoldSummary:
    """Return mean, lowest and highest fold of curves, (n_folds, n_epochs).

    More epochs than `n_most` are thinned out evenly.

    >>> summary = fold_summary([[3.0, 1.0, 0.5], [5.0, 2.0, float("nan")]])
    >>> summary.mean.tolist(), summary.high.tolist()
    ([4.0, 1.5, nan], [5.0, 2.0, 0.5])
    """
    folds = np.asarray(curves, dtype=np.float64)
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
class EpochCurveDisplay:
    """Learning curves by epoch on training and held-out rows, with a band for the folds.

    Made by :meth:`from_search` or :meth:`from_estimator`.  All parameters are stored as
    attributes.

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
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure with the axes.
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
        axes: Any = new_axes(self, ax)
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
        return finish(self, axes, self._title() if title is None else title)

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
            loss_name=loss_name(search),
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


def loss_name(estimator: Any) -> str:
    """Return the label of an axis of losses, with the unit."""
    if is_classifier(estimator):
        return "Loss (nats per sample)"
    params: dict[str, Any] = getattr(estimator, "get_params", dict)()
    losses = {v for k, v in params.items() if k.rpartition("__")[2] == "loss"}
    if losses & {"poisson", "gamma", "tweedie"}:
        return "Loss (deviance of y / mean)"
    is_squared = losses <= {"squared_error"}
    return f"Loss ({'squared ' if is_squared else ''}standard deviations)"


def score_name(estimator: Any) -> str:
    """Return the label of an axis of a network's scores after each epoch."""
    return "Accuracy" if is_classifier(estimator) else "R\N{SUPERSCRIPT TWO}"

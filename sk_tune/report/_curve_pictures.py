# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of curves by epochs: of the best candidate, and of all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from sk_tune.report._records import SearchPart
from sk_tune.report._svg import Frame, Scale, element, line_path, picture, scale_of
from sk_tune.report._values import number_text
from sk_tune.report.displays import fold_summary

__all__ = ["FoldBand", "curve_pictures", "fold_band"]

Floats = npt.NDArray[np.float64]

# Epochs of a curve that are drawn; more cannot be told apart in the picture.
_MOST_EPOCHS = 150
_LABELS = {
    "train_loss": "training rows",
    "valid_loss": "held-out rows",
    "valid_score": "held-out rows",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldBand:
    """Mean and range over the folds of one curve, at the epochs that are drawn.

    Parameters
    ----------
    epochs : ndarray of shape (T,)
        From 1.
    mean, low, high : ndarray of shape (T,)
        NaN where a fold has no value.
    """

    epochs: Floats
    mean: Floats
    low: Floats
    high: Floats

    @property
    def is_empty(self) -> bool:
        """Whether there is no value at all."""
        return bool(np.isnan(self.mean).all())


def fold_band(values: Floats) -> FoldBand:
    """Return mean and range over the folds of a curve.

    Parameters
    ----------
    values : ndarray of shape (F, T)
        Of each fold after each epoch.

    Returns
    -------
    FoldBand
        Of all epochs, or of some of them if there are very many.
    """
    own = fold_summary(values)
    n_epochs = values.shape[1]
    kept = np.arange(n_epochs)
    if n_epochs > _MOST_EPOCHS:
        kept = np.unique(np.linspace(0, n_epochs - 1, _MOST_EPOCHS).round().astype(int))
    return FoldBand(
        epochs=(kept + 1).astype(np.float64),
        mean=own.mean[kept],
        low=own.low[kept],
        high=own.high[kept],
    )


def curve_pictures(report: SearchPart) -> list[dict[str, Any]]:
    """Return the curves of the best candidate: losses, and the score on held-out rows.

    Parameters
    ----------
    report : SearchPart
        Of a search.

    Returns
    -------
    list of dict
        Each with the picture ("svg") and its caption ("caption"); empty without curves.
    """
    if report.best is None or report.best_epoch is None or report.curves is None:
        return []
    row, chosen = report.best.row, report.best_epoch
    names = ("train_loss", "valid_loss", "valid_score")
    bands = {name: fold_band(getattr(report.curves, name)) for name in names}
    figures = [
        {
            "svg": _curves(
                f"{report.key}loss-curves", bands, names[:2], chosen, "loss", row
            ),
            "caption": (
                f"Loss of the best candidate (row {row}) by epochs; less is better. Lines "
                "are means over the folds, bands run from the lowest to the highest fold."
            ),
        }
    ]
    if not bands["valid_score"].is_empty:
        figures.append({
            "svg": _curves(
                f"{report.key}score-curve", bands, names[2:], chosen, "score", row
            ),
            "caption": (
                f"Score of the best candidate (row {row}) on the held-out rows by epochs "
                "(accuracy, or R² of a regression); greater is better."
            ),
        })
    return figures


def _curves(
    name: str,
    bands: dict[str, FoldBand],
    shown: tuple[str, ...],
    chosen: int,
    label: str,
    row: int,
) -> Markup:
    frame = Frame(top=26)
    own = {key: bands[key] for key in shown if not bands[key].is_empty}
    ends = np.concatenate([[*b.mean, *b.low, *b.high] for b in own.values()])
    epochs = np.concatenate([band.epochs for band in own.values()])
    x = scale_of([1, *epochs], *frame.x_range, is_log=False, is_count=True)
    y = scale_of(ends, *frame.y_range, is_log=None if label == "loss" else False)
    at = x(chosen)
    parts = [
        frame.axes(x, y, x_label="epoch", y_label=label),
        element("line", x1=at, x2=at, y1=frame.y_range[0], y2=frame.top, class_="chosen"),
    ]
    for key, band in own.items():
        kind = "a" if key == "train_loss" else "b"
        parts.append(element("path", d=_area(band, x, y), class_=f"band {kind}"))
        line = line_path([x(e) for e in band.epochs], [_at(y, v) for v in band.mean])
        parts.append(element("path", d=line, class_=f"line {kind}"))
    parts += [_legend(own, frame), _points(own, x, y, label)]
    ending = " and ".join(_LABELS[key] for key in own)
    title = (
        f"{label.capitalize()} of the best candidate (row {row}) on {ending} over "
        f"{epochs.max():.0f} epochs; epoch {chosen} counts."
    )
    return picture(name, title, frame, *parts)


def _area(band: FoldBand, x: Scale, y: Scale) -> str:
    known = np.isfinite(band.low)
    across = [x(e) for e in band.epochs[known]]
    upper = [y(v) for v in band.high[known]]
    lower = [y(v) for v in band.low[known]]
    return f"{line_path(across + across[::-1], upper + lower[::-1])}Z" if across else ""


def _legend(own: dict[str, FoldBand], frame: Frame) -> Markup:
    parts = []
    x, y = frame.left + 4.0, 14.0
    for key in own:
        kind = "a" if key == "train_loss" else "b"
        parts.append(element("line", x1=x, x2=x + 18, y1=y, y2=y, class_=f"line {kind}"))
        parts.append(element("text", _LABELS[key], x=x + 23, y=y + 4))
        x += 120
    parts.append(element("line", x1=x, x2=x + 18, y1=y, y2=y, class_="chosen"))
    parts.append(element("text", "epoch that counts", x=x + 23, y=y + 4))
    return element("g", *parts, aria_hidden="true")


def _points(own: dict[str, FoldBand], x: Scale, y: Scale, label: str) -> Markup:
    """Return a point for each epoch, at the mean of the last curve, with all values."""
    last = list(own.values())[-1]
    points = []
    for k, epoch in enumerate(last.epochs):
        if np.isnan(last.mean[k]):
            continue
        texts = [
            f"{_LABELS[key]} {number_text(band.mean[k])}{_range_text(band, k)}"
            for key, band in own.items()
            if k < len(band.mean) and not np.isnan(band.mean[k])
        ]
        text = f"epoch {epoch:.0f}, {label}: {'; '.join(texts)}"
        points.append(
            element(
                "circle",
                element("title", text),
                cx=x(epoch),
                cy=y(last.mean[k]),
                r=3,
                class_="hit",
            )
        )
    return element("g", *points, class_="points")


def _range_text(band: FoldBand, k: int) -> str:
    if np.isnan(band.low[k]):
        return ""
    return f" ({number_text(band.low[k])} to {number_text(band.high[k])})"


def _at(scale: Scale, value: float) -> float:
    return scale(value) if np.isfinite(value) else float("nan")

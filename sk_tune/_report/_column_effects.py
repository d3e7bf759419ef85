# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Importance of columns, and the dependence of predictions on them, on held-out rows.

The importance of a column is the loss of score after its values are permuted among held-out
rows [1]_; partial dependence is the mean prediction after a column is set to one value in
all rows [2]_.  Models of the folds predict the rows that they were not trained on; no model
is trained.  Raw columns are permuted: all parts of a date and all levels of a
category move together.

Notation: F folds, R repeats, C columns, G values of a column, n rows of a fold.

References
----------
.. [1] Breiman, L. (2001). Random forests. Machine Learning 45, section 10.
.. [2] Friedman, J. H. (2001). Greedy function approximation. Annals of Statistics 29,
   section 8.2.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import is_classifier

from sk_tune._estimators import as_sequences
from sk_tune._frames import as_pandas
from sk_tune._scores import scorer_metric
from sk_tune._search_record import deciding_scorer
from sk_tune._splits import take
from sk_tune._text import counted, number_texts
from sk_tune._types import Array, Floats, Ints

# Rows of a fold that are permuted or averaged at most, and at least if time is short.
_MOST_ROWS, _ROWS_OF_DEPENDENCE, _FEWEST_ROWS = 1000, 200, 100
_N_REPEATS = 3
# Rows times columns that are permuted in a fold, unless there are more columns.
_MOST_PERMUTED = 100_000
# Columns with a picture of the dependence; their values if they are numbers, or categories.
_N_SHOWN, _N_VALUES, _MOST_CATEGORIES = 4, 12, 8
# Rows and cells of one call of ``predict``.
_ROWS_OF_CALL, _CELLS_OF_CALL = 20_000, 2_000_000
# Share of the time for importance; dependence gets the rest.
_SHARE_OF_IMPORTANCE = 0.7
# Start of a sentence that ends with a reason.
_UNKNOWN = "The importance of columns is unknown:"


class FoldModel(NamedTuple):
    """A model, and the positions of rows that it was not trained on."""

    rows: Ints
    predict: Callable[[Any], Array]  # probabilities (n, K), or numbers (n,) or (n, K)
    score: Callable[[Array, Array], float]  # of true values and predictions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dependence:
    """Mean predictions of a fold's rows for each of G values of a column."""

    column: str
    values: Floats | None  # None for dates and categories
    texts: tuple[str, ...]
    means: Floats  # (F, G)
    target: str  # description of the prediction
    is_ordered: bool  # numbers and dates


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColumnEffects:
    """Columns by falling importance, (C,), with standard deviations over the folds."""

    columns: tuple[str, ...]
    importance: Floats
    std: Floats
    dependence: tuple[Dependence, ...]
    note: str  # number of permuted rows and repeats

    @property
    def table(self) -> pd.DataFrame:
        """Columns "column", "importance" and "std", the most important first."""
        numbers = {"importance": self.importance, "std": self.std}
        return pd.DataFrame({"column": list(self.columns), **numbers})

    def texts(self, n_most: int) -> list[str]:
        """Return the first columns with importance and standard deviation as text."""
        both = (self.importance[:n_most], self.std[:n_most])
        means, stds = (number_texts(values.tolist(), 2) for values in both)
        parts = zip(self.columns[:n_most], means, stds, strict=True)
        return [f"{name} {mean} ± {std}" for name, mean, std in parts]


def column_effects(
    X: Any,
    y: Array,
    folds: Sequence[FoldModel],
    *,
    columns: Sequence[str] | None = None,
    classes: Array | None = None,
    seconds: float = np.inf,
    seed: int = 0,
) -> ColumnEffects | str:
    """Return how held-out predictions use the `columns`, or why that is unknown."""
    start = time.monotonic()
    names = [*map(str, getattr(X, "columns", map("column {}".format, range(X.shape[1]))))]
    places = [k for k, name in enumerate(names) if columns is None or name in columns]
    if not places:
        return f"{_UNKNOWN} the models use no column."
    rng = np.random.default_rng(seed)
    most = int(np.clip(_MOST_PERMUTED // len(places), _FEWEST_ROWS, _MOST_ROWS))
    folds = [f._replace(rows=rng.permutation(f.rows)[:most]) for f in folds]
    most = max(len(fold.rows) for fold in folds)
    row_seconds, now = _seconds_of_row(X, folds[0]), time.monotonic()
    limit = start + _SHARE_OF_IMPORTANCE * seconds
    n_rows_left, n_calls = (limit - now) / row_seconds, len(folds) * (1 + len(places))
    n_rows = int(np.clip(n_rows_left / n_calls, _FEWEST_ROWS, most))
    if (needed := row_seconds * n_rows * (1 + len(places))) > seconds:
        times = f"{needed:.2g} s or more, but only {seconds:.2g} s were left"
        return f"{_UNKNOWN} it takes {times}."
    folds = [f._replace(rows=f.rows[:n_rows]) for f in folds]
    drops = np.full((_N_REPEATS, len(folds), len(places)), np.nan)
    for r, k in np.ndindex(_N_REPEATS, len(folds)):
        last, now = now, time.monotonic()
        if (r or k) and now + (now - last) > limit:
            break
        drops[r, k] = _drops(X, y, folds[k], places, rng)
    # A metric may be undefined in a fold, for example without a row of each class.
    is_scored: Array = np.asarray(np.isfinite(drops).all(axis=2))
    has_score = is_scored.any(axis=0)
    if not has_score.any():
        return f"{_UNKNOWN} the score is not defined in any fold."
    by_fold = np.nanmean(drops[:, has_score], axis=0)
    order = np.argsort(-by_fold.mean(axis=0), kind="stable")
    importance = by_fold.mean(axis=0)[order]
    spread = by_fold if len(by_fold) > 1 else drops[is_scored]
    std = spread.std(axis=0)[order] if len(spread) > 1 else np.full(len(order), np.nan)
    shown = [places[k] for k in order[importance > np.nan_to_num(std)][:_N_SHOWN]]
    rows_of_column = sum(len(f.rows[:_ROWS_OF_DEPENDENCE]) for f in folds) * _N_VALUES
    n_rows_left = (start + seconds - time.monotonic()) / row_seconds
    n_shown = int(np.clip(n_rows_left / rows_of_column, 0, len(shown)))
    is_cut = n_rows < most or not is_scored.all() or n_shown < len(shown)
    hidden = [names[place] for place in shown[n_shown:]]
    return ColumnEffects(
        columns=tuple(names[places[k]] for k in order),
        importance=importance,
        std=std,
        dependence=tuple(_dependences(X, folds, shown[:n_shown], names, classes)),
        note=_note(is_scored, n_rows, is_cut=is_cut, hidden=hidden),
    )


def _note(is_scored: Array, n_rows: int, *, is_cut: bool, hidden: Sequence[str]) -> str:
    """Return how the importance was measured, by scores of each repeat and fold."""
    n_repeats, n_folds = int(is_scored.any(axis=1).sum()), int(is_scored.any(axis=0).sum())
    times = "once" if n_repeats == 1 else f"{n_repeats} times"
    note = (
        f"Each column was permuted {times} in "
        f"{'each of ' * (n_folds > 1)}{counted(n_folds, 'fold')}, "
        f"on up to {n_rows} held-out rows.{' The time budget allowed no more.' * is_cut}"
    )
    if hidden:
        names = ", ".join(hidden)
        note += f" There was no time to show how the prediction depends on {names}."
    return note


def _seconds_of_row(X: Any, fold: FoldModel) -> float:
    """Return the seconds of a predicted row, by the second call, as the first is slow."""
    start = 0.0
    for _ in range(2):
        start = time.monotonic()
        fold.predict(take(X, fold.rows))
    return max((time.monotonic() - start) / len(fold.rows), 1e-12)


def _drops(
    X: Any, y: Array, fold: FoldModel, places: Sequence[int], rng: np.random.Generator
) -> Floats:
    """Return the loss of score by permuting each column in a fold, (C,)."""
    rows = fold.rows
    variants = [(place, rng.permutation(rows)) for place in places]
    predictions = _predictions(X, fold, rows, [(places[0], rows), *variants])
    base, *scores = (fold.score(y[rows], p) for p in predictions)
    return base - np.array(scores)


def _dependences(
    X: Any,
    folds: Sequence[FoldModel],
    places: Sequence[int],
    names: Sequence[str],
    classes: Array | None,
) -> list[Dependence]:
    """Return the partial dependence on some columns, by the models of all folds."""
    if not places:
        return []
    used = np.concatenate([fold.rows for fold in folds])
    grids = [_grid(pd.Series(_column(X, place)).iloc[used].dropna()) for place in places]
    means = []
    for fold in folds:
        rows = fold.rows[:_ROWS_OF_DEPENDENCE]
        variants = [
            (place, np.full(len(rows), source))
            for place, (sources, *_) in zip(places, grids, strict=True)
            for source in sources
        ]
        means.append([p.mean(axis=0) for p in _predictions(X, fold, rows, variants)])
    ends = np.cumsum([len(sources) for sources, *_ in grids])
    curves = np.array(means).reshape(len(folds), ends[-1], -1)
    dependences = []
    for place, grid, curve in zip(
        places, grids, np.split(curves, ends[:-1], axis=1), strict=True
    ):
        # The class or target that the column changes most.
        k = int(np.ptp(curve.mean(axis=0), axis=0).argmax())
        target = "prediction" if curve.shape[2] == 1 else f"prediction of target {k + 1}"
        if classes is not None:
            k = 1 if len(classes) == 2 else k
            target = f"probability of {classes[k]}"
        _, values, texts, is_ordered = grid
        dependences.append(
            Dependence(
                column=names[place],
                values=values,
                texts=texts,
                means=curve[..., k],
                target=target,
                is_ordered=is_ordered,
            )
        )
    return dependences


def _grid(values: pd.Series) -> tuple[Ints, Floats | None, tuple[str, ...], bool]:
    """Return rows with quantiles or frequent categories, their values, and if ordered."""
    is_date = pd.api.types.is_datetime64_any_dtype(values)
    is_number = pd.api.types.is_numeric_dtype(values) and values.nunique() > 2
    if not is_number and not is_date:
        texts = values.astype(str)
        frequent = texts.value_counts().index[:_MOST_CATEGORIES]
        chosen = texts[texts.isin(frequent)].drop_duplicates().sort_values()
        return chosen.index.to_numpy(), None, tuple(chosen), False
    ordered = values.sort_values()
    ranks = np.linspace(0.02, 0.98, _N_VALUES) * (len(ordered) - 1)
    chosen = ordered.iloc[ranks.round().astype(int)].drop_duplicates()
    if is_date:
        return chosen.index.to_numpy(), None, tuple(chosen.astype(str).str[:10]), True
    numbers = chosen.to_numpy(dtype=np.float64)
    return chosen.index.to_numpy(), numbers, tuple(number_texts(numbers.tolist())), True


def _predictions(
    X: Any, fold: FoldModel, rows: Ints, variants: Sequence[tuple[int, Ints]]
) -> Iterator[Array]:
    """Yield predictions of rows, with a column of each variant taken from other rows."""
    n = len(rows)
    n_rows = min(_ROWS_OF_CALL, _CELLS_OF_CALL // X.shape[1])
    size = max(1, n_rows // n)
    for first in range(0, len(variants), size):
        part = variants[first : first + size]
        stacked = take(X, np.tile(rows, len(part)))
        for place in dict.fromkeys(place for place, _ in part):
            sources = [other if k == place else rows for k, other in part]
            values = _column(X, place)[np.concatenate(sources)]
            if hasattr(stacked, "isetitem"):
                stacked.isetitem(place, values)
            else:
                stacked[:, place] = values
        yield from np.split(fold.predict(stacked), len(part))


# Seconds that a page may take for the importance of columns.
_SECONDS_OF_PAGE = 10.0


def search_effects(search: Any, X: Any, y: Any, row: int) -> ColumnEffects | str | None:
    """Return the effects of columns by a candidate's models of the folds.

    A text says why they are unknown; None if the search does not allow them.
    """
    models = getattr(search, "models_", {}).get(row, ())
    held_out_rows = search.held_out_rows_[row] if models else []
    table: Any = as_pandas(X)
    if table is None and not sparse.issparse(X):
        table = np.asarray(as_sequences(X))
    metric = scorer_metric(deciding_scorer(search)[0], search.estimator) if models else None
    if metric is None or table is None or table.ndim != 2 or np.ndim(y) != 1:
        return None
    method = "predict_proba" if is_classifier(search) else "predict"
    pairs = list(zip(models, held_out_rows, strict=True))
    if not all(rows is not None and hasattr(m, method) for m, rows in pairs):
        return None
    classes = models[0].classes_ if is_classifier(search) else None
    score = partial(metric.of_predictions, classes=classes)
    folds = [FoldModel(rows, getattr(m, method), score) for m, rows in pairs]
    return column_effects(
        table, np.asarray(y), folds, classes=classes, seconds=_SECONDS_OF_PAGE
    )


def _column(X: Any, place: int) -> Any:
    """Return a column as an array of its own dtype."""
    return X.iloc[:, place].array if hasattr(X, "iloc") else X[:, place]

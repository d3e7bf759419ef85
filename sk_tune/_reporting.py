# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The entrance to reports; searches and AutoML have it as a method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from numpy.typing import ArrayLike

from sk_tune._types import Features

if TYPE_CHECKING:
    from sk_tune._diagnosis import Finding

__all__ = ["report"]


@overload
def report(
    search: Any,
    path: None = None,
    *,
    X: Features | None = None,
    y: ArrayLike | None = None,
    title: str = "",
    extra_checks: "Sequence[Callable[[Any], Finding]]" = (),
    sections: Mapping[str, Any] | None = None,
) -> str: ...


@overload
def report(
    search: Any,
    path: str | Path,
    *,
    X: Features | None = None,
    y: ArrayLike | None = None,
    title: str = "",
    extra_checks: "Sequence[Callable[[Any], Finding]]" = (),
    sections: Mapping[str, Any] | None = None,
) -> Path: ...


def report(
    search: Any,
    path: str | Path | None = None,
    *,
    X: Features | None = None,
    y: ArrayLike | None = None,
    title: str = "",
    extra_checks: "Sequence[Callable[[Any], Finding]]" = (),
    sections: Mapping[str, Any] | None = None,
) -> Path | str:
    """Write the results of a search or of AutoML as a page, as text or as JSON.

    Searches and AutoML have this function as a method.

    Parameters
    ----------
    search : estimator
        Fitted search of sk_tune or scikit-learn, AutoClassifier or AutoRegressor.
    path : str, Path or None, default=None
        File to write, completely or not at all.  Its suffix selects the format: ``.html``
        is a page that works offline, ``.txt`` and ``.md`` are text for a terminal, and
        ``.json`` holds all fields of the page.  If None, the text is returned.
    X, y : array-like, default=None
        Data of the fit.  They add baselines on the same folds, a fingerprint of the data
        and, if the search kept models, the importance of columns.  A report of AutoML needs
        them only for the fingerprint.
    title : str, default=""
        Heading; describes the search if empty.
    extra_checks : sequence of callable, default=()
        Further checks, as for ``diagnose``.
    sections : mapping of str to object, default=None
        Further sections by their headings: text, a table of pandas or any other object
        with ``_repr_html_``, or a figure or display of matplotlib.

    Returns
    -------
    Path or str
        The file, or the text if `path` is None.

    Raises
    ------
    TypeError
        If `search` is another estimator.
    NotFittedError
        If the search is not fitted.
    ValueError
        If the suffix belongs to another format.

    See Also
    --------
    diagnose : The findings alone.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sk_tune import report
    >>> model = LogisticRegression(max_iter=500)
    >>> search = GridSearchCV(model, {"C": [0.1, 1.0]}).fit(*load_iris(return_X_y=True))
    >>> print(report(search).splitlines()[0])
    GridSearchCV over LogisticRegression
    """
    # Imported here, because diagnosis and templates take half a second.
    from sk_tune._report import gather, to_text, write_page, writer_for

    if path is not None:
        writer_for(path)
    page_of = getattr(search, "_report_page", partial(gather, search))
    page = page_of(X, y, extra_checks=extra_checks)
    page = replace(page, title=title or page.title, sections=sections or {})
    return to_text(page) if path is None else write_page(page, path)

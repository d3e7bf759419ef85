"""Marks of single parameters, and scikit-learn's checks as parameters."""

from collections.abc import Iterable
from functools import cache, partial
from typing import Any

import pytest
from sklearn.utils import estimator_checks

slow = partial(pytest.param, marks=pytest.mark.slow)


def one_in(n: int, cases: Iterable[Any]) -> list[Any]:
    """Return cases as parameters; all but every n-th are slow, as they differ in little."""
    given = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [slow(*case) if i % n else pytest.param(*case) for i, case in enumerate(given)]


def parametrize_with_checks(estimators: list[Any], **options: Any) -> pytest.MarkDecorator:
    """Do the same as scikit-learn's function, with a short text for each estimator."""
    theirs = estimator_checks.parametrize_with_checks(estimators, **options)
    return pytest.mark.parametrize(*theirs.args, ids=cache(theirs.kwargs["ids"]))

# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Names of parameters that an estimator does not have, refused before anything trains."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.base import clone

from sk_tune.exceptions import SpaceError

__all__ = ["check_names"]

_N_NEAR = 3  # Names that a message offers.


def check_names(estimator: Any, candidates: Iterable[Mapping[str, Any]]) -> None:
    """Refuse candidates with parameters that the estimator cannot be given.

    Raises SpaceError, which names the parameter and those that it could have been meant
    for. Only setting tells: a skorch net takes ``module__*`` that ``get_params`` does not
    list, and a step that one parameter replaces has other parameters.
    """
    known = set(estimator.get_params(deep=True))
    for params in candidates:
        unknown = sorted(set(params) - known)
        if not unknown:
            continue
        try:
            clone(estimator).set_params(**clone(dict(params), safe=False))
        except (ValueError, AttributeError) as error:
            for name in unknown:
                if not _can_be_set(estimator, name, params[name]):
                    raise SpaceError(_message(estimator, name)) from error
            raise
        known.update(unknown)


def _can_be_set(estimator: Any, name: str, value: Any) -> bool:
    try:
        clone(estimator).set_params(**{name: value})
    except (ValueError, AttributeError):
        # The latter of a step that is no estimator.
        return False
    return True


def _message(estimator: Any, name: str) -> str:
    near = _near(name, list(estimator.get_params(deep=True)))
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return (
        f"The space must name parameters of the {type(estimator).__name__}. Got {name!r} "
        f"instead. {hint}Its get_params() lists all."
    )


def _near(name: str, names: list[str]) -> list[str]:
    """Return names that end alike, which lack a step or have a wrong one, or look alike."""
    last = name.rpartition("__")[2]
    same = [own for own in names if own.rpartition("__")[2] == last]
    if same:
        return same[:_N_NEAR]
    lasts = sorted({own.rpartition("__")[2] for own in names})
    alike = difflib.get_close_matches(last, lasts, n=1, cutoff=0.75)
    # The whole name decides which of those that end in the word.
    ends = [own for own in names if own.rpartition("__")[2] in alike]
    return difflib.get_close_matches(name, ends, n=_N_NEAR, cutoff=0.0)

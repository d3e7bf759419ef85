# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One object for all fitted transformers that do the same.

Each search of a course fits the preparation of its columns anew on the same folds.  Of what
is the same object an ensemble asks once for all of its members, and a file holds it once.
"""

from typing import Any

from sklearn.pipeline import Pipeline

from sk_tune.backend import value_fingerprint

__all__ = ["SharedSteps"]


class SharedSteps:
    """Fitted transformers that have come so far."""

    def __init__(self) -> None:
        self._of_digest: dict[Any, Any] = {}
        # By identity; with the step itself, so that no other one gets its number.
        self._known: dict[int, tuple[Any, Any]] = {}

    def shared(self, model: Pipeline) -> Pipeline:
        """Return a fitted pipeline with earlier transformers in the place of equal ones."""
        *transformers, last = model.steps
        return Pipeline([*((name, self._first(own)) for name, own in transformers), last])

    def _first(self, step: Any) -> Any:
        """Return the first of all transformers that have learnt the same."""
        if id(step) not in self._known:
            first = self._of_digest.setdefault(value_fingerprint(step), step)
            self._known[id(step)] = step, first
        return self._known[id(step)][1]

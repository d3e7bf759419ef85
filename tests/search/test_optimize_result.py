# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A Bayesian search in scikit-optimize's terms."""

import numpy as np
import pytest
from skopt.utils import expected_minimum

from sk_tune.search._bayes_search import optimize_result
from sk_tune.space import Choice, as_space

SPACE = as_space({"x": (-2.0, 2.0), "kind": ["a", "b"]})


def hill(n):
    """Return candidates whose score is highest at x = 0.5."""
    xs = np.linspace(-2, 2, n)
    candidates = [{"x": float(x), "kind": "ab"[i % 2]} for i, x in enumerate(xs)]
    return candidates, -((xs - 0.5) ** 2)


def test_the_best_candidate_and_all_losses_are_there():
    """Scores are negated; the failed one counts as the worst."""
    candidates, scores = hill(9)
    scores[3] = np.nan

    result = optimize_result(SPACE, candidates, scores)

    assert result.x == ["b", 0.5]
    assert result.fun == 0
    np.testing.assert_allclose(np.delete(result.func_vals, 3), -np.delete(scores, 3))
    assert result.func_vals[3] == -np.nanmin(scores)
    assert [d.name for d in result.space.dimensions] == ["kind", "x"]
    assert result.models == []


@pytest.mark.parametrize("model", ["GP", "ET", "GBRT"])
def test_the_model_expects_the_minimum_where_it_is(model):
    """scikit-optimize's own function finds the top of the hill in the result."""
    candidates, scores = hill(17)

    result = optimize_result(SPACE, candidates, scores, model=model, random_state=0)

    (_, x), _ = expected_minimum(result, n_random_starts=20, random_state=0)
    assert abs(x - 0.5) < 0.5


@pytest.mark.parametrize(
    ("space", "candidates", "scores"),
    [
        (as_space({"k": Choice({"a": {"x": (0.0, 1.0)}, "b": {}})}), [{"k": "b"}], [1.0]),
        (SPACE, [{"x": 0.0, "kind": "a"}], [np.nan]),
        (SPACE, [], []),
    ],
    ids=["a branch", "all failed", "nothing"],
)
def test_there_is_none_where_scikit_optimize_has_no_word_for_it(space, candidates, scores):
    """Parameters that depend on others, or nothing that was scored."""
    assert optimize_result(space, candidates, np.array(scores)) is None

"""Areas under the ROC curve against scikit-learn's, on the rows drawn."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sk_tune.search._metric_sums import AucSums


@settings(deadline=None)
@given(seed=st.integers(0, 2**20), n_rows=st.integers(2, 40), n_distinct=st.integers(1, 50))
def test_areas_equal_scikit_learns_on_the_rows_drawn(seed, n_rows, n_distinct):
    """For any resample that has both classes, ties included; else there is none."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n_rows)
    scores = rng.integers(n_distinct, size=(3, n_rows)) / 7
    rows = np.concatenate([rng.integers(n_rows, size=n_rows), [y.argmin(), y.argmax()]])
    weights = np.bincount(rows, minlength=n_rows)[np.newaxis].astype(float)
    sums = AucSums(scores=scores, is_positive=y == 1)

    if y.min() < y.max():
        expected = [roc_auc_score(y[rows], s[rows]) for s in scores]
        np.testing.assert_allclose(sums.of_all(weights)[0], expected, rtol=1e-12)
        for candidate in range(3):
            area = sums.of_one(weights, np.array([candidate]))
            np.testing.assert_allclose(area, expected[candidate], rtol=1e-12)
    else:
        assert np.isnan(sums.of_all(weights)).all()


def test_each_weighting_may_ask_for_another_candidate():
    """The first candidate ranks right, the second the other way round."""
    y = np.array([0, 0, 1, 1])
    sums = AucSums(scores=np.stack([y, 1 - y]), is_positive=y == 1)
    weights = np.array([[1.0, 0, 1, 0], [1, 2, 3, 4], [1, 1, 0, 0]])

    areas = sums.of_one(weights, np.array([1, 0, 0]))

    assert areas[:2].tolist() == [0.0, 1.0]
    assert np.isnan(areas[2])


def test_some_candidates_are_kept_and_a_sign_turns_round():
    """As for other metrics."""
    y = np.array([0, 1, 1])
    sums = AucSums(scores=np.stack([y, 1 - y]), is_positive=y == 1, sign=-1)

    kept = sums.of(np.array([True, False]))

    assert kept.of_all(np.ones((1, 3))).tolist() == [[-1.0]]

"""What becomes of the sum of an ensemble's members."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sk_tune import BaggingClassifier
from sk_tune.ensemble._combination import Member
from sk_tune.ensemble._parts import Parts, parts_of


def _parts(weights, **options):
    members = tuple(Member(f"m{i}", weight) for i, weight in enumerate(weights))
    return Parts(**{"members": members, "n_features": 2, **options})


def test_the_heaviest_members_of_a_mean_come_first():
    """In their order, the earlier of equal ones, with weights that sum to 1."""
    first = _parts([0.2, 0.3, 0.2, 0.3]).first(3)

    assert [member.estimator for member in first.members] == ["m0", "m1", "m3"]
    np.testing.assert_allclose([m.weight for m in first.members], [0.25, 0.375, 0.375])


def test_the_first_members_of_a_sum_come_first():
    """Later stages stand on earlier ones; their weights stay."""
    first = _parts([0.1, 5.0, 0.3], link="sum", offset=np.zeros(1)).first(2)

    assert [member.weight for member in first.members] == [0.1, 5.0]


@pytest.mark.parametrize(
    ("options", "total", "expected"),
    [
        ({}, [[2.0]], [[2.0]]),
        ({"link": "sum", "offset": np.array([3.0])}, [[2.0]], [[5.0]]),
        (
            {"link": "logistic", "offset": np.array([np.log(2)]), "classes": np.arange(2)},
            [[np.log(1.5)]],
            [[0.25, 0.75]],
        ),
        (
            {"link": "softmax", "offset": np.log([2.0, 1.0, 1.0]), "classes": np.arange(3)},
            [[0.0, 0.0, np.log(2)]],
            [[0.4, 0.2, 0.4]],
        ),
        ({"classes": np.arange(2)}, [[0.5, 1.5]], [[0.25, 0.75]]),
        ({"classes": np.arange(2), "temperature": 0.5}, [[0.4, 0.6]], [[4 / 13, 9 / 13]]),
    ],
    ids=["mean", "sum", "logistic", "softmax", "probabilities", "temperature"],
)
def test_the_sum_becomes_what_the_link_says(options, total, expected):
    """Values by hand: odds of 2 times 1.5 are 3 to 1; squares of 2 and 3 are 4 and 9."""
    np.testing.assert_allclose(
        _parts([1.0], **options).finish(np.array(total)), expected, rtol=1e-12
    )


def test_an_unfitted_ensemble_has_no_parts():
    """It says so in scikit-learn's words."""
    with pytest.raises(NotFittedError):
        parts_of(BaggingClassifier())

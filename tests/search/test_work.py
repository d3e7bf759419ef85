"""Records of a search, and what tells its candidates apart."""

import numpy as np
from sklearn.preprocessing import StandardScaler

from sk_tune.search._outcomes import candidate_fingerprint


def test_a_candidate_is_the_same_in_all_rungs():
    """The order of names and the resource do not matter, the values do."""
    one = {"a": 1, "b": np.arange(3), "epochs": 3}
    two = {"epochs": 9, "b": np.arange(3), "a": 1}

    assert candidate_fingerprint(one, without="epochs") == candidate_fingerprint(
        two, without="epochs"
    )
    assert candidate_fingerprint(one, without=None) != candidate_fingerprint(
        two, without=None
    )
    assert candidate_fingerprint({"a": 1}, without=None) != candidate_fingerprint(
        {"a": 2}, without=None
    )


def test_estimators_are_told_apart_by_their_parameters():
    """Equal estimators are one candidate, though they are two objects."""
    keys = {
        candidate_fingerprint({"scale": StandardScaler(with_std=flag)}, without=None)
        for flag in (True, True, False)
    }

    assert len(keys) == 2


def test_functions_are_told_apart_by_identity():
    """Functions that cannot be pickled have a key, equal to their own only."""
    one, two = (lambda x: x), (lambda x: x)
    keys = [candidate_fingerprint({"f": f}, without=None) for f in (one, one, two)]

    assert keys[0] == keys[1] != keys[2]

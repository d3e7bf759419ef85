"""What a later fit goes on from."""

import pickle

import numpy as np

from sk_tune.automl._resumption import Memory, fingerprint
from sk_tune.automl._splitting import Split


def test_a_memory_can_be_kept_in_a_file():
    """With the folds, which a later fit must have again."""
    folds = [(np.arange(3), np.arange(3, 5))]
    split = Split(held=np.arange(5, 6), folds=folds, asked=("auto", 0.1, None, None))
    none = {"trials": [], "others": [], "kinds": {}, "searches": {}, "scoring": None}
    memory = Memory(seed=1, fingerprint="a", n_done=2, split=split, **none)

    copy = pickle.loads(pickle.dumps(memory))

    assert copy.split.equals(memory.split)
    assert (copy.seed, copy.n_done, copy.split.asked) == (1, 2, memory.split.asked)


def test_fingerprints_tell_data_apart(mixed):
    """A copy has the same, another value, order or name does not."""
    X, y = mixed
    own = fingerprint(X, y)

    assert fingerprint(X.copy(deep=True), np.array(list(y))) == own
    assert fingerprint(X.iloc[::-1].reset_index(drop=True), y) != own
    assert fingerprint(X.rename(columns={"town": "city"}), y) != own
    assert fingerprint(X, y[::-1]) != own
    arrays = [np.zeros((4, 2, 2)), np.ones((4, 2, 2))]
    assert len({fingerprint(a, np.arange(4)) for a in arrays}) == 2

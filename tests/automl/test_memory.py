"""What a later fit goes on from."""

import pickle

import numpy as np

from sk_tune.automl._folds import Split
from sk_tune.automl._memory import Memory


def test_a_memory_can_be_kept_in_a_file():
    """With the folds, which a later fit must have again."""
    folds = [(np.arange(3), np.arange(3, 5))]
    split = Split(held=np.arange(5, 6), folds=folds, asked=("auto", 0.1, None, None))
    memory = Memory(
        seed=1, fingerprint="a", trials=[], kinds={}, n_done=2, scoring=None, split=split
    )

    copy = pickle.loads(pickle.dumps(memory))

    assert copy.split.equals(memory.split)
    assert (copy.seed, copy.n_done, copy.split.asked) == (1, 2, memory.split.asked)

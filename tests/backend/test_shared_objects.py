"""Objects read by a task's code beyond its arguments are restored after recording."""

import datetime
import enum
import functools
import logging
import re
import threading
import types
from collections import OrderedDict, namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed
from scipy.stats import loguniform
from torch import nn

from sk_tune import MLPClassifier, fleet
from sk_tune.exceptions import SkTuneWarning

X = np.random.default_rng(0).normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)


def _probability(seed):
    net = MLPClassifier(hidden_layer_sizes=(4,), max_epochs=2, random_state=seed)
    return float(net.fit(X, Y).predict_proba(X)[0, 0])


class _Fits:
    """A counter, as users write to count calls."""

    n = 0
    __slots__ = ("own",)

    def __init__(self):
        self.own = 0


HELPERS = types.ModuleType("helpers_of_a_user")
N_FITS = 0
FITS = _Fits()
SOLE = SimpleNamespace(n=0)
BY_SEED = OrderedDict()
TENSOR = torch.zeros(2)
ARRAY = np.zeros(2)
OF_TORCH = torch.zeros(2).numpy()


def _count_everywhere(seed, calls=[]):  # noqa: B006 - it is what is tried
    global N_FITS
    N_FITS += 1
    FITS.own += 1
    _Fits.n += 1
    SOLE.n += 1
    HELPERS.n += 1
    BY_SEED[seed] = BY_SEED.get(seed, 0) + 1
    BY_SEED.move_to_end(seed, last=False)
    calls.append(seed)
    TENSOR.add_(1)
    OF_TORCH[0] += 1
    _count_everywhere.n = getattr(_count_everywhere, "n", 0) + 1
    proba = _probability(seed)
    ARRAY[0] += 1
    return proba


def test_counters_of_users_code_count_once():
    """Globals, attributes of objects, classes, modules and functions, defaults, tensors."""
    HELPERS.n = 0

    with fleet(n_jobs=1) as report:
        Parallel()(delayed(_count_everywhere)(seed) for seed in (1, 2, 3))

    counts = [N_FITS, FITS.own, _Fits.n, SOLE.n, HELPERS.n, _count_everywhere.n]
    counts += [int(TENSOR[0]), int(OF_TORCH[0]), int(ARRAY[0])]
    assert counts == [3] * 9
    assert list(BY_SEED.items()) == [(3, 1), (2, 1), (1, 1)]
    assert _count_everywhere.__defaults__ == ([1, 2, 3],)
    assert (report.n_adopted, report.n_trained_again, report.alone_reasons) == (3, 0, {})


class Kind(enum.Enum):
    """A constant of a user's."""

    A = 1


ORDINARY = (
    *(logging.getLogger("of_a_user"), threading.Lock(), re.compile("a"), Path("a")),
    *(datetime.date(2026, 1, 1), Kind.A, torch.device("cpu"), pd.DataFrame({"a": [1]})),
    *(pd.Categorical(["a"]), loguniform(1, 2), nn.Linear(1, 1), object(), memoryview(b"a")),
    *(namedtuple("Pair", "a")(1), functools.lru_cache(len), torch.nn.functional.relu),
)


def _with_ordinary(seed):
    assert ORDINARY
    return _probability(seed)


def test_common_global_objects_do_not_prevent_recording():
    """Loggers, locks, tables, modules and constants leave their tasks in the fleet."""
    with fleet(n_jobs=1) as report:
        Parallel()(delayed(_with_ordinary)(seed) for seed in (1, 2))

    assert (report.n_adopted, report.n_trained_again, report.alone_reasons) == (2, 0, {})


def _written_first(seed):
    ARRAY[1] += seed
    return _probability(int(ARRAY[1]))


def test_an_array_of_the_module_is_written_to_once():
    """An array is not copied for a trial run; a task that writes to it trains as usual."""
    expected = [_written_first(1), _written_first(2), ARRAY[1]]
    ARRAY[1] = 0

    with fleet(n_jobs=1) as report, pytest.warns(SkTuneWarning, match="read-only"):
        own = Parallel()(delayed(_written_first)(seed) for seed in (1, 2))

    np.testing.assert_array_equal([*own, ARRAY[1]], expected)
    assert (report.n_adopted, report.n_trained_again) == (0, 2)
    assert ARRAY.flags.writeable

"""Shared data sets, and settings for the whole run."""

import gc
import re
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import joblib
import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn import datasets
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

import sk_tune
from sk_tune._engine import Trained, _executors
from sk_tune._engine._shard import train_shard
from sk_tune._training import arrays_of_state

# Because several workers test side by side, and sums must not depend on the machine.
# Threads of BLAS wait for each other at full speed: ten times what they compute.
torch.set_num_threads(1)
threadpool_limits(1)

# The same examples each time, so that a change is not refused for what it did not touch;
# --hypothesis-profile=default looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# A shell starts what it sends to the background deaf to Ctrl-C, which some tests press.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option that tests an installation in a minute."""
    parser.addoption("--sample", type=int, default=1, help="run every n-th test only")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude the collected tests from later garbage collections."""
    gc.disable()
    collected = yield
    gc.enable()
    gc.freeze()
    return collected


# Checks of scikit-learn that take long and are told by others: matrices by arrays, a memory
# map of float64 by one of float32; searches by their base, in a search of a grid, what is
# said of regressors and classifiers by the classifier beside a regressor, and what arrays
# AutoML takes by its preparer of columns.
_SLOW = re.compile(
    r"-check_estimator_sparse_matrix\]|_train\(readonly_memmap=True\)\]"
    r"|\[HalvingGridSearchCV\(cv|\[HyperbandSearchCV\(asynchronous|models=\['networks'\]"
    r"|\[(Bayes|HalvingRandom|Hyperband|Randomized)SearchCV\(cv.*-check_\w*(train|classes|array"
    r"|dtypes|idempotent|invariance|consistency|unchanged|pickle|overwrite|y_2d)[](]"
    r"|\[(Auto|Bagging|Boosting|CNN|Net|RNN|Seed|Stacking|Trial)\w*Regressor\(.*-"
    r"check_(?!.*(regressor|y_2d))"
    r"|\[AutoClassifier\(.*-check_\w*(array|classes|dtypes)\]"
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark slow checks of scikit-learn; deselect by ``--sample``."""
    for item in items:
        if _SLOW.search(item.name) and not re.search(r"\[MLP\w+\(\)-", item.name):
            item.add_marker(pytest.mark.slow)
    step = config.getoption("--sample")
    config.hook.pytest_deselected(items=[t for i, t in enumerate(items) if i % step])
    items[:] = items[::step]


class Data(NamedTuple):
    """Rows and targets; both are read-only, because all tests share them."""

    X: np.ndarray
    y: np.ndarray


@pytest.fixture
def workers_for_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send what a test trains to workers if it asks for some, however little it is.

    Who is to wait for results calls ``sk_tune._engine.train``, which trains here what is
    soon done.  Only tests about workers ask for this.
    """
    monkeypatch.setattr("sk_tune._engine._train._SECONDS_TO_START", 0.0)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch use two threads during a test, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def straggling(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let shards with a learning rate of 1e-4 wait for an event, in threads; return it."""
    event = threading.Event()

    def slow(shard: Any, **options: Any) -> Any:
        if any(fit.estimator.learning_rate == 1e-4 for fit in shard.fits.values()):
            event.wait(60)
        return train_shard(shard, **options)

    monkeypatch.setattr(_executors, "train_shard", slow)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        yield event
    event.set()


@pytest.fixture(scope="session", autouse=True)
def _secret_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sign files with a secret of this run's, and leave the user's home alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def _read_only(X: np.ndarray, y: np.ndarray) -> Data:
    for values in (X, y):
        values.setflags(write=False)
    return Data(X, y)


@pytest.fixture(scope="session")
def digits() -> Data:
    """200 images of 8 x 8 pixels between 0 and 1, of ten classes."""
    X, y = datasets.load_digits(return_X_y=True)
    return _read_only(X[:200] / 16, y[:200])


@pytest.fixture(scope="session")
def iris() -> Data:
    """150 flowers of three species, 50 each, with four measurements in cm."""
    return _read_only(*datasets.load_iris(return_X_y=True))


@pytest.fixture(scope="session")
def breast_cancer() -> Data:
    """200 tumours of two classes with 30 measurements in units of their own."""
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return _read_only(X[:200].copy(), y[:200].copy())


@pytest.fixture(scope="session")
def diabetes() -> Data:
    """200 patients with ten standardised measurements and the progress of a disease."""
    X, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return _read_only(X[:200].copy(), y[:200].copy())


class SmallNet(nn.Module):
    """A user's module with a dropout layer, which draws from torch's global generator."""

    def __init__(self, n_features: int, n_outputs: int, width: int = 6, p: float = 0.2):
        super().__init__()
        self.hidden = nn.Linear(n_features, width)
        self.dropout = nn.Dropout(p)
        self.output = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return unnormalised outputs."""
        return self.output(self.dropout(torch.tanh(self.hidden(x))))


_SMALL = {
    "max_epochs": 2,
    "batch_size": 16,
    "learning_rate": 0.01,
    "lr_schedule": "constant",
    "random_state": 0,
}
_PLAIN = {"normalization": None, "dropout": 0.0}
_SMALL_ARCHITECTURES = {
    "MLP": {**_PLAIN, "hidden_layer_sizes": (6,), "members": 1},
    "CNN": {**_PLAIN, "n_layers": 1, "n_channels": 3, "width": 5, "input_shape": (2, 4)},
    "RNN": {**_PLAIN, "hidden_size": 4, "input_shape": (4, 2)},
    "Net": {"module": SmallNet},
}


@pytest.fixture(scope="session")
def make_estimator() -> Callable[..., Any]:
    """Return a function that makes a small unfitted estimator by its class's name."""

    def make(name: str, **params: Any) -> Any:
        return getattr(sk_tune, name)(**{
            **_SMALL,
            **_SMALL_ARCHITECTURES[name[:3]],
            **params,
        })

    return make


@pytest.fixture(scope="session")
def task_data() -> Callable[..., Data]:
    """Return a function that gives 60 rows of 8 features for an estimator by its name."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 8)).astype(np.float32)
    signal = X[:, 0] - X[:, 3] + 0.5 * X[:, 5]
    labels = np.array(["low", "mid", "top"])[np.digitize(signal, [-0.5, 0.5])]
    data = {
        "Classifier": _read_only(X, labels),
        "Regressor": _read_only(X, signal.astype(np.float64)),
    }
    return lambda name: data[name[3:]]


@pytest.fixture(scope="session")
def outputs() -> Callable[..., np.ndarray]:
    """Return a function that gives an estimator's probabilities, or predictions."""

    def outputs(estimator: Any, X: Any) -> np.ndarray:
        if hasattr(estimator, "predict_proba"):
            return estimator.predict_proba(X)
        return estimator.predict(X)

    return outputs


def _timeless(history: Any) -> list[dict[str, Any]]:
    return [{n: v for n, v in record.items() if n != "dur"} for record in history]


@pytest.fixture(scope="session")
def assert_same_training() -> Callable[[Trained, Trained], None]:
    """Return a function that compares two trainings bitwise, except for times."""

    def compare(ours: Trained, theirs: Trained) -> None:
        assert ours.message == theirs.message == ""
        assert ours.state is not None
        assert theirs.state is not None
        assert _timeless(ours.state.history) == _timeless(theirs.state.history)
        assert ours.state.n_steps == theirs.state.n_steps
        assert ours.state.seed == theirs.state.seed
        arrays, expected = arrays_of_state(ours.state), arrays_of_state(theirs.state)
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name)
        np.testing.assert_array_equal(ours.predictions, theirs.predictions)

    return compare

"""The block: its patches, their removal, and its threads and networks."""

import inspect
import random
import re
import threading
from dataclasses import replace

import joblib
import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from modules import OneLayer
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Callback, Checkpoint
from torch import nn
from torch.utils.data import DataLoader

from sk_tune import GridSearchCV, MLPClassifier, NetClassifier, engine, fleet
from sk_tune._adoption import adopter
from sk_tune._backend import FleetBackend, FleetReport
from sk_tune._training import one_thread
from sk_tune.exceptions import SkTuneWarning

X, Y = load_iris(return_X_y=True)
Y = Y.astype(np.int64)
FIT, GET_ITERATOR = NeuralNet.fit, NeuralNet.get_iterator


class Module(OneLayer):
    """A network that seeds torch itself."""

    def __init__(self):
        torch.manual_seed(3)
        super().__init__(4, 3)
        self.double()


def _net(**params):
    own = {"hidden_layer_sizes": (4,), "max_epochs": 2, "dtype": "float64"}
    return MLPClassifier(**{**own, "random_state": 0, **params})


def _skorch(**params):
    own = {"criterion": nn.CrossEntropyLoss, "max_epochs": 2, "verbose": 0}
    return NeuralNetClassifier(Module, **{**own, **params})


def _assert_nothing_is_patched():
    assert NeuralNet.fit is FIT
    assert NeuralNet.get_iterator is GET_ITERATOR
    assert not hasattr(NeuralNet.fit, "__wrapped__")
    assert "fit" not in vars(torch.nn.Module)
    assert adopter() is None
    assert not isinstance(get_active_backend()[0], FleetBackend)
    assert "fleet" not in joblib.parallel.BACKENDS


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_patched_after_the_block(error):
    """However the block ends, joblib and skorch are restored."""
    inside = None
    try:
        with fleet(n_jobs=1) as report:
            inside = get_active_backend()[0], NeuralNet.fit
            if error is not None:
                raise error
    except BaseException as raised:
        if type(raised) is not error:
            raise

    assert isinstance(inside[0], FleetBackend)
    assert inside[1] is not FIT
    assert isinstance(report, FleetReport)
    _assert_nothing_is_patched()


def test_nothing_is_patched_after_an_error_in_a_task():
    """A task that fails ends the block like any error."""

    def fail():
        raise KeyError("no")

    with pytest.raises(KeyError), fleet(n_jobs=1):
        Parallel()(delayed(fail)() for _ in range(2))

    _assert_nothing_is_patched()


def test_a_backend_that_the_user_chose_is_back_after_the_block():
    """The block ends with the configuration that it found."""
    with joblib.parallel_config("threading", n_jobs=2):
        with fleet(n_jobs=1):
            pass
        backend, n_jobs = get_active_backend()

    assert type(backend).__name__ == "ThreadingBackend"
    assert n_jobs == 2


def test_transformers_share_their_rows_among_few_workers():
    """However tasks are collected, distances are not computed row by row."""
    n_workers = set()
    note = FunctionTransformer(lambda X: n_workers.add(joblib.effective_n_jobs(None)) or X)
    model = make_pipeline(note, GaussianNB())

    GridSearchCV(model, {"gaussiannb__var_smoothing": [1e-9, 1e-3]}, cv=2).fit(X, Y)
    assert n_workers == {1}
    with fleet():
        cross_val_score(model, X, Y, cv=2)
    assert 1 < max(n_workers) < 100


def test_nested_blocks():
    """The inner block trains its own networks, and the outer block continues after it."""
    expected = cross_val_score(_net(), X, Y, cv=2)

    with fleet(n_jobs=1) as outer:
        with fleet(n_jobs=1) as inner:
            first = cross_val_score(_net(), X, Y, cv=2)
        assert (outer.n_adopted, inner.n_adopted) == (0, 2)
        second = cross_val_score(_skorch(), X, Y, cv=2)
        third = cross_val_score(_net(), X, Y, cv=2)

    assert (outer.n_adopted, inner.n_adopted) == (4, 2)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(third, expected)
    np.testing.assert_array_equal(second, cross_val_score(_skorch(), X, Y, cv=2))
    _assert_nothing_is_patched()


def _score_in_block(net):
    with fleet(n_jobs=1) as report:
        return cross_val_score(net, X, Y, cv=2), report.n_adopted


def test_a_block_inside_a_task():
    """A task that opens its own block has the same result as alone."""
    expected = cross_val_score(_net(), X, Y, cv=2)

    with fleet(n_jobs=1):
        results = Parallel()(delayed(_score_in_block)(_net()) for _ in range(2))

    for scores, _ in results:
        np.testing.assert_array_equal(scores, expected)
    _assert_nothing_is_patched()


def _in_thread(function):
    """Start a function in a thread; return the thread and the list of its results."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    return thread, results


@pytest.mark.parametrize("net", [_net(), _skorch()], ids=["sk_tune", "skorch"])
def test_a_thread_outside_the_block_is_left_alone(net):
    """While one thread is in a block, another one's networks train by themselves."""
    expected = cross_val_score(net, X, Y, cv=2)

    with fleet(n_jobs=1) as report:
        thread, others = _in_thread(
            lambda: (cross_val_score(net, X, Y, cv=2), type(get_active_backend()[0]))
        )
        thread.join()
        before = report.n_requested, report.n_adopted, report.n_trained_again
        own = cross_val_score(net, X, Y, cv=2)

    assert before == (0, 0, 0)
    assert report.n_adopted == 2
    ((scores, backend),) = others
    assert backend is not FleetBackend
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(own, expected)


class _NoteThreads(Callback):
    """Notes torch's number of threads in each epoch."""

    def on_epoch_begin(self, net, **kwargs):
        net.history.record("n_threads", torch.get_num_threads())


@pytest.mark.usefixtures("two_threads")
def test_a_net_in_another_thread_runs_skorchs_methods():
    """Its loader and its number of torch threads are skorch's, also in a new thread."""
    net = _skorch(callbacks=[("note", _NoteThreads())], train_split=None)

    def fit():
        fitted = clone(net).fit(X, Y)
        loader = fitted.get_iterator(fitted.get_dataset(X), training=False)
        return fitted.history[:, "n_threads"], type(loader), fitted.predict_proba(X)

    expected = fit()
    with fleet(n_jobs=1), one_thread():
        thread, others = _in_thread(fit)
        thread.join()
        own = fit()

    assert expected[:2] == others[0][:2] == ([2, 2], DataLoader)
    assert (own[0], own[1] is DataLoader) == ([1, 1], False)
    for _, _, predictions in (*others, own):
        np.testing.assert_array_equal(predictions, expected[2])


@pytest.mark.parametrize(
    ("of_block", "of_call", "of_context", "expected"),
    [
        (None, None, None, 1),
        (None, 2, None, 2),
        (None, None, 3, 3),
        (None, 2, 3, 2),
        (3, 2, None, 3),
    ],
)
def test_workers_of_a_block(of_block, of_call, of_context, expected, monkeypatch):
    """The block's own number has priority, then the call's, then joblib's context."""
    numbers = []

    def note(fits, n_jobs=None, **options):
        numbers.append(joblib.effective_n_jobs(n_jobs))
        return engine.train(fits, n_jobs=1, **options)

    monkeypatch.setattr("sk_tune._backend._session.train", note)
    numbers_of = {None: 1, -1: 8}
    effective = "joblib.parallel.LokyBackend.effective_n_jobs"
    monkeypatch.setattr(effective, lambda _, n_jobs: numbers_of.get(n_jobs, n_jobs))
    options = {} if of_context is None else {"n_jobs": of_context}
    with joblib.parallel_config("loky", **options), fleet(n_jobs=of_block) as report:
        cross_val_score(_net(), X, Y, cv=2, n_jobs=of_call)

    assert report.n_adopted == 2
    assert numbers == [expected]


def test_two_threads_in_two_blocks_do_not_mix():
    """Each has its own trainings and counts, though they overlap."""
    barrier = threading.Barrier(2, timeout=60)
    nets = {"plain": _skorch(), "own": _net()}
    expected = {name: cross_val_score(net, X, Y, cv=2) for name, net in nets.items()}

    def run(name, n_folds):
        with fleet(n_jobs=1) as report:
            barrier.wait()
            scores = cross_val_score(nets[name], X, Y, cv=2)
            more = cross_val_score(nets[name], X, Y, cv=n_folds)
            barrier.wait()
        return name, scores, len(more), report.n_adopted

    started = [_in_thread(lambda: run("plain", 3)), _in_thread(lambda: run("own", 4))]
    for thread, _ in started:
        thread.join(timeout=120)

    for (name, scores, n_more, n_adopted), n_folds in zip(
        (results[0] for _, results in started), (3, 4), strict=True
    ):
        np.testing.assert_array_equal(scores, expected[name])
        assert (n_more, n_adopted) == (n_folds, 2 + n_folds)
    _assert_nothing_is_patched()


def test_a_block_that_ends_before_the_other_threads_leaves_that_patched():
    """The patch goes with the last block."""
    inside, leave = threading.Event(), threading.Event()

    def run():
        with fleet(n_jobs=1):
            inside.set()
            leave.wait(timeout=60)

    with fleet(n_jobs=1):
        thread, _ = _in_thread(run)
        inside.wait(timeout=60)
    assert NeuralNet.fit is not FIT
    leave.set()
    thread.join(timeout=60)

    _assert_nothing_is_patched()


def test_networks_outside_of_tasks_train_as_usual():
    """A plain ``fit`` in the block is not recorded."""
    expected = _net().fit(X, Y).predict_proba(X), _skorch().fit(X, Y).predict_proba(X)

    with fleet(n_jobs=1) as report:
        own = _net().fit(X, Y).predict_proba(X), _skorch().fit(X, Y).predict_proba(X)

    np.testing.assert_array_equal(own[0], expected[0])
    np.testing.assert_array_equal(own[1], expected[1])
    assert report == FleetReport()


@pytest.mark.parametrize("net", [NeuralNet, NeuralNetClassifier, NeuralNetRegressor])
def test_the_patch_looks_like_fit(net):
    """Signature, name and documentation equal skorch's."""
    before = inspect.signature(net.fit), net.fit.__doc__, net.fit.__name__

    with fleet(n_jobs=1):
        inside = inspect.signature(net.fit), net.fit.__doc__, net.fit.__name__

    assert inside == before


def test_a_net_that_no_fleet_can_carry_trains_as_usual(tmp_path):
    """A callback that is unknown runs as often as without the block, in the task itself."""
    net = _skorch(callbacks=[Checkpoint(dirname=str(tmp_path))])
    expected = cross_val_score(net, X, Y, cv=2)

    with fleet(n_jobs=1) as report, pytest.warns(SkTuneWarning, match="alone"):
        scores = cross_val_score(net, X, Y, cv=2)

    np.testing.assert_array_equal(scores, expected)
    assert report.n_adopted == 0
    assert report.alone_reasons == {"it has callbacks (Checkpoint)": 2}
    assert (tmp_path / "params.pt").exists()


class _TwoModules(NeuralNetClassifier):
    """A net without the attribute ``module_``."""

    def initialize_module(self):
        self.first_, self.second_ = nn.Linear(4, 5), nn.Linear(5, 3)
        return self

    def infer(self, x, **_):
        return self.second_(self.first_(x))


@pytest.mark.parametrize(
    "data", [X.astype(np.float32), csr_matrix(X, dtype=np.float32)], ids=["array", "sparse"]
)
def test_nets_of_another_make_train_as_usual(data):
    """A net of two modules; whole sparse tables as batches."""
    own = {"batch_size": -1, "train_split": None, "max_epochs": 2, "verbose": 0}
    own["criterion"] = nn.CrossEntropyLoss
    linear = {"module__in_features": 4, "module__out_features": 3}
    nets = [_TwoModules(Module, **own), NeuralNetClassifier(nn.Linear, **linear, **own)]
    for net in nets:
        torch.manual_seed(0)
        expected = net.fit(data, Y).predict_proba(data)
        torch.manual_seed(0)
        with fleet(n_jobs=1):
            found = net.fit(data, Y).predict_proba(data)
        np.testing.assert_array_equal(found, expected)


def _progress_by_object(seen):
    class Bar:
        def __init__(self):
            self.lock = threading.Lock()

        def __call__(self, progress):
            with self.lock:
                seen.append(progress)

    return Bar()


@pytest.mark.parametrize(
    "make",
    [
        lambda seen: lambda progress: seen.append(progress),
        lambda seen: seen.append,
        pytest.param(_progress_by_object),
    ],
    ids=["function", "method", "object with a lock"],
)
def test_progress_is_reported(make):
    """Any callable gets trainings in the order in which they end."""
    seen = []

    with fleet(n_jobs=1, progress=make(seen)) as report:
        cross_val_score(_net(), X, Y, cv=3)

    assert report.n_adopted == 3
    assert seen[-1].n_fits == seen[-1].n_fits_done == 3


def test_a_memory_limit_changes_no_result():
    """With little memory networks are trained in smaller shards."""
    expected = cross_val_score(_net(), X, Y, cv=4)

    with fleet(n_jobs=1, memory_limit=2e5) as report:
        scores = cross_val_score(_net(), X, Y, cv=4)

    np.testing.assert_array_equal(scores, expected)
    assert report.n_adopted == 4


def test_monitor_samples_change_no_result():
    """Networks are scored on the samples of ``monitor``, and train as without."""
    asked = []

    def monitor(X, y, sample_weight):
        asked.append((len(X), len(y), sample_weight))
        return np.arange(10)

    def fit():
        return cross_validate(_net(), X, Y, cv=2, return_estimator=True)

    expected = fit()
    with fleet(n_jobs=1, monitor=monitor):
        found = fit()

    np.testing.assert_array_equal(found["test_score"], expected["test_score"])
    assert asked == [(len(X) // 2, len(X) // 2, None)] * 2
    for estimator, (train, _) in zip(
        found["estimator"], StratifiedKFold(2).split(X, Y), strict=True
    ):
        rows = train[:10]
        score = estimator.score(X[rows], Y[rows])
        assert estimator.history_[-1, "monitor_score"] == pytest.approx(score)
        assert "monitor_loss" in estimator.history_[0]


def test_options_have_names():
    """They are given by name only."""
    with pytest.raises(TypeError), fleet(1):
        pass


# --- State beside the weights


class Counter:
    """An object of a module that counts."""

    step = 0


class Stateful(OneLayer):
    """Halves its outputs in the first steps; its counter is not a weight."""

    def __init__(self, n_features=4, n_outputs=3, kind="object"):
        torch.manual_seed(3)
        super().__init__(n_features, n_outputs)
        self.kind = kind
        self.register_buffer("moved", torch.zeros(()), persistent=False)
        self.counter, self.n_steps, self.seen = Counter(), 0, np.zeros(1)
        self.random, self.python = np.random.RandomState(0), random.Random(0)
        self.generator, self.counts = torch.Generator().manual_seed(0), {"step": [0]}
        self.last = None
        # Takes no copy; the network counts all the same.
        self.lock = threading.Lock() if kind == "lock" else None

    def factor(self, x):
        """Return the factor of the outputs after one more step."""
        kind, draws = self.kind, self.training
        if draws:
            self.moved += 1 if kind == "buffer" else 0
            self.counter.step += kind == "object"
            self.n_steps += kind in {"number", "lock"}
            self.seen += kind == "array"
            self.counts["step"][0] += kind == "dict"
        if kind == "result":
            before, self.last = self.last, x.mean()
            return 1.0 if before is None else 1.0 + before.detach()
        if draws and kind == "numpy":
            return self.random.rand()
        if draws and kind == "python":
            return self.python.random()
        if draws and kind == "torch":
            return torch.rand((), generator=self.generator)
        n = self.moved + self.counter.step + self.n_steps + self.seen[0]
        return 1.0 if n + self.counts["step"][0] > 7 else 0.5

    def forward(self, x):
        return super().forward(x) * self.factor(x)


_KINDS = {
    "skorch": ("object", "number", "array", "numpy", "torch"),
    "sk_tune": ("object", "buffer", "lock", "dict", "python", "result"),
}


@pytest.mark.filterwarnings("ignore:.*alone")
@pytest.mark.parametrize(
    ("kind", "make"), [(kind, make) for make, kinds in _KINDS.items() for kind in kinds]
)
def test_state_next_to_the_weights_is_adopted(kind, make):
    """Scores, predictions and further epochs are the same as outside of the block."""
    own = {"module": Stateful, "module__kind": kind, "max_epochs": 3, "batch_size": 32}
    if make == "sk_tune":
        net = NetClassifier(**own, lr_schedule="constant", random_state=0)
    else:
        net = NeuralNetClassifier(**own, criterion=nn.CrossEntropyLoss, verbose=0)
    data = X.astype(np.float32), Y

    def results():
        found = cross_validate(
            net, *data, cv=2, scoring="neg_log_loss", return_estimator=True
        )
        before = [e.predict_proba(data[0]) for e in found["estimator"]]
        further = [e.partial_fit(*data).predict_proba(data[0]) for e in found["estimator"]]
        return [found["test_score"], *before, *further]

    outside = results()
    with fleet(n_jobs=1) as report:
        inside = results()

    assert report.n_adopted == 2
    assert list(report.alone_reasons.values()) == [2]
    (reason,) = report.alone_reasons
    assert re.search("changes its state when it is called|cannot pickle", reason)
    for own, other in zip(inside, outside, strict=True):
        np.testing.assert_array_equal(own, other)


class Annealed(nn.CrossEntropyLoss):
    """A loss that falls with its calls, and trains a factor of its own."""

    def __init__(self, *, counts=True):
        super().__init__()
        self.n_calls, self.counts = 0, counts
        self.factor = nn.Parameter(torch.ones(()), requires_grad=not counts)

    def forward(self, z, target):
        self.n_calls += self.training and self.counts
        return super().forward(z * self.factor, target) / (1 + 0.5 * self.n_calls)


@pytest.mark.filterwarnings("ignore:.*alone")
@pytest.mark.parametrize("counts", [True, False])
def test_the_state_of_a_criterion_is_adopted(counts):
    """A criterion that counts or trains changes the next epochs, inside as outside."""
    net = _skorch(criterion=Annealed, criterion__counts=counts, lr=0.1, max_epochs=3)

    def results():
        found = cross_validate(net, X, Y, cv=2, return_estimator=True)["estimator"]
        return [
            (e.predict_proba(X), e.partial_fit(X, Y).predict_proba(X), e.criterion_)
            for e in found
        ]

    outside = results()
    with fleet(n_jobs=1) as report:
        inside = results()

    assert report.n_adopted == 2
    for (*own, criterion), (*other, twin) in zip(inside, outside, strict=True):
        np.testing.assert_array_equal(own, other)
        assert criterion.n_calls == twin.n_calls
        assert torch.equal(criterion.factor, twin.factor)


@pytest.mark.filterwarnings("ignore:.*alone")
def test_training_goes_on_with_state_beside_the_weights(tmp_path):
    """3 and 2 epochs are 5; a store, which holds arrays, says that it keeps no such fit."""
    net = NetClassifier(Stateful, lr_schedule="constant", batch_size=32, random_state=0)
    fit = engine.Fit(estimator=net, X=X, y=Y, monitor=np.arange(20))
    (whole,) = engine.train([replace(fit, n_epochs=5)])

    with pytest.warns(SkTuneWarning, match="not kept in it: Stateful has state outside"):
        (first,) = engine.train([replace(fit, n_epochs=3)], store=tmp_path / "fits.db")
    (second,) = engine.train([replace(fit, n_epochs=2, state=first.state)])

    np.testing.assert_array_equal(second.predictions, whole.predictions)
    counters = [t.state.modules["module_"].counter.step for t in (first, second, whole)]
    assert counters == [15, 25, 25]


def test_it_is_a_table_of_counts():
    """A line for each count, then times, paths with their reasons, and a remedy."""
    report = FleetReport(
        n_requested=7,
        n_drawn_otherwise=2,
        alone_reasons={"of a reason": 3},
        ways={"by the kernel": 4},
    )

    lines = [" ".join(line.split()) for line in str(report).splitlines()]

    assert {"requested 7", "with other random numbers 2", "alone 3"} <= set(lines)
    ways = ["4 trained by the kernel", "3 trained alone, because of a reason"]
    assert lines[-3:-1] == ways
    assert lines[-1].startswith("The kernel is fastest. It trains MLPs")
    assert "fastest" not in str(FleetReport(n_requested=4, ways={"by the kernel": 4}))

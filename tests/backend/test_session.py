"""Record, train, replay: number of trainings, and counts of the report."""

import copy
import inspect
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from modules import Decay, OneLayer
from sklearn.datasets import load_iris
from sklearn.ensemble import StackingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from sk_tune import MLPClassifier, NetClassifier, fleet
from sk_tune._adoption import FitRequested, adoption
from sk_tune._backend import Recorder, _session, _task_copy
from sk_tune._backend._session import Session
from sk_tune._training import _one_thread
from sk_tune.exceptions import TrainedAloneWarning

X, Y = load_iris(return_X_y=True)


def _net(**params):
    own = {"hidden_layer_sizes": (4,), "max_epochs": 2, "dtype": "float64"}
    return MLPClassifier(**{**own, "random_state": 0, **params})


def _fit(net):
    return net.fit(X, Y).predict_proba(X)


@pytest.fixture
def session():
    """A session in this process."""
    return Session(n_jobs=1)


def _replay(session, tasks):
    results = []
    for task, replayer in zip(tasks, session.prepare(tasks), strict=True):
        with adoption(replayer):
            results.append(task())
    return results


# --- What is counted


def test_unsupported_trainings_are_counted_with_the_reason():
    """The engine trains them alone; they are adopted as usual."""
    net = _net(verbose=1)
    expected = cross_val_score(net, X, Y, cv=2)

    with fleet(n_jobs=1) as report, pytest.warns(TrainedAloneWarning, match="alone"):
        scores = cross_val_score(net, X, Y, cv=2)

    np.testing.assert_allclose(scores, expected, atol=1e-8)
    assert report.n_in_fleets == 0
    assert sum(report.alone_reasons.values()) == report.n_requested == report.n_adopted == 2


@pytest.mark.filterwarnings("ignore::sk_tune.exceptions.TrainedAloneWarning")
def test_a_users_callbacks_keep_their_attributes():
    """They run on the estimator's own objects, and partial_fit goes on with these."""

    def run():
        net = _net(callbacks=[Decay()], lr_schedule="constant", max_epochs=3)
        net.fit(X, Y).partial_fit(X, Y, n_epochs=2)
        return net.net_.callbacks_[-1][1].n_epochs_, net.predict_proba(X)

    expected_epochs, expected = run()
    with fleet(n_jobs=1):
        ((n_epochs, proba),) = Parallel()(delayed(run)() for _ in range(1))

    assert n_epochs == expected_epochs == 5
    np.testing.assert_array_equal(proba, expected)


class Counting(Callback):
    """A callback of a plain skorch net that counts epochs of all its copies."""

    n_epochs = 0

    def on_epoch_end(self, net, **kwargs):
        Counting.n_epochs += 1


def _skorch(**params):
    own = {"criterion": nn.CrossEntropyLoss, "max_epochs": 2, "verbose": 0}
    return NeuralNetClassifier(
        nn.Linear, module__in_features=4, module__out_features=3, **{**own, **params}
    )


_X32, _Y64 = X.astype(np.float32), Y.astype(np.int64)


def test_an_unsupported_skorch_net_trains_once_and_has_a_reason():
    """It does not train during recording, which would discard the result."""
    net = _skorch(callbacks=[("counting", Counting())])
    Counting.n_epochs = 0

    with (
        fleet(n_jobs=1) as report,
        pytest.warns(TrainedAloneWarning, match="2 networks.*alone"),
    ):
        cross_val_score(net, _X32, _Y64, cv=2)

    assert Counting.n_epochs == 2 * 2
    assert report.alone_reasons == {"it has callbacks (Counting)": 2}
    assert report.n_requested == 2
    assert report.n_adopted == report.n_trained_again == 0


@pytest.mark.parametrize("alone_first", [True, False])
def test_networks_next_to_an_unsupported_network_train_in_a_fleet(alone_first):
    """In a stack, this includes the second stage."""
    nets = [("alone", _skorch(callbacks=[Counting()])), ("net", _net())]
    final = _net(random_state=1)
    stack = StackingClassifier(nets if alone_first else nets[::-1], final, cv=2)

    with fleet(n_jobs=1) as report, pytest.warns(TrainedAloneWarning, match="3 networks"):
        Parallel()(delayed(stack.fit)(_X32, _Y64) for _ in range(1))

    # One fit and two folds of each; the last network is trained on predictions of all.
    assert sum(report.alone_reasons.values()) == 3
    assert report.n_adopted >= 3
    assert report.n_adopted + report.n_trained_again == 4


def _broken(*args, **kwargs):
    raise RuntimeError("a new release has other names")


def test_an_error_in_recording_is_reported(monkeypatch):
    """Also if scikit-learn catches it: its text is the reason in report and warning."""
    monkeypatch.setattr(_task_copy._QuietContext, "call_on_fit_task_begin", _broken)
    reason = "RuntimeError: a new release has other names"

    with (
        fleet(n_jobs=1) as report,
        pytest.warns(TrainedAloneWarning, match=reason) as caught,
    ):
        GridSearchCV(_net(), {"l1": [0.0, 1e-3]}, cv=3, refit=False).fit(X, Y)

    assert len(caught) == 1
    assert report.alone_reasons == {f"its task failed when a copy of it ran ({reason})": 6}
    assert (report.n_requested, report.n_in_fleets, report.n_trained_again) == (6, 0, 6)


def _fit_and_fail(seed, message):
    _net(random_state=seed).fit(X, Y)
    raise RuntimeError(message)


@pytest.mark.parametrize("is_same", [True, False])
def test_an_error_that_the_task_raises_is_not_reported_again(monkeypatch, is_same):
    """It is reported if recording failed with a different error."""
    monkeypatch.setattr(Recorder, "__call__", _broken)
    own = "a new release has other names" if is_same else "another error"
    expected = (
        nullcontext() if is_same else pytest.warns(TrainedAloneWarning, match="new release")
    )

    with fleet(n_jobs=1) as report, expected, pytest.raises(RuntimeError, match=own):
        Parallel()(delayed(_fit_and_fail)(0, own) for _ in range(1))

    assert report.n_trained_again == 1
    assert sum(report.alone_reasons.values()) == (0 if is_same else 1)


def test_a_warning_points_at_the_line_of_the_user():
    """Not at a line of joblib or scikit-learn, which run the task."""
    net = _skorch(callbacks=[Counting()])
    line = inspect.currentframe().f_lineno + 2
    with fleet(n_jobs=1), pytest.warns(TrainedAloneWarning, match="alone") as caught:
        cross_val_score(net, _X32, _Y64, cv=2)

    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]


def _of_sizes(*sizes):
    return [
        partial(_fit, NetClassifier(Sized, module__size=n, max_epochs=1, random_state=i))
        for i, n in enumerate(sizes)
    ]


class Sized(nn.Sequential):
    """A network with a size that depends on its parameters."""

    def __init__(self, n_features, n_outputs, size):
        first, last = nn.Linear(n_features, size), nn.Linear(size, n_outputs)
        super().__init__(first, nn.ReLU(), last)


@pytest.mark.parametrize(
    ("tasks", "n_fleets"),
    [
        ([partial(_fit, _net(random_state=i, l1=i / 100)) for i in range(3)], 1),
        ([partial(_fit, _net(activation=a)) for a in ("relu", "tanh", "relu")], 2),
        (_of_sizes(3, 4, 3), 2),
        ([partial(_fit, _net(verbose=1))], 0),
    ],
    ids=["numbers", "activations", "sizes", "alone"],
)
@pytest.mark.filterwarnings("ignore:.*alone")
def test_networks_of_one_kind_are_one_fleet(session, tasks, n_fleets):
    """Numbers may differ in a fleet, layers may not; fits trained alone are not counted."""
    _replay(session, tasks)

    assert session.report.n_fleets == n_fleets


# --- How replayed tasks compute


class _ThreadsOfLayer(OneLayer):
    """Notes torch's number of threads in each prediction."""

    seen = []  # noqa: RUF012 - shared by all copies

    def forward(self, x):
        if not self.training:
            self.seen.append(torch.get_num_threads())
        return super().forward(x)


@pytest.fixture
def _three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def _threads_around_predict():
    net = NeuralNetClassifier(
        _ThreadsOfLayer, module__n_features=4, module__n_outputs=3, max_epochs=1, verbose=0
    )
    net.set_params(criterion=nn.CrossEntropyLoss, train_split=None)
    net.fit(X.astype(np.float32), Y)
    before = torch.get_num_threads()
    _ThreadsOfLayer.seen.clear()
    net.predict(X.astype(np.float32))
    return before, set(_ThreadsOfLayer.seen), torch.get_num_threads()


@pytest.mark.usefixtures("_three_threads")
@pytest.mark.parametrize(("most", "expected"), [(None, 1), (10.0, 3)])
def test_small_skorch_nets_predict_in_one_thread(most, expected, monkeypatch):
    """Larger nets and the task's own code use all threads."""
    if most is not None:
        monkeypatch.setattr(_one_thread, "_SMALL", most)

    with fleet(n_jobs=1):
        results = Parallel()(delayed(_threads_around_predict)() for _ in range(2))

    assert results == [(3, {expected}, 3)] * 2


# --- What is trained once


def test_a_second_call_uses_the_trainings_of_the_first():
    """Later calls of joblib in the block train new requests only."""
    with fleet(n_jobs=1) as report:
        first = cross_val_score(_net(), X, Y, cv=3)
        second = cross_val_score(_net(), X, Y, cv=3)
        assert report.n_requested == 3
        GridSearchCV(_net(), {"l1": [0.0, 1e-3]}, cv=3, refit=False).fit(X, Y)

    np.testing.assert_array_equal(first, second)
    assert report.n_adopted == 3 + 3 + 6
    assert report.n_requested == 3 + 3


def test_an_adopted_network_owns_its_weights(session):
    """Further training of one of two equal networks does not change the other network."""

    def fitted():
        return _net(lr_schedule="constant").fit(X, Y)

    first, second = _replay(session, [fitted, fitted])
    before = second.predict_proba(X)
    first.partial_fit(X, Y)

    np.testing.assert_array_equal(second.predict_proba(X), before)
    np.testing.assert_array_equal(_replay(session, [fitted])[0].predict_proba(X), before)


def test_data_that_change_between_calls_are_other_data():
    """After X was changed in place, a call trains on the changed X."""
    data = X.copy()
    with fleet(n_jobs=1) as report:
        cross_val_score(_net(), data, Y, cv=2)
        data[:] = data[:, ::-1].copy()
        inside = cross_val_score(_net(), data, Y, cv=2)

    assert report.n_requested == 4
    np.testing.assert_array_equal(inside, cross_val_score(_net(), data, Y, cv=2))


def _fit_and_spoil(data):
    proba = _net().fit(data, Y).predict_proba(X)
    data[:] = 0
    return proba


@pytest.mark.parametrize(
    "make_task",
    [lambda data: partial(_fit_and_spoil, data), lambda data: lambda: _fit_and_spoil(data)],
    ids=["argument", "closure"],
)
def test_a_task_that_changes_its_data_after_the_fit(session, make_task):
    """Its network is trained on the original data."""
    data = [X.copy(), X.copy()]

    results = _replay(session, [make_task(part) for part in data])

    assert session.report.n_adopted == 2
    for part, result in zip(data, results, strict=True):
        assert not part.any()
        np.testing.assert_allclose(result, _fit(_net()), atol=1e-9)


# --- Rungs


@pytest.mark.parametrize(
    ("params", "epochs", "n_continued"),
    [
        ({}, (1, 3, 4), 2),
        ({"dropout": 0.3, "optimizer": "sgd"}, (1, 3, 4), 2),
        ({"lr_schedule": "cosine"}, (1, 3, 4), 0),
        ({"random_state": None}, (1, 3, 4), 0),
        # No training is cut.
        ({}, (4, 2), 0),
    ],
    ids=["constant", "dropout", "cosine", "no seed", "shorter ones after longer ones"],
)
def test_longer_fits_continue_shorter_fits(session, params, epochs, n_continued):
    """If that is exact: with a constant rate, a seed, and the same data and parameters."""
    params = {"lr_schedule": "constant", **params}
    for n_epochs in epochs:
        (inside,) = _replay(
            session, [lambda n=n_epochs: _fit(_net(max_epochs=n, **params))]
        )
        if params.get("random_state", 0) is not None:
            outside = _fit(_net(max_epochs=n_epochs, **params))
            np.testing.assert_allclose(inside, outside, atol=1e-8)

    assert session.report.n_continued == n_continued
    assert session.report.n_adopted == len(epochs)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_fit_whose_callbacks_ran_in_its_own_loop_is_not_continued(session):
    """Its callbacks would start again; the longer fit starts again instead."""
    stop = EarlyStopping("train_loss", patience=1, threshold=0.05)
    # It trains alone.
    params = {"lr_schedule": "constant", "callbacks": [stop], "verbose": 1}
    for n_epochs in (2, 5, 8):
        make = lambda n=n_epochs: _net(max_epochs=n, **params).fit(X, Y)
        (inside,) = _replay(session, [make])

        assert inside.n_epochs_ == make().n_epochs_


def test_early_stopping_goes_on_to_the_same_epoch(session):
    """A fit that stopped early in a longer rung also stops there without rungs."""
    params = {"lr_schedule": "constant", "early_stopping": True, "n_iter_no_change": 2}
    params["learning_rate"] = 0.5
    for n_epochs in (2, 6, 12):
        make = lambda n=n_epochs: _net(max_epochs=n, **params).fit(X, Y)
        (inside,) = _replay(session, [make])
        outside = make()

        assert inside.n_epochs_ == outside.n_epochs_
        assert inside.best_epoch_ == outside.best_epoch_
        np.testing.assert_allclose(
            inside.predict_proba(X), outside.predict_proba(X), atol=1e-8
        )


@pytest.mark.parametrize("other", ["data", "seed", "rate"])
def test_other_fits_do_not_continue_each_other(session, other):
    """A longer fit of other data, another seed or another rate starts from scratch."""
    first = _net(lr_schedule="constant")
    params = {"seed": {"random_state": 1}, "rate": {"learning_rate": 0.02}}.get(other, {})
    second = _net(lr_schedule="constant", max_epochs=4, **params)
    data = X[:, ::-1].copy() if other == "data" else X

    _replay(session, [lambda: _fit(first)])
    _replay(session, [lambda: second.fit(data, Y).score(data, Y)])

    assert session.report.n_continued == 0
    assert session.report.n_requested == 2


# --- Recorder


def test_equal_data_of_several_tasks_are_kept_once(session, monkeypatch):
    """Copies of the same rows become one object for the engine."""
    seen = []
    train = _session.train

    def spy(fits, **options):
        seen.extend(fits)
        return train(fits, **options)

    monkeypatch.setattr(_session, "train", spy)

    _replay(session, [lambda i=i: _net(l1=i * 1e-3).fit(X.copy(), Y) for i in range(3)])

    assert len(seen) == 3
    assert len({id(fit.X) for fit in seen}) == 1


# --- Draws of plain nets


def _weights(n_before, n_after):
    """Fit a net between other draws."""
    torch.rand(n_before)
    weights = _skorch().fit(_X32, _Y64).module_.weight.detach().numpy()
    torch.randn(n_after)
    return weights


def test_a_task_that_draws_otherwise_than_the_first_is_counted():
    """The nets after it are trained and adopted all the same."""
    with fleet(n_jobs=1) as report:
        Parallel()(delayed(_weights)(0, n_after) for n_after in (40, 50, 40))

    assert report.n_adopted == 3
    assert report.n_drawn_otherwise == 1


def test_a_recorder_notes_a_copy_of_the_estimator(session):
    """It and its data do not change, and only the first fit of a task is recorded."""
    net, trainings = _net(), []
    before = copy.deepcopy(net.get_params())

    with adoption(Recorder(session, trainings)), pytest.raises(FitRequested):
        net.fit(X, Y)

    (training,) = trainings
    assert training.fit.estimator is not net
    np.testing.assert_array_equal(training.fit.X, X)
    assert training.fit.X.flags.writeable
    assert net.get_params() == before
    assert not hasattr(net, "net_")

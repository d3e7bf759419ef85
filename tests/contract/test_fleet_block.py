"""Contract 6: a ``fleet`` block never changes a result, only when it is computed.

Every caller runs twice on iris or diabetes, without the block and inside it, in float64
and with fixed seeds.  What it returns must agree within 1e-8, and the report must show
that its networks were trained in fleets.
"""

import itertools
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections import deque

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from marks import slow
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFECV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit
from skorch.helper import SliceDict
from torch import nn

from sk_tune import MLPClassifier, MLPRegressor, fleet
from sk_tune.exceptions import SkTuneWarning, TrainingDivergedError

X, Y = load_iris(return_X_y=True)
X, Y = StandardScaler().fit_transform(X), Y.astype(np.int64)
X_REG, Y_REG = load_diabetes(return_X_y=True)
X_REG, Y_REG = X_REG[:150] * 20, (Y_REG[:150] - 150) / 80
CV = StratifiedKFold(3, shuffle=True, random_state=0)


class Module(nn.Module):
    """A small network that seeds torch itself, so that its fits can be repeated."""

    def __init__(self, n_in=4, n_out=3, p=0.1):
        torch.manual_seed(3)
        super().__init__()
        self.hidden = nn.Linear(n_in, 6)
        self.dropout = nn.Dropout(p)
        self.out = nn.Linear(6, n_out)
        self.double()

    def forward(self, x):
        out = self.out(self.dropout(torch.tanh(self.hidden(x))))
        return out.squeeze(-1) if out.shape[-1] == 1 else out


_SMALL = {
    "hidden_layer_sizes": (6,),
    "max_epochs": 2,
    "batch_size": 32,
    "dtype": "float64",
    "random_state": 0,
}


def mlp(**params):
    """Return a classifier of sk_tune."""
    return MLPClassifier(**{**_SMALL, **params})


def mlp_reg(**params):
    """Return a regressor of sk_tune."""
    return MLPRegressor(**{**_SMALL, **params})


_PLAIN = {"max_epochs": 2, "batch_size": 32, "verbose": 0, "iterator_train__shuffle": True}


def skorch(**params):
    """Return a plain skorch classifier."""
    own = {"criterion": nn.CrossEntropyLoss, **_PLAIN, **params}
    return NeuralNetClassifier(own.pop("module", Module), **own)


def skorch_reg(**params):
    """Return a plain skorch net of one output; targets of one dimension are its own."""
    own = {"module__n_in": 10, "module__n_out": 1, "criterion": nn.MSELoss}
    return NeuralNet(Module, **{**own, **_PLAIN, **params})


class Kind:
    """Where callers get their networks from, and how their learning rate is called."""

    def __init__(self, clf, reg, rate):
        self.clf, self.reg, self.rate = clf, reg, rate
        self.rates = {rate: [1e-3, 0.05]}


KINDS = {
    "sk_tune": Kind(mlp, mlp_reg, "learning_rate"),
    "skorch": Kind(skorch, skorch_reg, "lr"),
}


def _scores(search):
    return [search.cv_results_["mean_test_score"], search.cv_results_["std_test_score"]]


def _search(search):
    search.fit(X, Y)
    return [*_scores(search), search.predict_proba(X)]


def _halving(search, *args, **params):
    own = {"resource": "max_epochs", "min_resources": 2, "max_resources": 8, "factor": 2}
    return _search(search(*args, **params, **own, cv=CV))


def _fit_predict(estimator):
    return [estimator.fit(X, Y).predict_proba(X)]


def _validated(kind):
    result = cross_validate(
        kind.clf(), X, Y, cv=CV, return_estimator=True, return_train_score=True
    )
    proba = [net.predict_proba(X) for net in result["estimator"]]
    return [result["test_score"], result["train_score"], *proba]


def _first_weights(net):
    """Importances for RFECV: by the first layer, summed over its units."""
    module = net.net_.module_
    weights = next(p for p in module.parameters() if p.ndim == 2)
    return np.abs(weights.detach().numpy()).sum(axis=0)


def _rfecv():
    chosen = RFECV(mlp(), importance_getter=_first_weights, cv=CV).fit(X, Y)
    return [chosen.cv_results_["mean_test_score"], chosen.ranking_]


def _probabilities(net):
    return net.fit(X, Y).predict_proba(X)


def _loop(kind, **options):
    nets = [kind.clf(**{kind.rate: rate}) for rate in (1e-3, 0.01, 0.05, 0.1)]
    return list(Parallel(**options)(delayed(_probabilities)(net) for net in nets))


def _unordered(kind):
    results = _loop(kind, return_as="generator_unordered")
    return sorted(results, key=lambda proba: proba.sum(axis=0).tolist())


def _stack(kind, **params):
    nets = [("a", kind.clf()), ("b", kind.clf(**{kind.rate: 0.05}))]
    return StackingClassifier([*nets, ("c", LogisticRegression())], cv=3, **params)


def _bayes(kind):
    skopt = pytest.importorskip("skopt")
    search = skopt.BayesSearchCV(
        kind.clf(),
        {kind.rate: (1e-3, 0.1, "log-uniform")},
        n_iter=4,
        n_points=2,
        cv=CV,
        random_state=0,
        refit=False,
    )
    return _scores(search.fit(X, Y))


def _imbalanced(kind):
    pipeline = pytest.importorskip("imblearn.pipeline")
    over = pytest.importorskip("imblearn.over_sampling")
    steps = pipeline.make_pipeline(over.RandomOverSampler(random_state=0), kind.clf())
    return [cross_val_score(steps, X[20:], Y[20:], cv=CV)]


def _permuted(kind):
    score, permuted, p_value = permutation_test_score(
        kind.clf(), X, Y, cv=CV, n_permutations=3, random_state=0
    )
    return [score, permuted, p_value]


# By caller: what it does, and how many networks it fits in tasks of joblib.
CALLERS = {
    "GridSearchCV": (lambda k: _search(GridSearchCV(k.clf(), k.rates, cv=CV)), 6),
    "RandomizedSearchCV": (
        lambda k: _search(
            RandomizedSearchCV(
                k.clf(), {k.rate: np.logspace(-3, -1, 9)}, n_iter=3, cv=CV, random_state=0
            )
        ),
        9,
    ),
    # 2, 4 and 8 epochs for 4, 2 and 1 of the candidates.
    "HalvingGridSearchCV": (
        lambda k: _halving(HalvingGridSearchCV, k.clf(), {k.rate: [1e-3, 0.01, 0.03, 0.1]}),
        (4 + 2 + 1) * 3,
    ),
    "cross_val_score": (lambda k: [cross_val_score(k.clf(), X, Y, cv=CV)], 3),
    "cross_val_score in a pipeline": (
        lambda k: [cross_val_score(make_pipeline(StandardScaler(), k.clf()), X, Y, cv=CV)],
        3,
    ),
    "cross_val_score, regression": (
        lambda k: [
            cross_val_score(
                k.reg(), X_REG, Y_REG, cv=KFold(3), scoring="neg_mean_squared_error"
            )
        ],
        3,
    ),
    "cross_validate": (_validated, 3),
    "cross_val_predict": (
        lambda k: [cross_val_predict(k.clf(), X, Y, cv=CV, method="predict_proba")],
        3,
    ),
    "learning_curve": (
        lambda k: learning_curve(
            k.clf(), X, Y, cv=CV, train_sizes=[30, 90], shuffle=True, random_state=0
        ),
        6,
    ),
    "validation_curve": (
        lambda k: validation_curve(
            k.clf(), X, Y, cv=CV, param_name=k.rate, param_range=[1e-3, 0.05]
        ),
        6,
    ),
    # The score of the labels themselves is not computed by joblib.
    "permutation_test_score": (_permuted, 9),
    "BaggingClassifier": (
        lambda k: _fit_predict(BaggingClassifier(k.clf(), n_estimators=3, random_state=0)),
        3,
    ),
    "BaggingRegressor": (
        lambda k: [
            BaggingRegressor(k.reg(), n_estimators=3, random_state=0)
            .fit(X_REG, Y_REG)
            .predict(X_REG)
        ],
        3,
    ),
    # Both nets on all rows, and on three folds.
    "StackingClassifier": (lambda k: _fit_predict(_stack(k)), 8),
    "VotingClassifier": (
        lambda k: _fit_predict(
            VotingClassifier(
                [("a", k.clf()), ("b", k.clf(**{k.rate: 0.05}))], voting="soft"
            )
        ),
        2,
    ),
    "OneVsRestClassifier": (lambda k: _fit_predict(OneVsRestClassifier(k.clf())), 3),
    "MultiOutputRegressor": (
        lambda k: [
            MultiOutputRegressor(k.reg())
            .fit(X_REG, np.column_stack([Y_REG, Y_REG**2]))
            .predict(X_REG)
        ],
        2,
    ),
    "BayesSearchCV": (_bayes, 12),
    "imbalanced-learn": (_imbalanced, 3),
    "joblib loop": (lambda k: _loop(k), 4),
    "joblib loop, generator": (lambda k: _loop(k, return_as="generator"), 4),
    "joblib loop, unordered": (_unordered, 4),
    # Of each outer fold: two candidates on two inner folds, and the refit.
    "search in cross_val_score": (
        lambda k: [cross_val_score(GridSearchCV(k.clf(), k.rates, cv=2), X, Y, cv=2)],
        2 * (2 * 2 + 1),
    ),
    "stacking in cross_val_score": (
        lambda k: [cross_val_score(_stack(k), X, Y, cv=2)],
        2 * 8,
    ),
    "bagging in a search": (
        lambda k: _scores(
            GridSearchCV(
                BaggingClassifier(k.clf(), n_estimators=2, random_state=0),
                {f"estimator__{k.rate}": [1e-3, 0.05]},
                cv=2,
                refit=False,
            ).fit(X, Y)
        ),
        2 * 2 * 2,
    ),
}


def _same(inside, outside):
    assert len(inside) == len(outside)
    for own, expected in zip(inside, outside, strict=True):
        np.testing.assert_allclose(own, expected, rtol=0, atol=1e-8)


def _seed_globals():
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    torch.manual_seed(0)


def _compared(run, before=_seed_globals):
    """Run something without the block and in it; return the report."""
    before()
    outside = run()
    before()
    with fleet(n_jobs=1) as report:
        inside = run()
    _same(inside, outside)
    return report


def _assert_used(report, n_fits):
    assert report.n_adopted == report.n_in_fleets == report.n_requested == n_fits
    assert report.n_trained_again == 0
    assert report.alone_reasons == {}


# --- Every caller


# Callers do not care where networks come from: each has one kind of them in a quick run.
SLOW = [[c, ["sk_tune", "skorch"][i % 2]] for i, c in enumerate(CALLERS)]


@pytest.mark.parametrize(
    ("caller", "kind"),
    [slow(c, k) if [c, k] in SLOW else (c, k) for c in CALLERS for k in KINDS],
)
def test_a_caller_returns_the_same_as_without_the_block(caller, kind):
    """All results agree within 1e-8, and each network was a row of a fleet."""
    run, n_fits = CALLERS[caller]

    report = _compared(lambda: run(KINDS[kind]))

    _assert_used(report, n_fits)
    assert report.n_continued == 0


def test_features_are_eliminated_as_without_the_block():
    """RFECV fits networks with 4, 3, 2 and 1 features in one task."""
    _assert_used(_compared(_rfecv), 3 * 4)


@pytest.mark.usefixtures("workers_for_little")
@pytest.mark.parametrize("kind", ["sk_tune", slow("skorch")])
def test_two_workers_change_nothing(kind):
    """Networks trained by two processes are the same as without the block."""
    own = KINDS[kind]
    outside = _search(GridSearchCV(own.clf(), own.rates, cv=CV))

    with fleet(n_jobs=2) as report:
        inside = _search(GridSearchCV(own.clf(), own.rates, cv=CV))

    _same(inside, outside)
    _assert_used(report, 6)


def test_halving_goes_on_where_the_last_rung_ended():
    """With a constant rate the second and third rung continue, to equal results."""
    net = mlp(lr_schedule="constant", dropout=0.2)
    grid = {"learning_rate": [1e-3, 0.01, 0.03, 0.1]}

    report = _compared(lambda: _halving(HalvingGridSearchCV, net, grid))

    assert report.n_continued == (2 + 1) * 3
    assert report.n_calls == 3
    _assert_used(report, (4 + 2 + 1) * 3)


# --- What comes before the network, and around it


def _noisy(X):
    return X + 0.1 * np.random.normal(size=X.shape)  # noqa: NPY002


NOISE = FunctionTransformer(_noisy)


class Doubling(FunctionTransformer):
    """Doubles its input in place."""

    def fit(self, X, y=None):
        X *= 2
        return self


@pytest.mark.filterwarnings("ignore:.*alone")
@pytest.mark.parametrize("kind", KINDS)
def test_a_random_transformer_without_a_seed(kind):
    """Noise is drawn as without the block; networks that it affects train as usual."""
    report = _compared(
        lambda: [cross_val_score(make_pipeline(NOISE, KINDS[kind].clf()), X, Y, cv=CV)]
    )

    assert report.n_adopted + report.n_trained_again == 3
    assert report.n_adopted >= 1


def _double_and_fit(data, net):
    data *= 2
    return data.sum(), net.fit(np.asarray(data).copy(), Y).predict_proba(X)[0, 0]


SOURCES = {
    "numpy": lambda: np.random.default_rng(0),
    "RandomState": lambda: np.random.RandomState(0),
    "torch": lambda: torch.Generator().manual_seed(0),
    "python": lambda: random.Random(0),
    "list": lambda: list(range(100)),
    "deque": lambda: deque(range(100)),
}
SOURCE = SOURCES["list"]()


def _next_of(source):
    if isinstance(source, torch.Generator):
        return int(torch.randint(100, (1,), generator=source))
    if isinstance(source, np.random.Generator):
        return int(source.integers(100))
    return source.randint(0, 99) if hasattr(source, "randint") else source.pop()


class DrawsFromModule(ClassifierMixin, BaseEstimator):
    """Fits networks on some of the rows, which it draws beyond its parameters."""

    def __init__(self, n=1):
        self.n = n

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        rows = np.arange(len(X)) % 7 != _next_of(SOURCE) % 7
        own = [mlp(random_state=i) for i in range(self.n)]
        self.nets_ = [net.fit(X[rows], y[rows]) for net in own]
        return self

    def predict_proba(self, X):
        return np.mean([net.predict_proba(X) for net in self.nets_], axis=0)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("source", SOURCES)
def test_what_fits_draw_from_beyond_their_parameters(source, n, monkeypatch):
    """Global objects that fits share give the same numbers as without the block."""

    def run():
        monkeypatch.setattr(sys.modules[__name__], "SOURCE", SOURCES[source]())
        scores = cross_val_score(DrawsFromModule(n), X, Y, cv=CV, scoring="neg_log_loss")
        return [scores, np.array(_next_of(SOURCE))]

    _assert_used(_compared(run), 3 * n)


@pytest.mark.parametrize("n", [1, 2])
def test_what_a_closure_counts(n):
    """Variables around a function have the same values as without the block."""

    def run():
        seed = 0

        def task():
            nonlocal seed
            seed += 1
            nets = [mlp(random_state=10 * seed + i) for i in range(n)]
            return np.stack([_probabilities(net) for net in nets])

        return [*Parallel()(delayed(task)() for _ in range(3)), np.array(seed)]

    _assert_used(_compared(run), 3 * n)


def _own_numbers():
    yield from range(100)


ITERATOR = None


@pytest.mark.parametrize(
    "make",
    [itertools.count, _own_numbers, lambda: map(abs, range(9))],
    ids=["count", "generator", "map"],
)
def test_tasks_with_unrestorable_objects_are_not_recorded(make, monkeypatch):
    """A fit that advances an iterator trains alone, and the report has the reason."""
    own = sys.modules[__name__]

    class Source:
        def pop(self):
            return next(ITERATOR)

    def run():
        monkeypatch.setattr(own, "ITERATOR", make())
        monkeypatch.setattr(own, "SOURCE", Source())
        return [cross_val_score(DrawsFromModule(), X, Y, cv=CV, scoring="neg_log_loss")]

    with pytest.warns(SkTuneWarning, match="3 networks were trained alone.*'ITERATOR'"):
        report = _compared(run)

    (reason,) = report.alone_reasons
    assert "'ITERATOR'" in reason
    assert report.n_requested == report.n_trained_again == 3


def _logged_in(log, seed):
    log.append(seed)
    proba = _probabilities(mlp(random_state=seed))
    log.append(-seed)
    return proba


@pytest.fixture
def warns_always():
    """Let torch repeat warnings that it issues once per process."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


def test_data_of_the_caller_reach_plain_nets_without_a_warning(warns_always):
    """A fit on the caller's own rows does not warn, as without the block."""
    net = VotingClassifier([("a", skorch()), ("b", skorch(lr=0.05))])

    with warnings.catch_warnings(record=True, action="always") as seen:
        net.fit(X, Y)
        n_outside = len(seen)
        with fleet(n_jobs=1):
            net.fit(X, Y)

    assert [str(warning.message) for warning in seen[n_outside:]] == []


def _say_and_fit(seed):
    warnings.warn("careful", UserWarning, stacklevel=1)
    sys.stdout.write(f"fits {seed}\n")
    sys.stderr.write(f"fits {seed}\n")
    logging.getLogger("sk_tune_tests").warning("fits %d", seed)
    return _probabilities(mlp(random_state=seed))


@pytest.mark.parametrize("what", ["warnings", "prints", "errors", "logs"])
def test_output_of_a_task_appears_once(what, capsys, caplog):
    """Warnings, logs and printed lines appear as often as without the block."""
    with warnings.catch_warnings(record=True, action="always") as seen, fleet(n_jobs=1):
        Parallel()(delayed(_say_and_fit)(seed) for seed in range(2))

    output = capsys.readouterr()
    said = {"warnings": len(seen), "prints": output.out.count("fits")}
    said |= {"errors": output.err.count("fits"), "logs": len(caplog.records)}
    assert said[what] == 2


class FitsRolled(MLPClassifier):
    """Fits other labels than it is given."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(X, np.roll(y, 7), sample_weight)


class SkorchFitsRolled(NeuralNetClassifier):
    """A plain net that fits other labels than it is given."""

    def fit(self, X, y, **fit_params):
        return super().fit(X, np.roll(y, 7), **fit_params)


# A net whose fit is its own is trained alone, which is told.
@pytest.mark.filterwarnings("ignore:.*overrides (fit|a training method)")
@pytest.mark.parametrize(
    "net",
    [
        FitsRolled(**_SMALL),
        SkorchFitsRolled(Module, criterion=nn.CrossEntropyLoss, **_PLAIN),
    ],
    ids=["sk_tune", "skorch"],
)
def test_a_subclass_that_overrides_fit(net):
    """It trains on the labels that its own ``fit`` prepares, as without the block."""
    _compared(lambda: [cross_val_predict(net, X, Y, cv=CV, method="predict_proba")])


def test_weights_of_samples_reach_the_networks():
    """Fits that differ in their weights only are different fits."""
    weight = np.linspace(0.1, 2, len(X))

    def run():
        plain = cross_val_score(mlp(), X, Y, cv=CV, scoring="neg_log_loss")
        weighted = cross_val_score(
            mlp(), X, Y, cv=CV, scoring="neg_log_loss", params={"sample_weight": weight}
        )
        assert (plain != weighted).all()
        return [plain, weighted]

    _assert_used(_compared(run), 6)


# --- Random states


def _fold_probabilities(net):
    return [cross_val_predict(net, X, Y, cv=CV, method="predict_proba")]


def _two_unseeded():
    return [_probabilities(mlp(random_state=None)) for _ in range(2)]


def test_networks_without_a_seed_differ():
    """With random_state=None equal fits have different seeds, even within a task."""
    with fleet(n_jobs=1) as report:
        proba = np.concatenate(Parallel()(delayed(_two_unseeded)() for _ in range(2)))

    _assert_used(report, 4)
    for i in range(4):
        assert not np.allclose(proba[i], proba[i - 1])


def _drawn():
    numbers = np.random.random(), random.random(), torch.rand(()).item()  # noqa: NPY002
    return list(numbers)


def _draw_after_fit(net):
    net.fit(X, Y)
    return _drawn()


class Unseeded(Module):
    """Draws its weights from torch's global generator, as modules do."""

    def __init__(self):
        state = torch.get_rng_state()
        super().__init__()
        torch.set_rng_state(state)
        for weights in self.parameters():
            nn.init.normal_(weights, std=0.3)


@pytest.mark.filterwarnings("ignore:.*alone")
@pytest.mark.parametrize("first", ["", "noise"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_of_seeds(kind, first):
    """Each fit advances a RandomState, or torch's seeded generator, once."""

    def run():
        state = {"random_state": np.random.RandomState(3)}
        own = state if kind == "sk_tune" else {"module": Unseeded}
        net = KINDS[kind].clf(**own)
        return _fold_probabilities(make_pipeline(NOISE, net) if first else net)

    report = _compared(run)

    if not first:
        _assert_used(report, 3)


class Free(nn.Sequential):
    """Draws its weights and dropout from torch's global generator, as users' modules do."""

    def __init__(self, width=20, p=0.3):
        first, last = nn.Linear(4, width), nn.Linear(width, 3)
        super().__init__(first, nn.ReLU(), nn.Dropout(p), last)
        self.double()


class Deciding:
    """Has control flow that depends on the data, so it trains alone."""

    def forward(self, x):
        return super().forward(x) * (2.0 if x.sum() > 0 else 1.0)


class Alone(Deciding, Free):
    """Free, alone."""


def _free_search(net, **grid):
    return GridSearchCV(make_pipeline(StandardScaler(), net), grid, cv=CV)


_WIDTHS = {"neuralnetclassifier__module__width": [8, 20]}
_RATES = {"neuralnetclassifier__lr": [1e-3, 0.05]}
FREE = {
    "scores of training too": lambda net: list(
        cross_validate(net, X, Y, cv=CV, return_train_score=True).values()
    )[2:],
    "probabilities": _fold_probabilities,
    "a search": lambda net: _search(_free_search(net, **_RATES)),
    "networks of several sizes": lambda net: _search(_free_search(net, **_WIDTHS)),
    "a search in folds": lambda net: cross_val_score(
        _free_search(net, **_RATES), X, Y, cv=CV
    ),
    "bagging": lambda net: (
        BaggingClassifier(net, 3, random_state=0).fit(X, Y).predict_proba(X)
    ),
}


@pytest.mark.parametrize("caller", FREE)
def test_plain_nets_draw_the_same_as_without_the_block(caller):
    """Weights, batches and dropout use torch's generator, as do later nets."""

    def run():
        told = FREE[caller](skorch(module=Free))
        parts = told if isinstance(told, list) else [told]
        return [*map(np.asarray, parts), torch.rand(3).numpy()]

    report = _compared(run)

    assert report.n_trained_again == report.n_drawn_otherwise == 0
    assert report.n_adopted > 0


class Named(nn.Module):
    """Takes two inputs, one with integers, and draws like other modules."""

    def __init__(self, width=20, p=0.3):
        super().__init__()
        self.vectors = nn.Embedding(3, 2)
        self.layers = Free(width, p)
        self.double()

    def forward(self, numbers, codes):
        return self.layers(torch.cat([numbers, self.vectors(codes).flatten(1)], dim=1))


def test_plain_nets_of_several_inputs_are_the_same_as_without_the_block():
    """Arrays of a SliceDict reach ``forward`` in their types, in a fleet, too."""
    inputs = SliceDict(numbers=X[:, :2], codes=Y[:, np.newaxis] % 2)

    def run():
        search = GridSearchCV(skorch(module=Named), {"lr": [1e-3, 0.05]}, cv=CV)
        search.fit(inputs, Y)
        return [*_scores(search), search.predict_proba(inputs)]

    report = _compared(run)

    assert (report.n_adopted, report.n_in_fleets, report.n_drawn_otherwise) == (6, 6, 0)


@pytest.mark.filterwarnings("ignore:.*trained alone")
@pytest.mark.parametrize(
    "params",
    [
        {"module": Alone},
        {"train_split": None, "batch_size": -1},
        {"iterator_train__shuffle": False, "module__p": 0.0},
    ],
    ids=["alone", "full batches", "no shuffling"],
)
def test_other_plain_nets_draw_the_same_as_without_the_block(params):
    """Also where the engine trains them alone, and with other batches."""
    report = _compared(lambda: _fold_probabilities(skorch(**{"module": Free, **params})))

    assert report.n_adopted == 3
    assert report.n_drawn_otherwise == 0


def _random_halves(dataset, y=None, **kwargs):
    return torch.utils.data.random_split(dataset, [0.5, 0.5])


class FromNumpy(Free):
    """Draws noise from numpy's global generator."""

    def forward(self, x):
        return super().forward(x + np.random.normal())  # noqa: NPY002


@pytest.mark.filterwarnings("ignore:.*trained alone")
@pytest.mark.parametrize(
    ("params", "drawn"),
    [
        ({"train_split": ValidSplit(0.2)}, "numpy"),
        ({"module": FromNumpy}, "numpy"),
        ({"train_split": ValidSplit(0.2, random_state=0)}, ""),
        # From torch's generator.
        ({"train_split": _random_halves}, ""),
    ],
    ids=["split", "module", "split with a seed", "split by torch"],
)
def test_plain_nets_that_draw_from_numpy_train_in_their_order(params, drawn):
    """So numbers of its global generator reach the same nets as without the block."""
    net = skorch(**{"module": Free, **params})

    def run():
        # Sizes train one after the other in fleets, but not in the search.
        grid = {"module__width": [8, 20], "lr": [1e-3, 0.05]}
        search = GridSearchCV(net, grid, cv=CV, scoring="neg_log_loss").fit(X, Y)
        return [*_scores(search), *_drawn()]

    report = _compared(run)

    reason = f"it draws from the global generator of {drawn}"
    assert report.alone_reasons == ({reason: 12} if drawn else {})
    assert (report.n_adopted, report.n_drawn_otherwise) == (0 if drawn else 12, 0)


class Lazy(Free):
    """Draws the weights of a layer when it gets the first samples."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.LazyLinear(6, dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:.*trained alone")
@pytest.mark.parametrize("module", [Lazy, Free])
def test_what_nets_draw_is_foreseen_in_float64_and_for_lazy_layers(module):
    """A number of float64 takes twice the random bits, a lazy layer some more at first."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        report = _compared(lambda: _fold_probabilities(skorch(module=module)))
    finally:
        torch.set_default_dtype(before)

    assert (report.n_adopted, report.n_drawn_otherwise) == (3, 0)


class Projected(Free):
    """Projects its inputs by random numbers that are drawn once and not saved."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.randn(4, 4).double(), persistent=False)

    def forward(self, x):
        return super().forward(torch.sin(x @ self.seen))


class ProjectedAlone(Deciding, Projected):
    """Projected, alone."""


@pytest.mark.parametrize("module", [Free, Projected, ProjectedAlone])
@pytest.mark.filterwarnings("ignore:.*trained alone")
def test_plain_nets_that_draw_otherwise_are_adopted_whole(module):
    """The length of a training is not predicted; unsaved attributes are kept, too."""
    stopping = EarlyStopping(patience=2, threshold=0.9)
    net = skorch(module=module, max_epochs=9, callbacks=[stopping])

    with fleet(n_jobs=1) as report:
        found = cross_validate(net, X, Y, cv=CV, return_estimator=True, return_indices=True)

    assert (report.n_adopted, report.n_drawn_otherwise) == (3, 2)
    assert "with other random numbers" in str(report)
    for own, rows in zip(found["estimator"], found["indices"]["train"], strict=True):
        _, valid = own.get_split_datasets(X[rows], Y[rows])
        samples, labels = (np.stack(part) for part in zip(*valid, strict=True))
        loss = log_loss(labels, own.predict_proba(samples), labels=[0, 1, 2])
        assert own.history[-1]["valid_loss"] == pytest.approx(loss, rel=1e-6)


def _told(net):
    return [net.fit(X, Y).history[:, "epoch"]]


def test_a_plain_net_prints_the_same_as_without_the_block(capsys):
    """The table of the epochs, and why a training ended, in the order of the tasks."""
    stop = EarlyStopping(patience=2, load_best=True)
    net = skorch(max_epochs=9, lr=1e-9, callbacks=[stop], verbose=1)
    printed = []

    def run():
        nets = [clone(net).set_params(lr=rate) for rate in (0.1, 1e-9)]
        epochs = Parallel()(delayed(_told)(own) for own in nets)
        lines = capsys.readouterr().out.splitlines()
        # The last column is the time.
        printed.append([line.rpartition("  ")[0] or line for line in lines])
        return epochs

    assert _compared(run).n_adopted == 2
    assert printed[0] == printed[1]
    assert any("Stopping since valid_loss" in line for line in printed[0])


# --- Fits that are not a plain fit


def _partly(net):
    net.partial_fit(X, Y, classes=[0, 1, 2])
    return net.partial_fit(X, Y).predict_proba(X)


def _fit_on(net):
    net.fit(X, Y)
    return net.partial_fit(X, Y).predict_proba(X)


def _fit_twice(net):
    net.fit(X, Y)
    return net.fit(X, Y).predict_proba(X)


@pytest.mark.parametrize(
    ("task", "params", "n_adopted", "reasons"),
    [
        (_partly, {}, 0, {"partial_fit trains it": 6}),
        (_fit_on, {}, 3, {"partial_fit trains it": 3}),
        (
            *(_fit_twice, {"warm_start": True}, 3),
            {"it continues from an earlier fit (warm_start=True)": 3},
        ),
        (_fit_twice, {}, 6, {}),
    ],
    ids=["partial_fit", "fit then partial_fit", "warm_start", "fit twice"],
)
@pytest.mark.filterwarnings("ignore::sk_tune.exceptions.TrainedAloneWarning")
def test_networks_with_warm_start(task, params, n_adopted, reasons):
    """A first fit is adopted, and its continuation equals that without the block."""
    nets = [mlp(lr_schedule="constant", random_state=i, **params) for i in range(3)]

    report = _compared(lambda: Parallel()(delayed(task)(clone(net)) for net in nets))

    assert report.n_adopted == n_adopted
    assert report.n_trained_again == 0
    assert report.alone_reasons == reasons


class CountingFits(MLPClassifier):
    """A network with its own ``fit``, which counts the calls in a file."""

    path = None

    def _make_net(self, *args):
        with self.path.open("a") as calls:
            calls.write("x")
        return super()._make_net(*args)


@pytest.mark.filterwarnings("ignore::sk_tune.exceptions.TrainedAloneWarning")
@pytest.mark.parametrize("name", ["fit", "partial_fit"])
def test_networks_that_train_in_their_task_train_once(name, tmp_path, monkeypatch):
    """Their task ends in the recording when they are about to train."""
    monkeypatch.setattr(CountingFits, "path", tmp_path / "calls")

    with fleet(n_jobs=1):
        Parallel()(delayed(getattr(CountingFits(**_SMALL), name))(X, Y) for _ in range(2))

    assert CountingFits.path.read_text() == "xx"


class CountingInits(Module):
    """A module that counts its networks in a file."""

    path = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        with self.path.open("a") as calls:
            calls.write("x")


@pytest.mark.filterwarnings("ignore::sk_tune.exceptions.TrainedAloneWarning")
def test_plain_nets_with_partial_fit_train_once(tmp_path, monkeypatch):
    """The report counts the calls that are not part of a fit."""
    monkeypatch.setattr(CountingInits, "path", tmp_path / "calls")

    with fleet(n_jobs=1) as report:
        net = skorch(module=CountingInits)
        Parallel()(delayed(clone(net).partial_fit)(X, Y) for _ in range(2))

    assert CountingInits.path.read_text() == "xx"
    assert report.alone_reasons == {"partial_fit trains it": 2}


def _skorch_on(net):
    net.fit(X, Y)
    torch.manual_seed(5)
    return net.partial_fit(X, Y).predict_proba(X)


@pytest.mark.filterwarnings("ignore::sk_tune.exceptions.TrainedAloneWarning")
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"optimizer": torch.optim.Adam},
        {"optimizer__momentum": 0.9},
        {"callbacks": [("lr", LRScheduler("StepLR", step_size=1, gamma=0.5))]},
        {"callbacks": [("stop", EarlyStopping(patience=2))]},
    ],
    ids=["sgd", "adam", "momentum", "schedule", "early stopping"],
)
def test_plain_nets_with_partial_fit(params):
    """``partial_fit`` after an adopted fit continues as after skorch's own."""
    report = _compared(lambda: _tasks(_skorch_on, [skorch(**params) for _ in range(2)]))

    assert report.n_adopted == 2
    assert report.alone_reasons == {"partial_fit trains it": 2}


def _fitted_skorch(net):
    return net.fit(X, Y)


def _told_by(net):
    callbacks = dict(net.callbacks_)
    (group,) = net.optimizer_.param_groups
    buffers = [s["momentum_buffer"].sum().item() for s in net.optimizer_.state.values()]
    curves = net.history[:, ("train_loss", "valid_loss", "valid_acc", "epoch")]
    rates = group["lr"], group["initial_lr"]
    best = callbacks["stop"].best_epoch_, callbacks["valid_acc"].best_score_
    return [*rates, *best, *np.ravel(curves), *buffers]


def test_attributes_of_a_fitted_plain_net_match_skorch():
    """Attributes that users read after ``fit`` equal skorch's own ``fit``."""
    net = skorch(
        optimizer__momentum=0.9,
        callbacks=[
            ("lr", LRScheduler("StepLR", step_size=1, gamma=0.5)),
            ("stop", EarlyStopping(patience=2)),
        ],
    )

    report = _compared(
        lambda: [
            _told_by(fitted)
            for fitted in Parallel()(
                delayed(_fitted_skorch)(clone(net).set_params(lr=lr)) for lr in (0.01, 0.1)
            )
        ]
    )

    assert report.n_adopted == 2


# --- Failures


def _fail_second(i):
    if i == 2:
        raise KeyError("two")
    return _probabilities(mlp(random_state=i))


def _fit_then_fail(i):
    _probabilities(mlp(random_state=i))
    raise KeyError(i)


@pytest.mark.parametrize(
    ("task", "message", "n_adopted"),
    [(_fail_second, "two", 2), (_fit_then_fail, "0", 1)],
    ids=["before its fit", "after its fit"],
)
def test_an_error_in_a_task_reaches_the_caller(task, message, n_adopted):
    """As it is, the first task's first, as in a loop; the tasks after it are not run."""
    with fleet(n_jobs=1) as report, pytest.raises(KeyError, match=message):
        Parallel()(delayed(task)(i) for i in range(4))

    assert report.n_adopted == n_adopted


def _caught(i):
    try:
        return mlp(learning_rate=-1.0, random_state=i).fit(X, Y)
    except ValueError as error:
        return str(error)


def test_a_fit_that_is_refused_is_refused_with_the_same_words():
    """The message for a wrong parameter is the message of ``fit``."""
    expected = _caught(0)

    with fleet(n_jobs=1):
        messages = Parallel()(delayed(_caught)(i) for i in range(2))

    assert messages == [expected] * 2


# Its losses overflow in the first epoch.
DIVERGES = {"optimizer": "sgd", "learning_rate": 1e25, "max_epochs": 2}


def test_a_candidate_that_diverges_gets_the_error_score():
    """With error_score=-1 the search continues and warns as without the block."""

    def run():
        search = GridSearchCV(
            mlp_reg(optimizer="sgd"),
            {"learning_rate": [0.01, 1e25]},
            cv=KFold(2),
            error_score=-1,
            refit=False,
        )
        with pytest.warns(FitFailedWarning, match="TrainingDivergedError"):
            search.fit(X_REG, Y_REG)
        assert search.cv_results_["mean_test_score"][1] == -1
        return _scores(search)

    assert _compared(run).n_requested == 4


def test_a_candidate_that_diverges_may_end_the_search():
    """With error_score="raise" the training's own error is raised."""
    search = GridSearchCV(mlp_reg(**DIVERGES), {"l1": [0, 1e-3]}, cv=2, error_score="raise")

    with fleet(n_jobs=1), pytest.raises(TrainingDivergedError, match=r"1e\+25"):
        search.fit(X_REG, Y_REG)


class Interrupted:
    """A task that the user ends; with a lock it is not recorded."""

    def __init__(self, lock):
        self.lock, self.seen = lock, []

    def __call__(self, i):
        self.seen.append(i)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("lock", "seen"), [(None, []), (threading.Lock(), [0])], ids=["recorded", "replayed"]
)
def test_pressing_control_c_in_a_task_ends_the_call(lock, seen):
    """It passes through, no other task is run, and the block is left as it should be."""
    task = Interrupted(lock)

    with fleet(n_jobs=1):
        with pytest.raises(KeyboardInterrupt):
            Parallel()(delayed(task)(i) for i in range(3))
        inside = cross_val_score(mlp(), X, Y, cv=CV)

    # Of a run on a copy nothing stays.
    assert task.seen == seen
    _same([inside], [cross_val_score(mlp(), X, Y, cv=CV)])


class Pressed(Deciding, Module):
    """Ctrl-C is pressed while it trains for the `at`-th time, counted over all networks."""

    n_steps = 0
    at = 20

    def forward(self, x):
        if self.training:
            Pressed.n_steps += 1
            if Pressed.n_steps == Pressed.at:
                os.kill(os.getpid(), signal.SIGINT)
        return super().forward(x)


@pytest.mark.filterwarnings("ignore:.*trained alone")
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adagrad])
def test_ctrl_c_while_a_plain_net_trains_alone_ends_the_call(optimizer, tmp_path):
    """skorch takes it for the end of the training; no half-trained network is kept."""
    net = skorch(module=Pressed, optimizer=optimizer, max_epochs=30)
    store, Pressed.n_steps, Pressed.at = tmp_path / "nets.db", 0, 20

    with pytest.raises(KeyboardInterrupt), fleet(n_jobs=1, store=store):
        cross_validate(net, X, Y, cv=CV)
    Pressed.at = -1
    with fleet(n_jobs=1, store=store):
        nets = cross_validate(net, X, Y, cv=CV, return_estimator=True)["estimator"]

    assert [len(net.history) for net in nets] == [30] * 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- Tasks of all kinds


class Locked:
    """A task that cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, seed):
        with self.lock:
            return _probabilities(mlp(random_state=seed))


def _by_lambda():
    fit = lambda seed: _probabilities(mlp(random_state=seed))
    return Parallel()(delayed(fit)(seed) for seed in range(3))


def _by_local_class():
    class Local(MLPClassifier):
        pass

    return _fold_probabilities(Local(**_SMALL))


def _by_lock():
    return Parallel()(delayed(Locked())(seed) for seed in range(3))


@pytest.mark.parametrize(
    ("run", "n_adopted"),
    [(_by_lambda, 3), (_by_local_class, 3), (_by_lock, 0)],
    ids=["lambda", "local class", "lock"],
)
@pytest.mark.filterwarnings("ignore:.*alone")
def test_tasks_that_cannot_be_pickled(run, n_adopted):
    """They run; networks of tasks that cannot be copied train alone, with the error."""
    report = _compared(run)

    assert report.n_adopted == n_adopted
    assert report.n_trained_again == 3 - n_adopted
    reason = (
        "its task failed when a copy of it ran (TypeError: cannot pickle '_thread.lock'"
    )
    assert report.alone_reasons == ({} if n_adopted else {f"{reason} object)": 3})


def _several(seed):
    nets = [mlp(random_state=seed + i) for i in range(3)]
    return np.concatenate([_probabilities(net) for net in nets])


def _as_many_as(n):
    return np.array([_probabilities(mlp(random_state=i)).sum(axis=0) for i in range(n)])


@pytest.mark.filterwarnings("ignore:.*alone")
def test_tasks_that_fit_different_numbers_of_networks():
    """Each network is adopted or trained, and equal fits go to the engine once."""
    report = _compared(lambda: Parallel()(delayed(_as_many_as)(n) for n in (1, 3, 0, 2)))

    assert report.n_adopted + report.n_trained_again == 6
    assert report.n_adopted >= 3
    assert report.n_in_fleets <= 3
    assert report.n_requested == report.n_in_fleets + report.n_trained_again


def _chooses(seed):
    """Fit a second network that depends on the first one's result."""
    first = mlp(random_state=seed).fit(X, Y)
    rate = 0.01 if first.score(X, Y) > 0.35 else 0.02
    return _probabilities(mlp(random_state=seed, learning_rate=rate, width=4))


def _entropy(_):
    """Fit data that are never the same twice."""
    noise = np.random.default_rng().normal(size=X.shape)
    return mlp().fit(X + noise, Y).predict_proba(X).shape


@pytest.mark.filterwarnings("ignore:.*alone")
def test_tasks_with_random_data():
    """Fits of fresh noise end, and are trained as usual."""
    with fleet(n_jobs=1) as report:
        shapes = Parallel()(delayed(_entropy)(i) for i in range(3))

    assert shapes == [(150, 3)] * 3
    assert report.n_trained_again == 3
    assert report.alone_reasons == {
        "no equal fit was requested when a copy of its task ran": 3
    }


def _tasks(function, arguments):
    """Call a function in a task for each argument."""
    return Parallel()(delayed(function)(argument) for argument in arguments)


def _doubled_data(make):
    """Let two tasks double the caller's data, each once."""
    data = make(X)
    return Parallel()(delayed(_double_and_fit)(data, mlp()) for _ in range(2))


def _generator_of_tasks():
    """Let each task take the next seed of one generator."""
    generator = np.random.RandomState(3)
    return _tasks(_probabilities, [mlp(random_state=generator) for _ in range(3)])


def _frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    species = np.array(["setosa", "versicolor", "virginica"])[Y].astype(object)
    return [
        cross_val_predict(mlp(), frame, species, cv=CV, method="predict_proba"),
        cross_val_score(mlp(), frame, pd.Series(species), cv=CV),
    ]


def _log_of_tasks():
    """Let tasks write into a list that they are given, before and after their fits."""
    log = []
    Parallel()(delayed(_logged_in)(log, seed) for seed in (1, 2))
    return [np.array(log)]


def _then_global_numbers(seed):
    cross_val_score(make_pipeline(NOISE, mlp(random_state=seed)), X, Y, cv=CV)
    return _drawn()


# By what a task does: how, and how many networks adopt a training; None where that depends.
TASKS = {
    "doubles its input": (
        lambda: [cross_val_score(make_pipeline(Doubling(), mlp()), X, Y, cv=CV)],
        3,
    ),
    "doubles its input, skorch": (
        lambda: [cross_val_score(make_pipeline(Doubling(), skorch()), X, Y, cv=CV)],
        3,
    ),
    "doubles the caller's array": (lambda: _doubled_data(np.array), None),
    "doubles the caller's tensor": (lambda: _doubled_data(torch.tensor), None),
    "fits three networks": (lambda: _tasks(_several, [0, 10, 20]), 9),
    "fits what depends on the last fit": (lambda: _tasks(_chooses, range(3)), 6),
    "fits nothing": (lambda: [cross_val_score(LogisticRegression(), X, Y, cv=CV)], 0),
    "draws from global generators": (
        lambda: _tasks(_draw_after_fit, [mlp(random_state=i) for i in range(3)]),
        3,
    ),
    "takes a seed of a shared generator": (_generator_of_tasks, None),
    "leaves global generators": (lambda: _then_global_numbers(0), None),
    "leaves global generators, no seed": (lambda: _then_global_numbers(None), None),
    "has a tensor among its parameters": (
        lambda: _fold_probabilities(
            skorch(criterion__weight=torch.tensor([1.0, 2.0, 3.0]).double())
        ),
        3,
    ),
    "holds a module": (
        lambda: _tasks(
            _probabilities,
            [skorch(module=Module(p=0.0), iterator_train__shuffle=False)] * 2,
        ),
        None,
    ),
    "writes into an argument": (_log_of_tasks, 2),
    "has frames and text labels": (_frames, 6),
}


@pytest.mark.filterwarnings("ignore:.*alone")
@pytest.mark.parametrize("what", TASKS)
def test_a_task_returns_the_same_as_without_the_block(what):
    """Its side effects happen once."""
    run, n_fits = TASKS[what]

    report = _compared(run)

    if n_fits is not None:
        assert report.n_adopted == n_fits
        assert report.n_trained_again == 0
        assert report.alone_reasons == {}

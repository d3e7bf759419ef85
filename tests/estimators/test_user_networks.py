"""A user's own module: arguments, outputs, and errors."""

import functools
import inspect
import pickle
import re
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.helper import SliceDict
from torch import nn

import sk_tune
from sk_tune import NetClassifier, NetRegressor

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(60, 8)).astype(np.float32)
LABELS = (X[:, 0] > X[:, 3]).astype(int)
Y = X[:, 0] - X[:, 3]


class Net(nn.Module):
    """A module with all arguments from the data, which it records."""

    def __init__(self, n_features, n_outputs, input_shape, width=5, activation=torch.relu):
        super().__init__()
        self.given = (n_features, n_outputs, input_shape)
        self.activation = activation
        self.hidden = nn.Linear(n_features, width)
        self.output = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.output(self.activation(self.hidden(x)))


class Folded(nn.Module):
    """A module for rows of several dimensions, without a number of features."""

    def __init__(self, input_shape, n_outputs, n_features=None):
        super().__init__()
        self.n_features = n_features
        self.output = nn.Linear(int(np.prod(input_shape)), n_outputs)

    def forward(self, x):
        return self.output(x.flatten(1))


class WrongOutputs(nn.Module):
    """A module with invalid outputs, made by a function."""

    def __init__(self, n_features, n_outputs, spoil):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)
        self.spoil = spoil

    def forward(self, x):
        return self.spoil(self.linear(x))


class Lazy(nn.Module):
    """A lazy module with additional state."""

    def __init__(self, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


def _small(cls=NetClassifier, module=Net, **params):
    return cls(module, **{"max_epochs": 2, "batch_size": 16, "random_state": 0, **params})


def test_arguments_are_filled_in_from_the_data():
    """n_features, n_outputs and input_shape come from X and y, in every fit."""
    net = _small().fit(X, LABELS)

    assert net.net_.module_.given == (8, 2, (8,))
    assert net.fit(X[:, :3], np.arange(60) % 4).net_.module_.given == (3, 4, (3,))
    assert _small(NetRegressor).fit(X, Y).net_.module_.given == (8, 1, (8,))


def test_explicit_arguments_take_precedence_over_the_data():
    """Arguments set by the user are not replaced."""

    class Wide(Net):
        def forward(self, x):
            return super().forward(x[:, :2])

    net = _small(module=Wide, module__n_features=2).fit(X, LABELS)
    partial = _small(module=functools.partial(Net, input_shape=(2, 4))).fit(X, LABELS)

    assert net.net_.module_.given == (2, 2, (8,))
    assert partial.net_.module_.given == (8, 2, (2, 4))


def test_multidimensional_rows_have_a_shape_but_no_number_of_features():
    """For more than two dimensions only input_shape is filled in."""
    folded = X.reshape(60, 2, 2, 2)
    by_data = _small(module=Folded).fit(folded, LABELS)
    by_shape = _small(module=Folded, input_shape=(2, 2, 2)).fit(X, LABELS)

    assert by_data.net_.module_.n_features is None
    assert by_data.input_shape_ == by_shape.input_shape_ == (2, 2, 2)
    np.testing.assert_array_equal(by_data.predict_proba(folded), by_shape.predict_proba(X))


@pytest.mark.parametrize(
    "module",
    [
        functools.partial(Net, width=4),
        lambda n_features, n_outputs: nn.Linear(n_features, n_outputs),
        nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 2)),
        Lazy,
        nn.Linear(8, 2).eval(),
    ],
    ids=["partial", "function", "instance", "lazy class", "instance in evaluation mode"],
)
def test_any_callable_that_returns_a_module_is_accepted(module):
    """Classes, functions, partial calls and instances give the same training."""
    net = _small(module=module, max_epochs=20, learning_rate=0.03).fit(X, LABELS)

    assert net.score(X, LABELS) > 0.85


def test_an_instance_is_copied_and_never_changed():
    """Training and cloning do not change the given module."""
    module = nn.Sequential(nn.Linear(8, 2), nn.BatchNorm1d(2))
    initial = {name: value.clone() for name, value in module.state_dict().items()}
    net = _small(module=module)

    clone(net).fit(X, LABELS)
    net.fit(X, LABELS)

    assert net.net_.module_ is not module
    assert all(torch.equal(initial[n], v) for n, v in module.state_dict().items())
    # A second fit starts from the same initial weights.
    first = net.predict_proba(X)
    np.testing.assert_array_equal(net.fit(X, LABELS).predict_proba(X), first)


@pytest.mark.parametrize("kind", ["class", "instance", "lazy"])
def test_statistics_of_a_module_start_from_the_data_only(kind):
    """Calls that determine sizes do not affect batch normalisation or generators."""

    class Normal(nn.Module):
        def __init__(self, n_outputs=2):
            super().__init__()
            self.norm = nn.LazyBatchNorm1d() if kind == "lazy" else nn.BatchNorm1d(8)
            self.output = nn.Linear(8, n_outputs)

        def forward(self, x):
            return self.output(self.norm(x))

    module = Normal() if kind == "instance" else Normal
    net = _small(module=module, batch_size=-1, max_epochs=1).fit(X, LABELS)

    # Torch's running mean after one batch is a tenth of that batch's.
    assert net.net_.module_.norm.num_batches_tracked == 1
    expected = 0.1 * X.mean(axis=0)
    np.testing.assert_allclose(net.net_.module_.norm.running_mean, expected, atol=1e-6)


@pytest.mark.parametrize("module", [Net, Net(8, 2, (8,)).double()])
def test_a_module_of_float64_is_trained_in_float64(module):
    """dtype applies to all parameters; an instance is checked in its own dtype."""
    net = _small(module=module, dtype="float64").fit(X, LABELS)

    assert {p.dtype for p in net.net_.module_.parameters()} == {torch.float64}
    assert net.predict_proba(X).dtype == np.float64


def test_frozen_parameters_are_not_trained():
    """Parameters without requires_grad are not trained."""
    module = Net(8, 2, (8,))
    module.hidden.requires_grad_(False)
    initial = module.hidden.weight.clone()

    net = _small(module=module, l1=0.1, gradient_clip=1.0).fit(X, LABELS)

    assert torch.equal(net.net_.module_.hidden.weight, initial)
    assert not torch.equal(net.net_.module_.output.weight, module.output.weight)


def test_module_parameters_are_parameters_of_the_estimator():
    """They can be cloned, read, set and searched like others."""
    net = _small(module__width=7, module__activation=torch.tanh)
    search = GridSearchCV(net, {"module__width": [1, 3]}, cv=2).fit(X, LABELS)

    assert clone(net).get_params() == net.get_params()
    assert net.get_params()["module__width"] == 7
    assert "module__width=7" in repr(net)
    assert [params["module__width"] for params in search.cv_results_["params"]] == [1, 3]
    best = search.best_params_["module__width"]
    assert search.best_estimator_.net_.module_.hidden.out_features == best
    assert net.set_params(module__width=9, tol=0.5).get_params()["module__width"] == 9
    assert net.tol == 0.5


def _spoilt(spoil):
    return {"module": WrongOutputs, "module__spoil": spoil}


REFUSED = {
    "unknown argument": ({"module__widht": 3}, ["'module__widht'", "mean 'width'"]),
    "argument of an instance": (
        {"module": nn.Linear(8, 2), "module__bias": False},
        ["module__bias", "instance"],
    ),
    "no callable": ({"module": 3}, ["'module' parameter of NetClassifier"]),
    "no module made": (
        {"module": lambda n_outputs: {}},
        ["'module' parameter of NetClassifier", "torch.nn.Module", "dict"],
    ),
    "too few outputs": (_spoilt(lambda h: h[:, :1]), ["(n_samples, 2)", "(2, 1)"]),
    "rows lost": (_spoilt(lambda h: h[:1]), ["(n_samples, 2)", "(1, 2)", "(8,)"]),
    "a dimension more": (_spoilt(lambda h: h[None]), ["(n_samples, 2)", "(1, 2, 2)"]),
    "no tensor": (_spoilt(lambda h: None), ["tensor of shape (n_samples, 2)", "None"]),
}


@pytest.mark.parametrize(("params", "words"), REFUSED.values(), ids=REFUSED)
def test_incompatible_modules_are_refused(params, words):
    """The message has the required and the actual arguments or outputs."""
    net = _small(**params)

    with pytest.raises(ValueError, match="module") as raised:
        net.fit(X, LABELS)

    assert [word for word in words if word not in str(raised.value)] == []
    assert not net.__sklearn_is_fitted__()


class Lengths(nn.Module):
    """Reads lengths of sequences from zeros, and refuses length 0."""

    def __init__(self, n_outputs):
        super().__init__()
        self.cell = nn.GRU(2, 4, batch_first=True)
        self.output = nn.Linear(4, n_outputs)

    def forward(self, x):
        lengths = (x != 0).any(2).sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        return self.output(self.cell(packed)[1][0])


@pytest.mark.filterwarnings("ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning")
def test_zeros_may_be_padding():
    """A module that refuses rows of zeros is checked with other rows."""
    sequences = X.reshape(60, 4, 2).copy()
    sequences[::2, 2:] = 0

    net = _small(module=Lengths).fit(sequences, LABELS)

    assert net.predict_proba(sequences).shape == (60, 2)


def test_a_module_that_works_in_place_does_not_change_the_users_rows(iris):
    """ReLU(inplace=True) as the first layer leaves X unchanged, in fit and predict."""
    X = iris.X - iris.X.mean(axis=0)
    X = X.astype(np.float32)
    initial = X.copy()
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3))

    net = NetClassifier(module, max_epochs=2, early_stopping=True, random_state=0)
    net.fit(X, iris.y).predict(X)

    np.testing.assert_array_equal(X, initial)


CODES = _RNG.integers(0, 5, size=(60, 2))
DICT = {"numbers": X, "codes": CODES, "flag": X[:, 0] > 0}


class Several(nn.Module):
    """A module with three inputs."""

    def __init__(self, n_outputs, width=4):
        super().__init__()
        self.vectors = nn.Embedding(5, 3)
        self.hidden = nn.Linear(8 + 2 * 3 + 1, width)
        self.output = nn.Linear(width, n_outputs)

    def forward(self, numbers, codes, flag):
        assert (codes.dtype, flag.dtype) == (torch.int64, torch.bool)
        parts = [
            numbers,
            self.vectors(codes).flatten(1),
            flag.unsqueeze(1).to(numbers.dtype),
        ]
        return self.output(torch.relu(self.hidden(torch.cat(parts, dim=1))))


class Columns(Several):
    """The same module, but it splits the columns of one array."""

    def forward(self, x):
        return super().forward(x[:, :8], x[:, 8:10].long(), x[:, 10] > 0)


@pytest.mark.parametrize("task", ["Classifier", "Regressor"])
def test_a_dict_of_arrays_is_several_inputs(task, tmp_path):
    """Predictions equal a module that splits columns, also after saving."""
    cls, y = getattr(sk_tune, f"Net{task}"), LABELS if task == "Classifier" else Y
    table = np.column_stack([X, CODES, DICT["flag"]])
    expected = _small(cls, Columns, lr_schedule="constant").fit(table, y).predict(table)

    net = _small(cls, Several, lr_schedule="constant").fit(DICT, y)

    np.testing.assert_array_equal(net.predict(DICT), expected)
    assert isinstance(net.net_.module_, Several)
    path = tmp_path / "net.sktune"
    net.save(path)
    for again in (cls.load(path, module=Several), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(again.predict(DICT), expected)
        again.partial_fit(DICT, y)


class _Seen(Several):
    codes: ClassVar[list[torch.Tensor]] = []
    numbers: ClassVar[list[torch.Tensor]] = []

    def forward(self, numbers, codes, flag):
        if self.training:
            self.codes.append(codes)
            self.numbers.append(numbers)
        return super().forward(numbers, codes, flag)


@pytest.mark.filterwarnings("ignore:.*trained alone:sk_tune.exceptions.SkTuneWarning")
def test_augmentations_keep_integers():
    """Noise changes numbers only; integers that a module reads alone are refused."""
    everywhere = {**DICT, "codes": np.full((60, 2), 3)}
    _small(module=_Seen, augmentation=["noise", "mixup"]).fit(everywhere, LABELS)

    assert set(torch.cat(_Seen.codes).ravel().tolist()) <= {0, 3}  # 0 when it is built.
    assert not set(torch.cat(_Seen.numbers).ravel().tolist()) & set(X.ravel().tolist())
    vectors = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    with pytest.raises(ValueError, match=r"must keep the integers of X.*Got Noise\("):
        _small(module=vectors, augmentation="noise").fit(CODES, LABELS)


@pytest.mark.parametrize("kind", [dict, SliceDict])
def test_dicts_of_arrays_are_searched_in_fleets(kind):
    """Scores equal scikit-learn's search, inside and outside a block."""
    net = _small(module=Several, dtype="float64", max_epochs=3)
    grid = {"module__width": [2, 4], "learning_rate": [1e-3, 1e-2]}
    expected = GridSearchCV(net, grid, cv=3, scoring="neg_log_loss")
    expected.fit(SliceDict(**DICT), LABELS)

    result = sk_tune.GridSearchCV(net, grid, cv=3, scoring="neg_log_loss")
    result.fit(kind(**DICT), LABELS)
    with sk_tune.fleet(n_jobs=1) as report:
        inside = clone(expected).fit(SliceDict(**DICT), LABELS)

    assert result.ledger_.alone_reasons == report.alone_reasons == {}
    for search in (result, inside):
        np.testing.assert_allclose(
            search.cv_results_["mean_test_score"],
            expected.cv_results_["mean_test_score"],
            rtol=1e-9,
        )
    assert result.predict(DICT).shape == (60,)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (X, r"dict of the arrays 'numbers', 'codes', 'flag' .*Got ndarray"),
        ({"numbers": X}, r"'codes' .*as in fit\. Got 'numbers' \(8,\) instead"),
        (
            {**DICT, "codes": CODES + 0.5},
            r"'codes' \(2,\) int64.*Got .*'codes' \(2,\)",
        ),
        ({**DICT, "codes": CODES[:5]}, "inconsistent numbers of samples"),
        ({**DICT, "numbers": np.where(X > 0, X, np.nan)}, "numbers contains NaN"),
    ],
    ids=["array", "fewer", "floats", "lengths", "NaN"],
)
def test_other_inputs_than_in_fit_are_refused(values, words):
    """The message has names, shapes and types."""
    net = _small(module=Several).fit(DICT, LABELS)

    with pytest.raises(ValueError, match=words):
        net.predict(values)


class WrongSize(nn.Linear):
    """A layer for nine features; `ignored` names a dict's arrays."""

    def __init__(self):
        super().__init__(9, 2)

    def forward(self, x=None, **ignored):
        return super().forward(ignored["numbers"] if x is None else x)


@pytest.mark.parametrize(
    ("module", "values", "words"),
    [
        (nn.Embedding(9, 2), X, r"2 rows of shape \(8,\)"),
        (nn.Linear(9, 2), DICT, r"2 rows each of 'numbers' \(8,\), 'codes' \(2,\) int64"),
    ],
    ids=["array", "dict"],
)
def test_an_error_of_the_module_has_a_note(module, values, words):
    """It gives the shapes that the module was called with."""
    with pytest.raises((RuntimeError, TypeError)) as raised:
        _small(module=module).fit(values, LABELS)

    (note,) = raised.value.__notes__
    assert re.search(f"NetClassifier passed {words}.* to its module", note)


SETS = "by its argument n_features or input_shape, which NetClassifier sets"


@pytest.mark.parametrize(
    ("values", "rows", "remedy"),
    [
        (X, r"rows of shape \(8,\)", SETS),
        (CODES, r"rows of shape \(2,\)", SETS),
        (X.reshape(-1, 2, 4), r"rows of shape \(2, 4\)", "by its argument input_shape, "),
        (DICT, "rows each of 'numbers'", r"to each other and to X\."),
    ],
    ids=["floats", "integers", "images", "dict"],
)
def test_a_module_of_another_size_is_named(values, rows, remedy):
    """The error has requirement, torch's error and remedy, and torch's error as cause."""
    with pytest.raises(ValueError, match="The module of NetClassifier must") as raised:
        _small(module=WrongSize).fit(values, LABELS)

    message = str(raised.value)
    assert re.search(f"must accept {rows}.*, as in X. Got the error 'mat1 and", message)
    assert re.search(remedy, message)
    assert type(raised.value.__cause__) is RuntimeError


def test_modules_that_require_integers_get_integers():
    """An embedding gets int64; a module that takes floats gets floats."""

    class Vectors(nn.Sequential):
        def __init__(self, n_outputs):
            super().__init__(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, n_outputs))

    class Cast(Vectors):
        def forward(self, x):
            return super().forward(x.long())

    class Vector(nn.Module):
        def forward(self, x):
            assert x.is_floating_point()
            return self.linear(x)

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

    net = _small(module=Vectors, dtype="float64").fit(CODES, LABELS)

    expected = _small(module=Cast, dtype="float64").fit(CODES, LABELS)
    np.testing.assert_array_equal(net.predict_proba(CODES), expected.predict_proba(CODES))
    _small(module=Vector).fit(CODES, LABELS)
    with pytest.raises(
        ValueError, match=r"Integers of X must be exact in float32.*float64"
    ):
        _small(module=Vectors).fit(CODES + 2**24, LABELS)
    with pytest.raises(RuntimeError, match="[Ll]ong"):
        _small(module=Vectors).fit(CODES.astype(float), LABELS)


class Gated(nn.Module):
    """A module with arguments of its own."""

    def __init__(self, n_features, n_outputs, width=4):
        super().__init__()
        self.hidden = nn.Linear(n_features, 2 * width)
        self.output = nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.output(nn.functional.glu(self.hidden(x)))


@sk_tune.parameters
class GatedClassifier(sk_tune.NetClassifier):
    """An estimator with a name, parameters and defaults of its own."""

    module: type[nn.Module] = Gated
    width: int = 8
    max_epochs: int = 2


def test_a_subclass_passes_its_parameters_to_the_module(task_data, tmp_path):
    """It is cloned, searched in fleets, pickled and saved like a network of sk_tune."""
    X, y = task_data("NetClassifier")
    net = clone(GatedClassifier(width=3, random_state=0)).fit(X, y)
    plain = sk_tune.NetClassifier(Gated, module__width=3, max_epochs=2, random_state=0)

    expected = plain.fit(X, y).predict_proba(X)
    net.save(tmp_path / "net")
    copies = [net, pickle.loads(pickle.dumps(net)), GatedClassifier.load(tmp_path / "net")]

    for copy in copies:
        np.testing.assert_array_equal(copy.predict_proba(X), expected)
        assert copy.net_.module_.output.in_features == 3
    search = sk_tune.GridSearchCV(GatedClassifier(random_state=0), {"width": [2, 5]}, cv=2)
    assert search.fit(X, y).ledger_.n_in_fleets == 4
    with pytest.raises(TypeError, match="'widht'. Did you mean 'width'"):
        GatedClassifier(widht=3)


def test_the_signature_shows_arguments_of_the_module():
    """They are keywords with a prefix, next to the declared parameters."""
    parameters = [*inspect.signature(sk_tune.NetClassifier).parameters.values()]

    assert (parameters[0].name, str(parameters[-1])) == ("module", "**module__parameters")
    assert "module__parameters" not in sk_tune.NetClassifier(Gated).get_params()

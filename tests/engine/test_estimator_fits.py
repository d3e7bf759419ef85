"""Fits of estimators as networks of a fleet."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sk_tune import CNNClassifier, MLPClassifier, MLPRegressor, NetClassifier, RNNClassifier
from sk_tune._compat import has_hooks
from sk_tune.engine import Fit
from sk_tune.engine._estimator_fits import EstimatorFit
from sk_tune.estimators import FitPreparer
from sk_tune.fleets import module_structure, plan
from sk_tune.training import accuracy_by_network, r2_by_network

ROWS = np.arange(100)


class Users(nn.Module):
    """A user's module that does what it is told between two layers."""

    def __init__(self, n_features, n_outputs, act=torch.tanh):
        super().__init__()
        self.hidden = nn.Linear(n_features, 8)
        self.output = nn.Linear(8, n_outputs)
        self.act = act

    def forward(self, x):
        return self.output(self.act(self.hidden(x)))


def _fit(data, estimator, **changes):
    own = {"X": data.X, "y": data.y, "rows": ROWS, "seed": 3, "n_epochs": 2}
    return EstimatorFit(Fit(estimator=estimator, **{**own, **changes}), FitPreparer())


# --- Numbers


def test_numbers_of_the_estimator_are_the_rows(digits):
    """Each strength stands in the row under its own name."""
    estimator = MLPClassifier(
        learning_rate=0.25,
        momentum=0.5,
        weight_decay=0.125,
        l1=0.75,
        label_smoothing=0.375,
        gradient_clip=2.0,
    )

    row = _fit(digits, estimator).network()

    assert (row.learning_rate, row.l1) == (0.25, 0.75)
    assert (row.label_smoothing, row.gradient_clip) == (0.375, 2.0)
    assert (row.settings.momentum, row.settings.weight_decay) == (0.5, 0.125)
    assert (row.n_epochs, len(row.train)) == (2, 100)
    assert row.valid is row.monitor is None
    assert (row.state.seed, row.state.history) == (3, ())


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
def test_numbers_that_only_torch_knows_are_torchs_defaults(optimizer, digits):
    """The decay of second moments is that of the optimizer which the estimator builds."""
    estimator = MLPClassifier(optimizer=optimizer, max_epochs=1, random_state=0)
    group = estimator.fit(digits.X, digits.y).net_.optimizer_.param_groups[0]

    row = _fit(digits, estimator).network()

    known = {"rmsprop": lambda: group["alpha"], "sgd": lambda: row.settings.beta_2}
    assert row.settings.beta_2 == known.get(optimizer, lambda: group["betas"][1])()


def test_the_epochs_of_a_fit_default_to_those_of_the_estimator(digits):
    """n_epochs=None is max_epochs."""
    assert _fit(digits, MLPClassifier(max_epochs=7), n_epochs=None).network().n_epochs == 7


def test_rows_of_early_stopping_are_set_aside(digits):
    """They are part of the training rows, and no others."""
    estimator = MLPClassifier(early_stopping=True, validation_fraction=0.25, patience=4)

    row = _fit(digits, estimator).network()

    train, valid = row.train.index.tolist(), row.valid.index.tolist()
    assert (len(train), len(valid)) == (75, 25)
    assert sorted(train + valid) == ROWS.tolist()
    assert row.course.patience == 4


# --- Keys


@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": 0.5, "dropout": 0.5, "l1": 0.5},
        {"early_stopping": True, "validation_fraction": 0.2, "patience": 3},
        {"lr_schedule": "step", "max_epochs": 3},
    ],
    ids=["strengths", "stopping", "schedule"],
)
def test_rows_that_differ_in_numbers_share_a_key(params, digits):
    """Data and seed may differ too."""
    plain = _fit(digits, MLPClassifier())
    other = _fit(digits, MLPClassifier(**params), rows=ROWS[:90], seed=8)

    assert other.recipe()[1] == plain.recipe()[1]
    assert hash(other.recipe()[1]) == hash(plain.recipe()[1])


def test_rows_of_other_sizes_do_not_share_a_key(digits):
    """Features and classes fix shapes that no parameter tells of."""
    few = np.flatnonzero(digits.y < 4)
    keys = [
        _fit(digits, MLPClassifier(), **changes).recipe()[1]
        for changes in ({}, {"X": digits.X[:, :9]}, {"rows": few})
    ]

    assert len(set(keys)) == 3


@pytest.mark.parametrize("estimator", [RNNClassifier(), CNNClassifier(width=4)])
def test_rows_of_other_lengths_do_not_share_a_key(estimator, digits):
    """Sequences and signals, whose weights may be of the same shapes."""
    keys = [
        _fit(digits, estimator, X=digits.X[:, :n_steps]).recipe()[1] for n_steps in (20, 21)
    ]

    assert len(set(keys)) == 2


@pytest.mark.parametrize(
    ("estimator", "score", "draws"),
    [
        (MLPClassifier(), accuracy_by_network, False),
        (MLPRegressor(), r2_by_network, False),
        (NetClassifier(Users), accuracy_by_network, True),
    ],
    ids=["classifier", "regressor", "net"],
)
def test_the_recipe_says_how_to_train(estimator, score, draws, digits):
    """Score and randomness are those of the estimator's task and kind."""
    estimator.set_params(optimizer="sgd", batch_size=17, nesterovs_momentum=False)

    recipe, _ = _fit(digits, estimator).recipe()

    assert (recipe.optimizer, recipe.nesterov, recipe.batch_size) == ("sgd", False, 17)
    assert recipe.score is score
    assert recipe.draws_globally is draws


# --- Modules


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(normalization="batch", dropout=0.2),
        CNNClassifier(input_shape=(8, 8), n_channels=2),
        RNNClassifier(input_shape=(8, 8), cell="lstm", bidirectional=True, n_layers=2),
        NetClassifier(Users),
    ],
    ids=["mlp", "cnn", "rnn", "net"],
)
def test_modules_of_plain_layers_run_as_one(estimator, digits):
    """There is no reason against a fleet of them."""
    assert _reason(_fit(digits, estimator).network()) is None


def _reason(row):
    return _reason_in_module(row.module, row.train.X)


def _reason_in_module(module, X):
    """Return why networks like one are trained alone, None if they are not."""
    found = plan(module, X)
    return found.reason if found.way == "alone" else None


def _branching(h):
    return h if h.sum() > 0 else -h


def _to_numpy(h):
    return torch.as_tensor(h.detach().numpy())


def _noisy(h):
    return h + torch.randn_like(h)


@pytest.mark.parametrize(
    "act",
    [_branching, _to_numpy, _noisy, lambda h: F.dropout(h, 0.5)],
    ids=["branching", "numpy", "noise", "dropout"],
)
def test_modules_that_vmap_cannot_carry_have_a_reason(act, digits):
    """Branches on data, ways out of torch, and random numbers of unknown origin."""
    row = _fit(digits, NetClassifier(Users, module__act=act)).network()

    reason = _reason(row)

    assert reason.startswith("torch.func.vmap cannot carry its module (")
    assert "\n" not in reason


def test_derivatives_that_depend_on_the_place_in_a_fleet_are_a_reason(digits):
    """vmap minds the padding of an embedding in the first network only."""

    class Tokens(nn.Module):
        def __init__(self, n_features, n_outputs):
            super().__init__()
            self.table = nn.Parameter(torch.rand(20, n_outputs))

        def forward(self, x):
            return F.embedding(x.long(), self.table, padding_idx=0).mean(dim=1)

    row = _fit(digits, NetClassifier(Tokens)).network()
    # Padding may be missing in the first rows.
    X = torch.cat([torch.full_like(row.train.X, 3.0), row.train.X])
    reason = _reason_in_module(row.module, X)

    assert reason is None or "other derivatives" in reason
    if reason is None:
        pytest.skip("this version of torch has mended it")


@pytest.mark.parametrize("in_place", [True, False])
def test_buffers_that_a_call_replaces_are_a_reason(in_place, digits):
    """A fleet could not see the new ones; those that are changed in place move."""

    class Centred(Users):
        def __init__(self, n_features, n_outputs):
            super().__init__(n_features, n_outputs)
            self.register_buffer("mean", torch.zeros(n_features))

        def forward(self, x):
            if self.training:
                with torch.no_grad():
                    moved = 0.9 * self.mean + 0.1 * x.mean(0)
                    if in_place:
                        self.mean.copy_(moved)
                    else:
                        self.mean = moved
            return super().forward(x - self.mean)

    row = _fit(digits, NetClassifier(Centred)).network()
    before = row.module.mean.clone()

    reason = _reason(row)

    assert (reason is None) is in_place
    assert in_place or "replaces a buffer" in reason
    assert torch.equal(row.module.mean, before)


@pytest.mark.parametrize("is_constant", [True, False])
def test_buffers_that_change_but_are_not_saved_are_a_reason(is_constant, digits):
    """Training could not go on with them; constants, such as positions, do no harm."""

    class Counting(Users):
        def __init__(self, n_features, n_outputs):
            super().__init__(n_features, n_outputs)
            self.register_buffer("calls", torch.zeros(()), persistent=False)

        def forward(self, x):
            if self.training and not is_constant:
                self.calls.add_(1)
            return super().forward(x)

    reason = _reason(_fit(digits, NetClassifier(Counting)).network())

    assert (reason is None) is is_constant
    assert is_constant or "changes itself" in reason


def test_outputs_that_depend_on_other_rows_are_a_reason(digits):
    """In chunks of another size a batch norm without running means gives others."""

    def make(n_features, n_outputs):
        return nn.Sequential(
            nn.Linear(n_features, 8),
            nn.BatchNorm1d(8, track_running_stats=False),
            nn.Linear(8, n_outputs),
        )

    row = _fit(digits, NetClassifier(make)).network()

    assert _reason(row) == "its outputs depend on the other samples of a batch"


def test_rows_may_be_single_numbers():
    """As a skorch net takes them that looks each one up."""
    module = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))

    assert _reason_in_module(module, torch.arange(9)) is None


def test_a_dropout_layer_in_several_orders_is_a_reason():
    """Which elements it drops cannot be told ahead."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRU(3, 3, batch_first=True)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(self.cell(self.drop(x))[0])[:, -1]

    assert "several orders of memory" in _reason_in_module(Twice(), torch.randn(4, 5, 3))


def test_unused_parameters_are_a_reason(digits):
    """They have no gradient to batch."""

    class Unused(Users):
        def __init__(self, n_features, n_outputs):
            super().__init__(n_features, n_outputs)
            self.spare = nn.Linear(2, 2)

    assert _reason(_fit(digits, NetClassifier(Unused)).network()) is not None


@pytest.mark.parametrize("act", [torch.tanh, _branching], ids=["good", "bad"])
def test_the_trial_leaves_the_module_as_it_was(act, digits):
    """Weights, running means, mode and generators are untouched, whatever came out."""

    class Normalised(Users):
        def __init__(self, n_features, n_outputs, act):
            super().__init__(n_features, n_outputs, act)
            self.output = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5), self.output)

    row = _fit(digits, NetClassifier(Normalised, module__act=act)).network()
    before = {name: t.clone() for name, t in row.module.state_dict().items()}
    generator = torch.get_rng_state()

    _reason(row)

    assert row.module.training
    assert torch.equal(torch.get_rng_state(), generator)
    for name, tensor in row.module.state_dict().items():
        assert torch.equal(tensor, before[name])


class Configurable(nn.Module):
    """A module with attributes of many kinds."""

    def __init__(self, **attributes):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.1))
        for name, value in attributes.items():
            setattr(self, name, value)


def _layers(**changes):
    own = {"width": 4, "p": 0.1, "norm": nn.BatchNorm1d, "activation": nn.ReLU} | changes
    return nn.Sequential(
        nn.Linear(3, own["width"]),
        own["norm"](own["width"]),
        own["activation"](),
        nn.Dropout(own["p"]),
        nn.Linear(own["width"], 2),
    )


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_weights_and_dropout_may_differ(p):
    """Modules built under other seeds with other probabilities share a structure."""
    first, second = _layers(), _layers(p=p)

    assert not torch.equal(first[0].weight, second[0].weight)
    assert module_structure(first) == module_structure(second)
    assert hash(module_structure(first)) == hash(module_structure(second))


def test_a_copy_in_another_mode_is_equal():
    """Evaluation mode, gradients and running means are no structure."""
    module = _layers()
    twin = copy.deepcopy(module).eval()
    twin(torch.ones(2, 3)).sum().backward()

    assert module_structure(twin) == module_structure(module)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 5},
        {"norm": nn.LayerNorm},
        {"activation": nn.Tanh},
        {"activation": lambda: nn.ReLU(inplace=True)},
        {"activation": nn.Identity},
        {"norm": lambda n: nn.BatchNorm1d(n, eps=1e-3)},
        {"norm": lambda n: nn.BatchNorm1d(n, momentum=0.5)},
        {"norm": lambda n: nn.BatchNorm1d(n, affine=False)},
        {"norm": lambda n: nn.Sequential(nn.BatchNorm1d(n))},
    ],
    ids=[
        "width",
        "norm",
        "activation",
        "inplace",
        "identity",
        "eps",
        "momentum",
        "affine",
        "nested",
    ],
)
def test_layers_and_their_options_count(change):
    """Whatever changes what a layer computes, beside its weights, splits a fleet."""
    assert module_structure(_layers(**change)) != module_structure(_layers())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 2),
        ("a", "b"),
        (None, 0.5),
        ((1, 2), (1, 3)),
        ([1, 2], [2, 1]),
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        ({"a": [1]}, {"b": [1]}),
        (np.zeros(2), np.ones(2)),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (np.zeros(4), np.zeros((2, 2))),
        (torch.zeros(2), torch.ones(2)),
        ({1}, {2}),
        (torch.relu, torch.tanh),
        (nn.Linear(2, 2), nn.Linear(2, 3)),
    ],
    ids=[
        "numbers",
        "texts",
        "None",
        "tuples",
        "lists",
        "list or tuple",
        "dictionaries",
        "keys",
        "arrays",
        "types of arrays",
        "shapes of arrays",
        "tensors",
        "sets",
        "functions",
        "layers",
    ],
)
def test_attributes_of_a_module_count(first, second):
    """A module that holds another number, array, function or layer computes otherwise."""
    modules = [Configurable(own=value) for value in (first, copy.deepcopy(first), second)]

    structures = [module_structure(module) for module in modules]

    assert structures[0] != structures[2]
    # A set has no hash, and is compared by identity, which is safe.
    if not isinstance(first, set):
        assert structures[0] == structures[1]


def test_what_is_not_trained_counts():
    """A frozen weight is a buffer of a fleet."""
    frozen = _layers()
    frozen[0].weight.requires_grad_(requires_grad=False)

    assert module_structure(frozen) != module_structure(_layers())


def test_types_of_numbers_count():
    """Rows of one fleet have one type."""
    assert module_structure(_layers().double()) != module_structure(_layers())


def test_shapes_of_buffers_count():
    """Their values may differ, as running means do."""
    modules = [Configurable() for _ in range(3)]
    for module, buffer in zip(
        modules, (torch.zeros(2), torch.ones(2), torch.zeros(3)), strict=True
    ):
        module.register_buffer("own", buffer)

    structures = [module_structure(module) for module in modules]

    assert structures[0] == structures[1] != structures[2]


@pytest.mark.parametrize(
    "hook",
    [
        lambda m: m[0].register_forward_hook(lambda layer, inputs, output: 2 * output),
        lambda m: m[0].register_forward_pre_hook(lambda layer, inputs: (2 * inputs[0],)),
        lambda m: m[0].weight.register_hook(torch.zeros_like),
    ],
    ids=["forward", "before forward", "gradient"],
)
def test_hooks_are_found(hook):
    """They change what a module computes, which no fleet would."""
    hooked = _layers()
    hook(hooked)

    assert has_hooks(hooked)
    assert not has_hooks(_layers())

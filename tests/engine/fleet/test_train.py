"""Training of a fleet: a plain loop over torch's own parts is the reference of each row."""

import copy
import math
import re
import time
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, RMSprop

from sk_tune.engine.fleet._loop import train_fleet
from sk_tune.engine.fleet._recipe import LOSSES, FleetNetwork, Recipe, SeededCourse
from sk_tune.engine.fleet._stacked_optimizers import Settings
from sk_tune.nets import MLP, seed_dropout, set_dropout_step
from sk_tune.training import (
    StoppingState,
    Stream,
    TensorBatches,
    TensorSet,
    TrainingState,
    accuracy_by_network,
    derive_seed,
    learning_rate_factor,
)

D, C, N = 4, 3, 30
SCHEDULE_EPOCHS = 5


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


X = _normal(N, D)
Y = X[:, :C].argmax(dim=1)
WEIGHT = _normal(N, seed=1).abs() + 0.1
VALID = TensorSet(_normal(11, D, seed=2), torch.arange(11) % C)
MONITOR = TensorSet(_normal(7, D, seed=3), torch.arange(7) % C)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a row and a lone network are both made from."""

    seed: int = 0
    n_epochs: int = 3
    n_train: int = N
    learning_rate: float = 0.02
    lr_schedule: str = "constant"
    momentum: float = 0.9
    weight_decay: float = 0.0
    dropout: float = 0.0
    normalization: str | None = None
    l1: float = 0.0
    label_smoothing: float = 0.0
    gradient_clip: float | None = None
    weighted: bool = False
    patience: int | None = None
    tol: float = 0.0
    monitored: bool = True
    user_module: bool = False

    def module(self):
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            if self.user_module:
                layers = (nn.Linear(D, 5), nn.Dropout(self.dropout), nn.Linear(5, C))
                return nn.Sequential(*layers).double()
            return MLP(
                D,
                C,
                hidden_layer_sizes=(5, 5),
                activation="tanh",
                normalization=self.normalization,
                residual=True,
                dropout=self.dropout,
            ).double()

    def train_set(self):
        generator = torch.Generator().manual_seed(self.n_train)
        order = torch.randperm(N, generator=generator)
        index = None if self.n_train == N else order[: self.n_train]
        return TensorSet(X, Y, WEIGHT if self.weighted else None, index)


# Rows that differ in all that rows may differ in.
SPECS = [
    Spec(seed=0, n_epochs=4),
    Spec(seed=1, n_epochs=2, learning_rate=0.01, lr_schedule="cosine", weight_decay=0.1),
    Spec(seed=2, n_epochs=5, dropout=0.3, l1=0.01, lr_schedule="one_cycle"),
    Spec(seed=3, n_epochs=3, n_train=21, label_smoothing=0.2, gradient_clip=0.05),
    Spec(seed=4, n_epochs=1, n_train=21, momentum=0.0, weighted=True, monitored=False),
    Spec(seed=5, n_epochs=4, n_train=17, weighted=True, lr_schedule="step", dropout=0.5),
    Spec(seed=6, n_epochs=6, patience=2, tol=0.05, learning_rate=0.05),
    Spec(seed=7, n_epochs=4, n_train=25, patience=1, tol=1.0),
]
KINDS = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


def _recipe(optimizer="adamw", *, batch_size=8, **options):
    defaults = {"nesterov": True, "draws_globally": False}
    return Recipe(
        optimizer=optimizer,
        batch_size=batch_size,
        loss=LOSSES["cross_entropy"],
        score=accuracy_by_network,
        **{**defaults, **options},
    )


def _row(spec, train, state=None):
    module = spec.module()
    state = state or TrainingState(seed=spec.seed, weights={}, moments={})
    present = state.last_weights or state.weights
    if present:
        module.load_state_dict({n: torch.tensor(a) for n, a in present.items()})
    return FleetNetwork(
        module=module,
        course=SeededCourse(
            spec.seed,
            learning_rate=spec.learning_rate,
            lr_schedule=spec.lr_schedule,
            schedule_epochs=SCHEDULE_EPOCHS,
            patience=spec.patience,
            tol=spec.tol,
            stopping=state.stopping,
            first_epoch=state.first_epoch,
        ),
        settings=Settings(momentum=spec.momentum, weight_decay=spec.weight_decay),
        state=state,
        n_epochs=spec.n_epochs,
        train=train,
        valid=None if spec.patience is None else VALID,
        monitor=MONITOR if spec.monitored else None,
        learning_rate=spec.learning_rate,
        l1=spec.l1,
        label_smoothing=spec.label_smoothing,
        gradient_clip=spec.gradient_clip,
        dropout_seed=derive_seed(spec.seed, Stream.DROPOUT),
    )


def _train(specs, recipe=None, n_rows=100, states=None, progress=None):
    """Return the outcome of each row, in the order of `specs`."""
    sets = {}
    rows = [
        _row(
            spec,
            sets.setdefault((spec.n_train, spec.weighted), spec.train_set()),
            None if states is None else states[i],
        )
        for i, spec in enumerate(specs)
    ]
    found = list(train_fleet(iter(rows), recipe or _recipe(), n_rows, progress))
    assert sorted(index for index, _ in found) == list(range(len(specs)))
    return [outcome for _, outcome in sorted(found, key=lambda pair: pair[0])], rows


class Lone:
    """One network, trained by torch's own parts."""

    def __init__(self, spec, train, recipe):
        self.spec, self.recipe = spec, recipe
        self.module = spec.module()
        self.layers = seed_dropout(self.module, derive_seed(spec.seed, Stream.DROPOUT))
        self.optimizer = self._optimizer()
        size = len(train) if recipe.batch_size == -1 else recipe.batch_size
        self.batches = TensorBatches(train, size, seed=spec.seed)
        self.n_steps = 0
        self.stopping = StoppingState()
        self.best = None
        self.history = []
        for epoch in range(spec.n_epochs):
            with torch.random.fork_rng():
                self._train_epoch(epoch)
            if spec.patience is not None and self.stopping.n_waited >= spec.patience:
                break
        self.last = copy.deepcopy(self.module.state_dict())
        if self.best is not None:
            self.module.load_state_dict(self.best)

    def _optimizer(self):
        spec, kind, parameters = self.spec, self.recipe.optimizer, self.module.parameters()
        shared = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
        if kind in {"adam", "adamw"}:
            return KINDS[kind](parameters, betas=(spec.momentum, 0.999), **shared)
        if kind == "sgd":
            nesterov = self.recipe.nesterov and spec.momentum > 0
            return SGD(parameters, momentum=spec.momentum, nesterov=nesterov, **shared)
        return RMSprop(parameters, alpha=0.999, momentum=spec.momentum, **shared)

    def _train_epoch(self, epoch):
        spec, losses, totals, right = self.spec, [], [], []
        self.batches.epoch = epoch
        torch.default_generator.manual_seed(derive_seed(spec.seed, Stream.MODULE, epoch))
        for index, (x, target) in enumerate(self.batches):
            y, weight = (
                target if isinstance(target, tuple) else (target, torch.ones(len(x)))
            )
            progress = (epoch + index / len(self.batches)) / SCHEDULE_EPOCHS
            factor = learning_rate_factor(spec.lr_schedule, progress)
            self.optimizer.param_groups[0]["lr"] = spec.learning_rate * factor
            outputs, loss = self._step(x, y, weight.double())
            losses.append(loss * weight.sum().item())
            totals.append(weight.sum().item())
            right.append((outputs.argmax(dim=1) == y) * weight)
        record = {
            "epoch": epoch + 1,
            "train_loss": sum(losses) / sum(totals),
            "train_score": torch.cat(right).sum().item() / sum(totals),
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        if spec.patience is not None:
            record |= self._scored("valid", VALID)
            loss = record["valid_loss"]
            self.stopping = self.stopping.after(epoch + 1, loss, spec.tol)
            if self.stopping.best_epoch == epoch + 1:
                self.best = copy.deepcopy(self.module.state_dict())
        if spec.monitored:
            record |= self._scored("monitor", MONITOR)
        self.history.append(record)

    def _step(self, x, y, weight):
        set_dropout_step(self.layers, self.n_steps)
        self.optimizer.zero_grad()
        outputs = self.module.train()(x)
        smoothing = self.spec.label_smoothing
        losses = F.cross_entropy(outputs, y, label_smoothing=smoothing, reduction="none")
        loss = losses @ weight / weight.sum()
        loss.backward()
        for parameter in self.module.parameters():
            if parameter.ndim > 1:
                parameter.grad += self.spec.l1 * parameter.detach().sign()
        if self.spec.gradient_clip is not None:
            limit = self.spec.gradient_clip
            nn.utils.clip_grad_norm_(self.module.parameters(), limit)
        self.optimizer.step()
        self.n_steps += 1
        return outputs.detach(), loss.item()

    def outputs(self, X):
        with torch.no_grad():
            return self.module.eval()(X)

    def _scored(self, prefix, samples):
        outputs = self.outputs(samples.X)
        right = (outputs.argmax(dim=1) == samples.y).double().mean().item()
        loss = F.cross_entropy(outputs, samples.y).item()
        return {f"{prefix}_loss": loss, f"{prefix}_score": right}


def _lone(specs, recipe):
    sets = {}
    trained = []
    for spec in specs:
        key = (spec.n_train, spec.weighted)
        trained.append(Lone(spec, sets.setdefault(key, spec.train_set()), recipe))
    return trained


def _close(got, expected):
    torch.testing.assert_close(
        torch.as_tensor(got), torch.as_tensor(expected), rtol=1e-9, atol=1e-12
    )


def _assert_weights(got, expected):
    assert list(got) == list(expected)
    for name, tensor in expected.items():
        _close(got[name], tensor)


def _assert_is_that_of(outcome, lone):
    state = outcome.state
    assert outcome.message == ""
    assert state.seed == lone.spec.seed
    assert state.n_steps == lone.n_steps
    assert len(state.history) == len(lone.history)
    for record, expected in zip(state.history, lone.history, strict=True):
        for name, value in expected.items():
            assert record[name] == pytest.approx(value, rel=1e-10), name
    _assert_weights(state.weights, lone.module.state_dict())
    _assert_moments(state.moments, lone.optimizer.state_dict()["state"])
    assert state.stopping.best_epoch == lone.stopping.best_epoch
    assert state.stopping.n_waited == lone.stopping.n_waited
    if lone.best is None:
        assert state.last_weights is None
        assert state.best_weights is None
    else:
        _assert_weights(state.last_weights, lone.last)
        _assert_weights(state.best_weights, lone.best)
    if lone.spec.monitored:
        _close(outcome.outputs, lone.outputs(MONITOR.X))
    else:
        assert outcome.outputs is None


def _assert_moments(got, expected):
    for i, own in expected.items():
        tensors = {n: t for n, t in own.items() if isinstance(t, torch.Tensor)}
        assert got[i].keys() == tensors.keys()
        for name, tensor in tensors.items():
            _close(got[i][name], tensor)


def _assert_same(a, b, *, exact=False):
    """Two outcomes of the same row are the same, but for the time that they took."""
    for part in ("weights", "last_weights", "best_weights"):
        own, other = getattr(a.state, part), getattr(b.state, part)
        assert (own is None) == (other is None)
        if own is not None and exact:
            assert all((own[n] == other[n]).all() for n in other)
        elif own is not None:
            _assert_weights(own, other)
    _assert_moments(
        a.state.moments,
        {
            i: {n: torch.as_tensor(v) for n, v in m.items()}
            for i, m in b.state.moments.items()
        },
    )
    assert len(a.state.history) == len(b.state.history)
    for own, other in zip(a.state.history, b.state.history, strict=True):
        assert own.keys() == other.keys()
        for name in own.keys() - {"dur", "batches"}:
            tolerance = {"rel": 0 if exact else 1e-10, "abs": 0, "nan_ok": True}
            assert own[name] == pytest.approx(other[name], **tolerance), name
    assert (a.state.n_steps, a.state.stopping.best_epoch, a.message) == (
        b.state.n_steps,
        b.state.stopping.best_epoch,
        b.message,
    )
    assert (a.outputs is None) == (b.outputs is None)
    if a.outputs is not None:
        _close(a.outputs, b.outputs)


# Batch normalisation makes derivatives by a bias 0 but for rounding, which Adam enlarges.
@pytest.mark.parametrize(
    ("optimizer", "normalization"),
    [*((kind, norm) for kind in KINDS for norm in (None, "layer")), ("sgd", "batch")],
)
def test_rows_are_networks_trained_alone(optimizer, normalization):
    """Weights, moments, curves and outputs are those of torch's parts, row by row."""
    specs = [replace(s, normalization=normalization) for s in SPECS]
    recipe = _recipe(optimizer)

    outcomes, _ = _train(specs, recipe)

    for outcome, own in zip(outcomes, _lone(specs, recipe), strict=True):
        _assert_is_that_of(outcome, own)


def test_users_modules_draw_as_they_do_alone():
    """nn.Dropout of each row draws as from the global generator of its lone training."""
    specs = [
        Spec(seed=i, user_module=True, dropout=p, n_train=n, n_epochs=e)
        for i, (p, n, e) in enumerate([(0.3, 30, 3), (0.0, 30, 2), (0.6, 21, 4)])
    ]
    recipe = _recipe(draws_globally=True)

    outcomes, _ = _train(specs, recipe, n_rows=2)

    for outcome, own in zip(outcomes, _lone(specs, recipe), strict=True):
        _assert_is_that_of(outcome, own)


@pytest.mark.parametrize("batch_size", [4, 7])
def test_lone_last_sample_stays_alone_where_the_recipe_says_so(batch_size):
    """Its batch then counts as one step more; an epoch's steps are those of its sizes."""
    joined, _ = _train([Spec(n_epochs=1, n_train=29)], _recipe(batch_size=batch_size))
    apart, _ = _train(
        [Spec(n_epochs=1, n_train=29)],
        _recipe(batch_size=batch_size, joins_last_sample=False),
    )

    assert joined[0].state.n_steps == 29 // batch_size
    assert apart[0].state.n_steps == 29 // batch_size + 1


@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_number_of_rows_at_a_time_changes_no_row(n_rows):
    """Rows that wait for a place become what they become beside all others."""
    specs = [s for s in SPECS if s.patience is None]

    outcomes, _ = _train(specs, n_rows=n_rows)

    expected, _ = _train(specs)
    for got, own in zip(outcomes, expected, strict=True):
        _assert_same(got, own)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)], ids=str)
def test_order_of_rows_changes_no_row(order):
    """The index of an outcome is its row's position in what was given."""
    specs = SPECS[:4]
    expected, _ = _train(specs)

    outcomes, _ = _train([specs[i] for i in order], n_rows=2)

    for position, i in enumerate(order):
        _assert_same(outcomes[position], expected[i])


@pytest.mark.parametrize("n_rows", [1, 2, 3, 10])
def test_outcomes_come_when_rows_end_and_progress_after_each_epoch(n_rows):
    """Progress counts add up to all epochs; no epoch has more rows than asked for."""
    epochs = [3, 1, 2, 5, 1]
    sets = Spec().train_set()
    rows = [_row(Spec(seed=i, n_epochs=e), sets) for i, e in enumerate(epochs)]
    events = []

    for index, outcome in train_fleet(rows, _recipe(), n_rows, events.append):
        assert len(outcome.state.history) == epochs[index]
        events.append(f"row {index}")

    assert events == _simulated(epochs, n_rows)


def _simulated(epochs, n_rows):
    """Return progress counts and the ends of rows, as a queue with places has them."""
    waiting, tile, events = list(enumerate(epochs)), [], []
    while waiting or tile:
        while waiting and len(tile) < n_rows:
            tile.append(list(waiting.pop(0)))
        events.append(len(tile))
        for own in tile:
            own[1] -= 1
        events += [f"row {i}" for i, left in tile if left == 0]
        tile = [own for own in tile if own[1] > 0]
    return events


def test_rows_are_made_when_places_become_free():
    """No more rows are taken than can be trained at a time."""
    taken, sets = [], Spec().train_set()

    def rows():
        for i, epochs in enumerate([2, 1, 1, 1]):
            taken.append(i)
            yield _row(Spec(seed=i, n_epochs=epochs), sets)

    outcomes = train_fleet(rows(), _recipe(), 2)

    first, _ = next(outcomes)
    assert (first, taken) == (1, [0, 1])
    rest = [index for index, _ in outcomes]
    assert taken == [0, 1, 2, 3]
    assert sorted(rest) == [0, 2, 3]


@pytest.mark.parametrize(("seconds", "n_calls"), [(0.0, 29), (0.02, 1)])
def test_what_takes_long_to_keep_is_kept_less_often(monkeypatch, seconds, n_calls):
    """It must not cost more than a share of the time."""
    monkeypatch.setattr("sk_tune.engine.fleet._loop._SECONDS_TO_KEEP", 1e-5)
    spec, kept = Spec(n_epochs=30), []

    def keep(states):
        kept.append(states)
        if seconds:
            time.sleep(seconds)

    rows = [_row(spec, TensorSet(X, Y))]
    pause = 0.0 if not seconds else 1e-3
    list(train_fleet(rows, _recipe(), 1, keep=keep, seconds_between=pause))

    assert len(kept) == n_calls


def test_early_stopping_ends_rows_at_their_own_epochs():
    """A row without progress leaves with its best weights; others go on with theirs."""
    specs = [
        Spec(seed=0, n_epochs=12, patience=1, tol=10.0),
        Spec(seed=1, n_epochs=12, patience=3, tol=10.0),
        Spec(seed=2, n_epochs=5, patience=100),
        Spec(seed=3, n_epochs=6),
    ]

    outcomes, _ = _train(specs)

    # The first loss falls from infinity; no later one falls by 10 nats.
    assert [len(o.state.history) for o in outcomes] == [2, 4, 5, 6]
    for outcome, own in zip(outcomes, _lone(specs, _recipe()), strict=True):
        _assert_is_that_of(outcome, own)


@pytest.mark.parametrize("patience", [2, 50], ids=["stops", "goes on"])
def test_best_epoch_is_the_result(patience):
    """With a rate that is too large, weights in use are those of the least loss."""
    spec = Spec(n_epochs=8, patience=patience, learning_rate=0.5)

    (outcome,), _ = _train([spec])

    losses = outcome.state.curve("valid_loss")
    best = int(losses.argmin())
    assert best < len(losses) - 1
    module = spec.module()
    module.load_state_dict({n: torch.tensor(a) for n, a in outcome.state.weights.items()})
    with torch.no_grad():
        loss = F.cross_entropy(module.eval()(VALID.X), VALID.y).item()
        outputs = module(MONITOR.X)
    assert loss == pytest.approx(losses[best], rel=1e-10)
    assert outcome.state.stopping.best_epoch == best + 1
    _close(outcome.outputs, outputs)


@pytest.mark.parametrize(
    ("optimizer", "n_first"), [("sgd", 1), ("adam", 1), ("adamw", 3), ("rmsprop", 2)]
)
@pytest.mark.parametrize("patience", [None, 20], ids=["last", "best"])
def test_interrupted_training_goes_on_exactly(optimizer, patience, n_first):
    """Epochs in two parts, the second from the state, are the epochs in one."""
    specs = [
        replace(s, n_epochs=5, patience=patience)
        for s in (SPECS[0], SPECS[2], SPECS[3], SPECS[5])
    ]
    recipe = _recipe(optimizer)

    whole, _ = _train(specs, recipe)
    first, _ = _train([replace(s, n_epochs=n_first) for s in specs], recipe)
    second, _ = _train(
        [replace(s, n_epochs=5 - n_first) for s in specs],
        recipe,
        states=[o.state for o in first],
    )

    for got, expected in zip(second, whole, strict=True):
        _assert_same(got, expected)


@pytest.mark.parametrize("n_rows", [2, 4])
def test_rows_that_go_on_may_stand_beside_new_ones(n_rows):
    """Rows at different epochs and steps of theirs share a fleet."""
    specs = [replace(SPECS[i], n_epochs=2) for i in (0, 1, 2, 3)]
    first, _ = _train(specs)
    longer = [replace(s, n_epochs=4) for s in specs]
    expected, _ = _train(longer)

    states = [first[0].state, None, first[2].state, None]
    mixed = [
        s if state is None else replace(s, n_epochs=2)
        for s, state in zip(longer, states, strict=True)
    ]
    got, _ = _train(mixed, n_rows=n_rows, states=states)

    for own, whole in zip(got, expected, strict=True):
        _assert_same(own, whole)


@pytest.mark.parametrize(
    ("optimizer", "normalization"),
    [("sgd", None), ("sgd", "batch"), ("sgd", "layer"), ("adam", None), ("adam", "layer")],
)
def test_diverging_row_touches_no_other(optimizer, normalization):
    """Others are what they are beside a tame row, and what they are without it."""
    tame = [
        Spec(seed=i, n_epochs=4, dropout=0.2, normalization=normalization, patience=p)
        for i, p in enumerate([None, 3, None])
    ]
    wild = replace(tame[1], seed=9, learning_rate=1e308, patience=None)
    recipe = _recipe(optimizer)

    with_wild, _ = _train([tame[0], wild, *tame[1:]], recipe)
    with_tame, _ = _train([tame[0], replace(wild, learning_rate=0.01), *tame[1:]], recipe)
    without, _ = _train(tame, recipe)

    assert with_wild[1].message
    assert not with_tame[1].message
    for i, position in enumerate([0, 2, 3]):
        # Torch's kernel of Adam rounds by where in memory an element lies.
        exact = optimizer == "sgd"
        _assert_same(with_wild[position], with_tame[position], exact=exact)
        _assert_same(with_wild[position], without[i])


@pytest.mark.parametrize("n_rows", [1, 2])
def test_place_of_a_diverged_row_is_taken_by_another(n_rows):
    """A row that fails leaves, and the one that waits is not harmed by its numbers."""
    specs = [Spec(seed=1, learning_rate=1e308), Spec(seed=2), Spec(seed=3, n_epochs=2)]

    outcomes, _ = _train(specs, _recipe("sgd"), n_rows=n_rows)

    assert [bool(o.message) for o in outcomes] == [True, False, False]
    for outcome, own in zip(outcomes[1:], _lone(specs[1:], _recipe("sgd")), strict=True):
        _assert_is_that_of(outcome, own)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            Spec(learning_rate=1e308, n_epochs=5),
            r"The train loss became (nan|inf) at epoch 1 with learning_rate=1e\+308\.",
        ),
        (
            Spec(learning_rate=1e308, n_epochs=5, n_train=17, patience=3),
            r"The (train|valid) loss became (nan|inf) at epoch 1 with",
        ),
        (
            Spec(learning_rate=math.inf, n_epochs=1, monitored=False),
            r"The (weights '.+' are not finite after|train loss became nan at) epoch 1",
        ),
    ],
    ids=["train", "valid", "infinite"],
)
def test_row_that_fails_says_why(spec, message):
    """Its outcome names the loss, the epoch and the rate, and has no outputs."""
    (outcome,), _ = _train([spec], _recipe("sgd"))

    assert outcome.outputs is None
    assert re.match(message, outcome.message)
    assert outcome.state.history == ()


def test_weights_that_are_not_finite_at_the_end_are_named():
    """If every loss was finite and the last step was not, the first such weight is told."""
    spec = Spec(learning_rate=math.inf, n_epochs=1, monitored=False)

    (outcome,), _ = _train([spec], _recipe("sgd", batch_size=-1))

    assert outcome.message.startswith(
        "The weights 'hidden.0.linear.weight' are not finite after epoch 1 with "
        "learning_rate=inf."
    )


def test_gradients_are_left_switched_on():
    """Between outcomes and after them, code of the caller has autograd as before."""
    sets = Spec().train_set()
    rows = [_row(Spec(seed=i, n_epochs=i + 1), sets) for i in range(2)]

    for _ in train_fleet(rows, _recipe(), 2):
        assert torch.is_grad_enabled()

    assert torch.is_grad_enabled()


def test_times_of_rows_add_up_to_at_most_the_time_of_all():
    """An epoch's time is shared evenly, and each row's record has its share."""
    start = time.perf_counter()
    outcomes, _ = _train(SPECS[:3], n_rows=2)
    elapsed = time.perf_counter() - start

    assert 0 < sum(o.seconds for o in outcomes) <= elapsed
    for outcome in outcomes:
        shares = sum(record["dur"] for record in outcome.state.history)
        assert outcome.seconds == pytest.approx(shares)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_compaction_keeps_moments(optimizer):
    """A row's moments go on unharmed while the rows around it leave one by one."""
    specs = [
        Spec(seed=i, n_epochs=e, n_train=n)
        for i, (e, n) in enumerate([(1, 30), (5, 21), (2, 30), (3, 17), (4, 30)])
    ]
    recipe = _recipe(optimizer)

    outcomes, _ = _train(specs, recipe)

    for outcome, own in zip(outcomes, _lone(specs, recipe), strict=True):
        _assert_moments(outcome.state.moments, own.optimizer.state_dict()["state"])
        _assert_is_that_of(outcome, own)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 8])
def test_rows_with_and_without_early_stopping_share_a_fleet(n_rows):
    """Those with it have their best weights, whoever was there first or comes late."""
    specs = [
        Spec(seed=i, n_epochs=e, patience=p, learning_rate=0.3)
        for i, (e, p) in enumerate([
            (2, 9),
            (5, 9),
            (3, None),
            (2, None),
            (4, 9),
            (1, None),
        ])
    ]

    outcomes, _ = _train(specs, n_rows=n_rows)

    for outcome, own in zip(outcomes, _lone(specs, _recipe()), strict=True):
        _assert_is_that_of(outcome, own)


@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_rows_without_early_stopping_may_come_first(n_rows):
    """A row that goes on and does not improve keeps the best weights it came with."""
    spec = Spec(seed=1, n_epochs=2, patience=9, learning_rate=0.5)
    (first,), _ = _train([spec])
    # A loss that no later epoch reaches, so that the best weights stay those of before.
    stopping = StoppingState(best_loss=0.0, best_epoch=1, n_waited=1)
    best = {name: array + 1 for name, array in first.state.best_weights.items()}
    state = replace(first.state, stopping=stopping, best_weights=best, weights=best)

    outcomes, _ = _train(
        [Spec(n_epochs=4), Spec(n_epochs=1), spec],
        n_rows=n_rows,
        states=[None, None, state],
    )

    _assert_weights(outcomes[2].state.weights, best)
    _assert_weights(outcomes[2].state.best_weights, best)


def test_row_that_has_stopped_is_not_trained():
    """A training that early stopping has ended comes back as it stands."""
    spec = Spec(n_epochs=9, patience=1, tol=10.0)
    (first,), _ = _train([spec])

    (again,), _ = _train([spec], states=[first.state])

    _assert_same(again, first)

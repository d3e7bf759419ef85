"""Networks enter a fleet, leave it, and have outcomes."""

import math
import re
import time

import pytest
import torch
from torch.nn import functional as F

from sk_tune._fleets._loop import train_fleet
from sk_tune._fleets._recipe import FleetNetwork, Recipe, SeededCourse, stacked_loss
from sk_tune._fleets._stacked_optimizers import Settings
from sk_tune._nets import MLP
from sk_tune._training import StoppingState, TensorSet, TrainingState, accuracy_by_network

D, C, N = 4, 3, 30


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


X = _normal(N, D)
Y = X[:, :C].argmax(dim=1)
VALID = TensorSet(_normal(11, D, seed=2), torch.arange(11) % C)
MONITOR = TensorSet(_normal(7, D, seed=3), torch.arange(7) % C)


def _module(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        options = {"normalization": None, "residual": True, "dropout": 0.0}
        sizes = (5, 5)
        return MLP(D, C, hidden_layer_sizes=sizes, activation="tanh", **options).double()


def _set(n_train=N):
    return TensorSet(X, Y, None, None if n_train == N else torch.arange(n_train))


def _recipe(optimizer="adamw", *, batch_size=8, **options):
    return Recipe(
        optimizer=optimizer,
        batch_size=batch_size,
        loss=stacked_loss("cross_entropy"),
        score=accuracy_by_network,
        nesterov=True,
        draws_globally=False,
        **options,
    )


def _network(train, seed=0, n_epochs=3, learning_rate=0.02, patience=None, monitor=MONITOR):
    """Return a network to train, with early stopping if `patience` is set."""
    course = SeededCourse(
        seed,
        learning_rate=learning_rate,
        lr_schedule="constant",
        schedule_epochs=5,
        patience=patience,
        tol=0.0,
        stopping=StoppingState(),
        first_epoch=0,
    )
    return FleetNetwork(
        module=_module(seed),
        course=course,
        settings=Settings(momentum=0.9),
        state=TrainingState(seed=seed, weights={}, moments={}),
        n_epochs=n_epochs,
        train=train,
        valid=None if patience is None else VALID,
        monitor=monitor,
        learning_rate=learning_rate,
    )


def _train(network, recipe=None):
    """Return the outcome of one network."""
    ((_, outcome),) = train_fleet([network], recipe or _recipe(), 1)
    return outcome


def _close(got, expected):
    torch.testing.assert_close(
        torch.as_tensor(got), torch.as_tensor(expected), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("batch_size", [4, 7])
def test_lone_last_sample_stays_alone_where_the_recipe_says_so(batch_size):
    """Its batch counts as a step; the batch sizes determine the steps of an epoch."""
    joined, separate = (
        _train(_network(_set(29), n_epochs=1), _recipe(batch_size=batch_size, **options))
        for options in ({}, {"joins_last_sample": False})
    )

    assert joined.state.n_steps == 29 // batch_size
    assert separate.state.n_steps == 29 // batch_size + 1


@pytest.mark.parametrize("n_active", [1, 2, 3, 10])
def test_outcomes_come_when_networks_end_and_progress_after_each_epoch(
    n_active, monkeypatch
):
    """Progress counts add up to all epochs, and never exceed `n_active`."""
    # The kernel trains several epochs in one call.
    monkeypatch.setenv("SK_TUNE_KERNEL", "0")
    epochs = [3, 1, 2, 5, 1]
    samples = _set()
    networks = [_network(samples, i, n_epochs) for i, n_epochs in enumerate(epochs)]
    events = []

    for index, outcome in train_fleet(networks, _recipe(), n_active, events.append):
        assert len(outcome.state.history) == epochs[index]
        events.append(f"network {index}")

    assert events == _simulated(epochs, n_active)


def _simulated(epochs, n_active):
    """Return progress counts and ends of networks, as in a queue with places."""
    waiting, active, events = list(enumerate(epochs)), [], []
    while waiting or active:
        while waiting and len(active) < n_active:
            active.append(list(waiting.pop(0)))
        events.append(len(active))
        for network in active:
            network[1] -= 1
        events += [f"network {i}" for i, n_left in active if n_left == 0]
        active = [network for network in active if network[1] > 0]
    return events


def test_networks_are_built_when_places_become_free():
    """No more networks are built than can train at a time."""
    built, samples = [], _set()

    def networks():
        for i, epochs in enumerate([2, 1, 1, 1]):
            built.append(i)
            yield _network(samples, i, epochs)

    outcomes = train_fleet(networks(), _recipe(), 2)

    first, _ = next(outcomes)
    assert (first, built) == (1, [0, 1])
    remaining = [index for index, _ in outcomes]
    assert built == [0, 1, 2, 3]
    assert sorted(remaining) == [0, 2, 3]


@pytest.mark.parametrize(("seconds", "n_calls"), [(0.0, 29), (0.02, 1)])
def test_slow_checkpoints_are_stored_less_often(monkeypatch, seconds, n_calls):
    """Storing must not take more than a share of the time."""
    monkeypatch.setattr("sk_tune._fleets._loop._SECONDS_TO_KEEP", 1e-5)
    stored = []

    def keep(states):
        stored.append(states)
        if seconds:
            time.sleep(seconds)

    networks = [_network(_set(), n_epochs=30)]
    pause = 0.0 if not seconds else 1e-3
    list(train_fleet(networks, _recipe(), 1, keep=keep, seconds_between=pause))

    assert len(stored) == n_calls


@pytest.mark.parametrize("patience", [2, 50], ids=["stops", "goes on"])
def test_best_epoch_is_the_result(patience):
    """With a rate that is too large, the weights with the least loss are the result."""
    network = _network(_set(), n_epochs=8, patience=patience, learning_rate=0.5)
    # A network in front of it leaves the fleet when its best epoch is over.
    short = _network(_set(), 1, n_epochs=4)

    outcome = dict(train_fleet([short, network], _recipe(), 2))[1]

    losses = outcome.state.curve("valid_loss")
    best = int(losses.argmin())
    assert best < len(losses) - 1
    module = _module(0)
    module.load_state_dict({n: torch.tensor(a) for n, a in outcome.state.weights.items()})
    with torch.no_grad():
        loss = F.cross_entropy(module.eval()(VALID.X), VALID.y).item()
        outputs = module(MONITOR.X)
    assert loss == pytest.approx(losses[best], rel=1e-10)
    assert outcome.state.stopping.best_epoch == best + 1
    _close(outcome.predictions, outputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"learning_rate": 1e308},
            r"The train loss became (nan|inf) at epoch 1 with learning_rate=1e\+308\.",
        ),
        (
            {"learning_rate": 1e308, "patience": 3},
            r"The (train|valid) loss became (nan|inf) at epoch 1 with",
        ),
        (
            {"learning_rate": math.inf, "n_epochs": 1, "monitor": None},
            r"The (weights '.+' are not finite after|train loss became nan at) epoch 1",
        ),
    ],
    ids=["train", "valid", "infinite"],
)
def test_a_failed_network_says_why(options, message):
    """Its outcome names the loss, the epoch and the rate, and has no outputs."""
    outcome = _train(_network(_set(), **options), _recipe("sgd"))

    assert outcome.predictions is None
    assert re.match(message, outcome.message)
    assert outcome.state.history == ()


def test_weights_that_are_not_finite_at_the_end_are_named():
    """If only the last step was not finite, the message names the first such weight."""
    network = _network(_set(), n_epochs=1, learning_rate=math.inf, monitor=None)

    outcome = _train(network, _recipe("sgd", batch_size=-1))

    assert outcome.message.startswith(
        "The weights 'hidden.0.linear.weight' are not finite after epoch 1 with "
        "learning_rate=inf."
    )


def test_times_of_networks_add_up_to_at_most_the_time_of_all():
    """The time of an epoch is shared evenly between the records of the networks."""
    start = time.perf_counter()
    networks = [_network(_set(), i, n_epochs=i + 1) for i in range(3)]
    outcomes = [outcome for _, outcome in train_fleet(networks, _recipe(), 2)]
    elapsed = time.perf_counter() - start

    assert 0 < sum(o.seconds for o in outcomes) <= elapsed
    for outcome in outcomes:
        shares = sum(record["dur"] for record in outcome.state.history)
        assert outcome.seconds == pytest.approx(shares)

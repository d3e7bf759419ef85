"""Networks that train side by side, and their weights."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sk_tune.engine.fleet._active_batch import ActiveBatch, ActiveNetwork, build_program
from sk_tune.engine.fleet._mlp_program import MLPProgram
from sk_tune.engine.fleet._module import ModuleProgram
from sk_tune.engine.fleet._recipe import LOSSES, FleetNetwork, Recipe, SeededCourse
from sk_tune.engine.fleet._stacked_optimizers import Settings, StackedTensors
from sk_tune.engine.fleet._traced import TracedProgram
from sk_tune.nets import MLP, RNN
from sk_tune.training import StoppingState, TensorSet, TrainingState, accuracy_by_network

D, C, N = 3, 2, 12


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


SAMPLES = TensorSet(_normal(N, D), torch.arange(N) % C)
RECIPE = Recipe(
    optimizer="sgd",
    nesterov=False,
    batch_size=4,
    loss=LOSSES["cross_entropy"],
    score=accuracy_by_network,
    draws_globally=False,
)


def _mlp(seed=0, dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MLP(
            D,
            C,
            hidden_layer_sizes=(4,),
            activation="tanh",
            normalization="batch",
            residual=False,
            dropout=dropout,
        ).double()


def _rnn(dropout=0.0):
    return RNN(
        D,
        C,
        cell="gru",
        n_layers=1,
        hidden_size=2,
        bidirectional=False,
        activation="tanh",
        normalization=None,
        residual=False,
        dropout=dropout,
    ).double()


def _row(seed=0, *, n=N, patience=None, history=(), learning_rate=0.1, **options):
    index = None if n == N else torch.arange(n)
    defaults = {
        "module": _mlp(seed),
        "course": SeededCourse(
            seed,
            learning_rate=learning_rate,
            lr_schedule="constant",
            schedule_epochs=3,
            patience=patience,
            tol=0.0,
            stopping=StoppingState(),
            first_epoch=0,
        ),
        "settings": Settings(momentum=0.0),
        "state": TrainingState(seed=seed, weights={}, moments={}, history=history),
        "n_epochs": 3,
        "train": TensorSet(*SAMPLES.columns, index=index),
        "valid": None if patience is None else SAMPLES,
        "monitor": None,
        "learning_rate": learning_rate,
    }
    return FleetNetwork(**{**defaults, **options})


def _active(*rows):
    tile = ActiveBatch(RECIPE)
    tile.add(list(enumerate(rows)))
    return tile


def _step(tile, gradients, step=0):
    tile.begin_epoch([3] * len(tile))
    tile.update(slice(0, len(tile)), step, [g.clone() for g in gradients])


def _gradients(tile, seed=5):
    parameters = tile.program.parameters.tensors.values()
    return [_normal(*p.shape, seed=seed + i) for i, p in enumerate(parameters)]


def _assert_holds(tile, position, module):
    weights = tile.weights_of(position)
    assert list(weights) == list(module.state_dict())
    for name, tensor in module.state_dict().items():
        assert np.array_equal(weights[name], tensor.numpy())


@pytest.mark.parametrize("sizes", [(12, 9, 9, 5), (5, 12, 9, 9), (9, 9, 9, 9)], ids=str)
def test_rows_with_most_samples_come_first(sizes):
    """Each keeps its index and weights, and equals keep the order they came in."""
    rows = [_row(i, n=n) for i, n in enumerate(sizes)]

    tile = _active(*rows)

    expected = sorted(range(4), key=lambda i: (-sizes[i], i))
    assert [active.index for active in tile.networks] == expected
    for position, i in enumerate(expected):
        _assert_holds(tile, position, rows[i].module)


def test_rows_that_leave_and_come_take_their_tensors_along():
    """After any change, the weights at a place are those of the row at that place."""
    rows = [_row(i, n=n, patience=3) for i, n in enumerate([9, 12, 7, 11])]
    tile = _active(*rows[:3])

    tile.remove([1])
    tile.add([(3, rows[3])])

    assert [active.index for active in tile.networks] == [1, 3, 2]
    for position, i in enumerate([1, 3, 2]):
        _assert_holds(tile, position, rows[i].module)


def test_tile_can_be_emptied_and_filled_again():
    """The last row may leave before others come."""
    tile = _active(_row(0), _row(1))
    tile.remove([0, 1])
    assert len(tile) == 0

    row = _row(2)
    tile.add([(2, row)])

    _assert_holds(tile, 0, row.module)
    assert tile.optimizer.n_steps == [0]


def test_adding_nothing_changes_nothing():
    """No waiting row is no error."""
    tile = _active(_row(0))

    tile.add([])

    assert len(tile) == 1


def test_steps_of_plain_gradient_descent():
    """Each row moves by its own rate against its own gradient."""
    rows = [_row(0, learning_rate=0.1), _row(1, learning_rate=0.01)]
    tile = _active(*rows)
    gradients = _gradients(tile)

    _step(tile, gradients)

    for position, row in enumerate(rows):
        weights = tile.weights_of(position)
        for (name, p), g in zip(row.module.named_parameters(), gradients, strict=True):
            expected = p.detach() - row.learning_rate * g[position]
            torch.testing.assert_close(torch.tensor(weights[name]), expected)


def test_l1_penalty_pulls_weight_matrices_only():
    """Signs times the row's strength are added for what has two dimensions or more."""
    rows = [_row(0, l1=0.3), _row(1), _row(2, l1=0.01)]
    tile = _active(*rows)
    gradients = _gradients(tile)

    _step(tile, gradients)

    for position, row in enumerate(rows):
        weights = tile.weights_of(position)
        for (name, p), g in zip(row.module.named_parameters(), gradients, strict=True):
            penalty = row.l1 * p.detach().sign() if p.ndim > 1 else 0
            expected = p.detach() - 0.1 * (g[position] + penalty)
            torch.testing.assert_close(torch.tensor(weights[name]), expected)


@pytest.mark.parametrize("clips", [(0.5, None, 100.0), (0.5, 0.1, 1e-3)], ids=str)
def test_gradients_are_clipped_as_torch_clips_them(clips):
    """By the norm over all parameters of the row, and only where the row has a limit."""
    rows = [_row(i, gradient_clip=clip) for i, clip in enumerate(clips)]
    tile = _active(*rows)
    gradients = _gradients(tile)

    _step(tile, gradients)

    for position, (row, clip) in enumerate(zip(rows, clips, strict=True)):
        parameters = list(row.module.parameters())
        for parameter, g in zip(parameters, gradients, strict=True):
            parameter.grad = g[position].clone()
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        weights = tile.weights_of(position)
        for name, p in row.module.named_parameters():
            expected = p.detach() - 0.1 * p.grad
            torch.testing.assert_close(
                torch.tensor(weights[name]), expected, rtol=1e-12, atol=1e-12
            )


def test_infinite_gradient_of_a_row_clips_no_other():
    """A norm that is infinite or NaN scales its own row only."""
    rows = [_row(i, gradient_clip=0.1) for i in range(3)]
    tame, wild = _active(*rows), _active(*rows)
    gradients = _gradients(tame)
    broken = [g.clone() for g in gradients]
    broken[0][1], broken[1][1] = torch.inf, torch.nan

    _step(tame, gradients)
    _step(wild, broken)

    for position in (0, 2):
        expected = tame.weights_of(position)
        for name, array in wild.weights_of(position).items():
            assert np.array_equal(array, expected[name])


def test_smoothing_and_penalties_follow_their_rows():
    """Numbers of rows stand in the order of the rows, also after some have left."""
    smoothings = [0.1, 0.2, 0.3]
    tile = _active(*[_row(i, label_smoothing=s) for i, s in enumerate(smoothings)])
    assert tile.smoothing.tolist() == pytest.approx(smoothings)

    tile.remove([0])

    assert tile.smoothing.tolist() == pytest.approx([0.2, 0.3])
    assert _active(_row(0)).smoothing is None


@pytest.mark.parametrize("kept", [[0], [1, 2], [0, 1, 2]], ids=str)
def test_best_weights_come_back(kept):
    """Rows whose best weights were kept return to them; others are as they were."""
    rows = [_row(i, patience=5) for i in range(3)]
    tile = _active(*rows)
    _step(tile, _gradients(tile))
    at_best = [tile.weights_of(i) for i in range(3)]
    tile.keep_best(kept)
    _step(tile, _gradients(tile, seed=50))
    last = [tile.weights_of(i) for i in range(3)]

    tile.restore_best(kept)

    for i in range(3):
        expected = at_best[i] if i in kept else last[i]
        for name, array in tile.weights_of(i).items():
            assert np.array_equal(array, expected[name])


def test_best_weights_move_with_their_rows():
    """After rows have left and come, each returns to its own best weights."""
    tile = _active(*[_row(i, patience=5) for i in range(3)])
    _step(tile, _gradients(tile))
    best = tile.weights_of(2)
    tile.keep_best([0, 1, 2])

    tile.remove([0])
    tile.add([(3, _row(3, patience=5))])
    _step(tile, _gradients(tile, seed=50))
    tile.restore_best([1])

    assert tile.networks[1].index == 2
    for name, array in tile.weights_of(1).items():
        assert np.array_equal(array, best[name])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_first_weight_that_is_not_finite_is_named(value):
    """In the module's order; a row without such weights has None."""
    tile = _active(*[_row(i) for i in range(3)])
    tensors = tile.program.parameters.tensors
    tensors["output.bias"][1, 0] = value
    tensors["hidden.0.norm.weight"][2, 1] = value
    tensors["output.weight"][2, 1, 1] = value

    assert tile.first_infinite([0, 1, 2]) == [None, "output.bias", "hidden.0.norm.weight"]
    assert tile.first_infinite([2]) == ["hidden.0.norm.weight"]


def test_state_says_where_a_row_stands():
    """Seed, counters, moments, history and weights are those of the row."""
    settings = Settings(momentum=0.9)
    tile = _active(_row(3, settings=settings), _row(4, settings=settings, patience=2))
    _step(tile, _gradients(tile))
    for active in tile.networks:
        active.note("train", 1.0, 0.5)
        active.note("valid", 2.0, 0.5)
        active.end_epoch(0.1)

    first, second = tile.state_of(0, None), tile.state_of(1, {"own": 0})

    assert (first.seed, second.seed) == (3, 4)
    assert first.n_steps == second.n_steps == 3
    assert [record["epoch"] for record in first.history] == [1]
    assert first.last_weights is first.best_weights is None
    assert second.last_weights == {"own": 0}
    assert second.best_weights is second.weights
    assert second.stopping.best_epoch == 1
    for i, g in enumerate(_gradients(tile)):
        assert np.array_equal(first.moments[i]["momentum_buffer"], g[0].numpy())


def test_record_of_an_epoch_is_closed_with_rate_and_time():
    """The history gains one record, and what is recorded next begins anew."""
    active = ActiveNetwork(0, _row())
    active.rates = [0.3, 0.2]
    active.note("train", 0.7, 0.6)
    active.note("monitor", 0.8, 0.5)

    active.end_epoch(0.25)

    assert active.history == [
        {
            "batches": [],
            "epoch": 1,
            "train_loss": 0.7,
            "train_loss_best": True,
            "train_score": 0.6,
            "monitor_loss": 0.8,
            "monitor_loss_best": True,
            "monitor_score": 0.5,
            "lr": 0.2,
            "dur": 0.25,
        }
    ]
    assert (active.epoch, active.n_steps, active.seconds) == (1, 2, 0.25)


def test_best_losses_are_marked():
    """A loss at or below all earlier ones, those of a stored history too, is the best."""
    active = ActiveNetwork(0, _row(history=({"epoch": 1, "train_loss": 0.5},), n_epochs=9))
    active.rates = [0.1]
    for loss in (0.6, 0.5, 0.4, 0.45):
        active.note("train", loss, 0.0)
        active.end_epoch(0.0)

    marks = [record["train_loss_best"] for record in active.history[1:]]
    assert marks == [False, True, True, False]


@pytest.mark.parametrize("prefix", ["train", "valid"])
@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_loss_that_is_not_finite_ends_the_row(prefix, loss):
    """The epoch does not count, and the message says which loss, when and at what rate."""
    active = ActiveNetwork(0, _row())
    active.rates = [0.1]

    active.note(prefix, loss, 0.0)
    active.end_epoch(0.0)

    assert active.ended
    assert active.history == []
    text = f"The {prefix} loss became {loss} at epoch 1 with learning_rate=0.1."
    assert active.message.startswith(text)


def test_first_reason_is_told():
    """A validation loss does not replace the message of the training loss."""
    active = ActiveNetwork(0, _row())

    active.note("train", math.nan, 0.0)
    active.note("valid", math.inf, 0.0)

    assert active.message.startswith("The train loss became nan")


def test_monitor_loss_that_is_not_finite_changes_nothing():
    """Samples that are only looked at cannot end a row."""
    active = ActiveNetwork(0, _row())
    active.rates = [0.1]
    active.note("train", 1.0, 0.0)

    active.note("monitor", math.nan, 0.0)
    active.end_epoch(0.0)

    assert active.message == ""
    assert active.epoch == 1


@pytest.mark.parametrize("n_epochs", [1, 3])
@pytest.mark.parametrize("n_before", [0, 2])
def test_row_ends_after_its_epochs(n_epochs, n_before):
    """They are counted from where the row stands."""
    history = tuple({"epoch": i + 1, "train_loss": 1.0} for i in range(n_before))
    active = ActiveNetwork(0, _row(history=history, n_epochs=n_epochs))
    active.rates = [0.1]

    ends = []
    for _ in range(n_epochs):
        assert not active.ended
        active.note("train", 1.0, 0.0)
        active.end_epoch(0.0)
        ends.append(active.ended)

    assert ends == [False] * (n_epochs - 1) + [True]
    assert active.history[-1]["epoch"] == n_before + n_epochs


def test_stored_history_is_not_written_to():
    """Records of the state that a row starts from stay as they are."""
    history = ({"epoch": 1, "train_loss": 1.0},)
    active = ActiveNetwork(0, _row(history=history))

    active.history[0]["train_loss"] = 5.0

    assert history == ({"epoch": 1, "train_loss": 1.0},)


def test_chains_have_explicit_derivatives_and_others_vmap():
    """The program is chosen by the module."""
    layers = nn.Sequential(nn.Linear(D, C)).double()

    assert isinstance(build_program([_row()]), MLPProgram)
    assert isinstance(build_program([_row(module=layers)]), TracedProgram)
    layers.append(nn.Bilinear(C, C, C).double())
    assert isinstance(build_program([_row(module=layers)]), ModuleProgram)


@pytest.mark.parametrize("dropouts", [(0.0, 0.3), (0.3, 0.0), (0.2, 0.2)], ids=str)
def test_program_has_dropout_as_its_modules_have(dropouts):
    """A module that has left its layers out drops nothing, whichever comes first."""
    sequences = TensorSet(_normal(4, 5, D), torch.zeros(4, dtype=torch.int64))
    for make, train in ((lambda p: _mlp(dropout=p), SAMPLES), (_rnn, sequences)):
        rows = [_row(module=make(p), train=train, dropout_seed=0) for p in dropouts]

        dropout = build_program(rows).dropout

        scales = [1 / (1 - p) for p in dropouts]
        assert dropout.active
        assert dropout.scales.tolist() == [pytest.approx(scales)]


@pytest.mark.parametrize("where", ["train", "valid", "monitor", None])
def test_padding_is_looked_for_in_all_samples(where):
    """One sequence that ends early, in any set of any row, makes the program look."""
    full = TensorSet(_normal(4, 5, D), torch.zeros(4, dtype=torch.int64))
    X = full.X.clone()
    X[2, 3:] = torch.nan
    first = _row(module=_rnn(), train=full)
    second = replace(first, valid=full, monitor=full)
    if where is not None:
        second = replace(second, **{where: TensorSet(X, full.y)})

    assert build_program([first, second]).padded == (where is not None)


def test_missing_values_are_no_padding_where_no_sequence_is():
    """Only the recurrent network knows sequences that end early."""
    layers = nn.Sequential(nn.Flatten(), nn.Linear(5 * D, C)).double()
    X = _normal(4, 5, D)
    X[2, 3:] = torch.nan
    samples = TensorSet(X, torch.zeros(4, dtype=torch.int64))

    program = build_program([_row(module=layers, train=samples)])

    assert not getattr(program, "padded", False)


SHAPES = {"weight": (2, 3), "bias": (2,), "count": ()}


def _rows(n, start=0):
    """Return the tensors of n networks, each of which holds its number."""
    return [
        {name: torch.full(shape, float(start + i)) for name, shape in SHAPES.items()}
        for i in range(n)
    ]


def _numbers(tensors):
    """Return which network each row holds, after checking that rows are whole."""
    columns = [t.flatten(1) if t.ndim > 1 else t.unsqueeze(1) for t in tensors.values()]
    whole = torch.cat(columns, dim=1)
    assert (whole == whole[:, :1]).all()
    return whole[:, 0].tolist()


def test_networks_are_stacked_by_name():
    """Each tensor gets a leading axis; parameters come as plain copies."""
    modules = [nn.Linear(3, 2) for _ in range(3)]

    stacked = StackedTensors.stacked([dict(m.named_parameters()) for m in modules])

    for name, tensor in stacked.tensors.items():
        own = [m.get_parameter(name) for m in modules]
        assert torch.equal(tensor, torch.stack(own))
        assert not tensor.requires_grad
        assert tensor.is_contiguous()


def test_tensors_in_another_order_in_memory_are_put_in_one():
    """Kernels and files walk through memory, and ask for no strides."""
    weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    rows = [
        {"conv": weight, "turned": torch.rand(3, 2).T},
        {"conv": weight + 1, "turned": torch.rand(2, 3)},
    ]

    stacked = StackedTensors.stacked(rows)

    assert all(tensor.is_contiguous() for tensor in stacked.tensors.values())
    assert torch.equal(stacked.tensors["conv"][0], weight)
    for k, row in enumerate(rows):
        for name, array in stacked.network(k).items():
            assert array.flags.c_contiguous
            np.testing.assert_array_equal(array, row[name].numpy())


@given(
    n=st.integers(1, 6),
    choices=st.lists(st.integers(0, 5), min_size=0, max_size=6, unique=True),
)
def test_selection_keeps_rows_in_the_order_given(n, choices):
    """Those that are named stay, others go."""
    kept = [c for c in choices if c < n]
    stacked = StackedTensors.stacked(_rows(n))

    stacked.select(torch.tensor(kept, dtype=torch.int64))

    assert _numbers(stacked.tensors) == kept
    assert {name: t.shape[1:] for name, t in stacked.tensors.items()} == SHAPES


def test_selection_frees_the_memory_of_others():
    """The storage is as large as what has stayed."""
    stacked = StackedTensors.stacked(_rows(10))

    stacked.select(torch.tensor([7]))

    for tensor in stacked.tensors.values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 4


@given(n=st.integers(1, 4), m=st.integers(1, 4))
def test_extension_puts_rows_behind(n, m):
    """Old rows keep their places."""
    stacked = StackedTensors.stacked(_rows(n))

    stacked.extend(StackedTensors.stacked(_rows(m, start=n)))

    assert _numbers(stacked.tensors) == list(range(n + m))


@pytest.mark.parametrize("index", [[], [1], [3, 0]], ids=str)
def test_writing_overwrites_the_same_rows_in_place(index):
    """Views of the tensors see what has been written, and other rows stay."""
    stacked, other = (
        StackedTensors.stacked(_rows(4)),
        StackedTensors.stacked(_rows(4, start=10)),
    )
    views = {name: t[:] for name, t in stacked.tensors.items()}

    stacked.write(torch.tensor(index, dtype=torch.int64), other)

    assert _numbers(views) == [i + 10 if i in index else i for i in range(4)]
    assert _numbers(other.tensors) == [10, 11, 12, 13]


def test_row_is_a_copy_as_arrays():
    """One network's tensors come by name, without the row axis."""
    stacked = StackedTensors.stacked(_rows(3))

    row = stacked.network(2)
    stacked.tensors["weight"].zero_()

    assert {name: array.shape for name, array in row.items()} == SHAPES
    assert all(isinstance(array, np.ndarray) for array in row.values())
    assert all((array == 2).all() for array in row.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
def test_types_of_numbers_stay(dtype):
    """A counter remains an integer through every operation."""
    rows = [{"n": torch.tensor(i, dtype=dtype)} for i in range(3)]
    stacked = StackedTensors.stacked(rows)

    stacked.extend(StackedTensors.stacked(rows))
    stacked.select(torch.tensor([5, 0]))

    assert stacked.tensors["n"].dtype == dtype
    assert torch.as_tensor(stacked.network(0)["n"]).dtype == dtype
    assert stacked.network(0)["n"] == 2

"""How modules are trained, and why; each network alone is the reference."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sk_tune import MLPClassifier, augment
from sk_tune._engine import Fit
from sk_tune._engine._shard import prepare
from sk_tune._estimators import FitPreparer
from sk_tune._fleets import _convolution, _plan, _traced, plan
from sk_tune._fleets._program import Program
from sk_tune._fleets._traced import Chain, Link
from sk_tune._nets import RNN, SeededDropout, seed_dropout, set_dropout_step

SHAPE, B, C = (2, 3), 5, 4
SEEDS, FIRST_STEPS = [0, 5, 2**40], [0, 4, 900]


class Plain(nn.Module):
    """Two layers with functions between them, and one dropout layer in two places."""

    def __init__(self, p=0.2):
        super().__init__()
        self.first = nn.Linear(6, 7)
        self.drop = nn.Dropout(p)
        self.last = nn.Linear(7, C)

    def forward(self, x):
        h = self.drop(F.relu(self.first(x.view(x.size(0), -1))))
        return F.softmax(self.last(self.drop(h)).tanh(), dim=1)


def _layers(p=0.2):
    """Every kind of layer, in orders in which the backward pass needs earlier outputs."""
    return nn.Sequential(
        nn.Flatten(),
        nn.BatchNorm1d(6),
        nn.Dropout(p),
        nn.Linear(6, 7, bias=False),
        nn.Tanh(),
        nn.LayerNorm(7),
        nn.ReLU(inplace=True),
        nn.Dropout(p / 2),
        nn.Tanh(),
        nn.Dropout(p),
        nn.Identity(),
        nn.Linear(7, 7),
        nn.GELU(),
        nn.ReLU(),
        nn.BatchNorm1d(7),
        nn.Linear(7, C),
        nn.Dropout(p),
        nn.LogSoftmax(dim=-1),
    )


def _ends_in_relu(p=0.2):
    return nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Dropout(p), nn.Linear(6, C), nn.ReLU())


class Images(nn.Module):
    """A typical image network."""

    def __init__(self, p=0.2):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 4, 3)
        self.drop = nn.Dropout(p)
        self.first = nn.Linear(8, 7)
        self.last = nn.Linear(7, C)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.relu(self.conv2(self.drop(x))), 1)
        h = self.drop(F.relu(self.first(torch.flatten(x, 1))))
        return self.last(h)


def _image_layers(p=0.2):
    """Every kind of layer, in orders in which the backward pass needs earlier outputs."""
    return nn.Sequential(
        nn.BatchNorm2d(2),
        nn.Dropout(p),
        nn.Conv2d(2, 3, 3, padding=1, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.Dropout(p),
        nn.Conv2d(3, 4, 2, stride=2, dilation=(1, 2)),
        nn.GELU(),
        nn.AvgPool2d(2, stride=1),
        nn.Tanh(),
        nn.Dropout(p / 2),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Identity(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(4),
        nn.Linear(4, C),
    )


def _signals(p=0.2):
    return nn.Sequential(
        nn.MaxPool1d(2, padding=1),
        nn.Conv1d(2, 3, 3),
        nn.BatchNorm1d(3),
        nn.ReLU(),
        nn.Dropout(p),
        nn.AvgPool1d(2),
        nn.Flatten(),
        nn.Linear(3, C),
    )


def _volumes(p=0.2):
    return nn.Sequential(
        nn.Conv3d(2, 3, 3, padding="same"),
        nn.BatchNorm3d(3),
        nn.MaxPool3d(2),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Flatten(),
        nn.Linear(6, C),
    )


def _only_convolutions(p=0.2):
    """No linear layer follows the image layers."""
    return nn.Sequential(nn.Conv2d(2, C, (6, 8)), nn.Dropout(p), nn.Flatten())


MAKERS = {
    "functions": Plain,
    "layers": _layers,
    "relu": _ends_in_relu,
    "images": Images,
    "image layers": _image_layers,
    "signals": _signals,
    "volumes": _volumes,
    "only convolutions": _only_convolutions,
}
SHAPES = {
    Images: (2, 6, 8),
    _image_layers: (2, 6, 8),
    _only_convolutions: (2, 6, 8),
    _signals: (2, 7),
    _volumes: (2, 2, 5, 3),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def _shape(make):
    return SHAPES.get(make, SHAPE)


def _modules(make, probabilities=(0.2, 0.5, 0.0), **options):
    modules = []
    with torch.random.fork_rng():
        for seed, p in enumerate(probabilities):
            torch.manual_seed(seed)
            modules.append(make(p, **options).double())
            for tensor in modules[-1].state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(0.1 * torch.rand_like(tensor))
    return modules


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _program(modules, shape, positions=None):
    positions = range(len(modules)) if positions is None else positions
    X = _normal(B, *shape).to(next(modules[0].parameters()).dtype)
    program = Program(modules, X, [SEEDS[i] for i in positions])
    assert program.is_written_out
    return program


def _by_vmap(modules, positions=None):
    positions = range(len(modules)) if positions is None else positions
    unknown = Chain((Link(""),), reason="it is to be")
    return Program(modules, None, [SEEDS[i] for i in positions], unknown)


def _is_chain(module, X, **options):
    return plan(module, X, **options).way == "layers"


class Lone:
    """A network alone, with the dropout masks of its position in the fleet."""

    def __init__(self, module, position):
        self.module = copy.deepcopy(module)
        self.layers = seed_dropout(self.module, SEEDS[position])
        self.first_step = FIRST_STEPS[position]
        self.position = position

    def begin_epoch(self):
        """Return a generator, and store the state of a second one with the same numbers."""
        generator = torch.Generator().manual_seed(SEEDS[self.position])
        self.state = generator.get_state()
        return generator

    def step(self, X, gradient, step):
        set_dropout_step(self.layers, self.first_step + step)
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        with torch.random.fork_rng():
            torch.set_rng_state(self.state)
            outputs = self.module.train()(X)
            self.state = torch.get_rng_state()
        gradients = torch.autograd.grad(outputs, parameters, gradient)
        return outputs.detach(), gradients

    def evaluate(self, X):
        with torch.no_grad():
            return self.module.eval()(X)


def _lone(modules, positions=None):
    positions = range(len(modules)) if positions is None else positions
    return [Lone(module, i) for module, i in zip(modules, positions, strict=True)]


def _assert_trains_like(program, lone, shape, *, end=None, steps=2, parts=None):
    """Step, evaluate and compare; `end` pads the inputs of some networks."""
    generators = [row.begin_epoch() for row in lone]
    program.begin_epoch([row.first_step for row in lone], steps, generators)
    k = len(lone)
    for step in range(steps):
        X, gradient = _normal(k, B, *shape, seed=step), _normal(k, B, C, seed=99)
        if end is not None:
            end(X)
        program.dropout.begin_step(step)
        for rows in parts or [slice(0, k)]:
            outputs = program.forward(X[rows].clone(), rows)
            assert not outputs.requires_grad
            gradients = program.backward(gradient[rows].clone())
            for i, row in enumerate(range(rows.start, rows.stop)):
                expected, alone = lone[row].step(X[row], gradient[row], step)
                _close(outputs[i], expected)
                assert len(gradients) == len(alone)
                for got, expected_gradient in zip(gradients, alone, strict=True):
                    _close(got[i], expected_gradient)
            evaluated = program.evaluate(X[rows].clone(), rows)
            for i, row in enumerate(range(rows.start, rows.stop)):
                _close(evaluated[i], lone[row].evaluate(X[row]))
    for name, tensor in program.buffers.tensors.items():
        for i, row in enumerate(lone):
            _close(tensor[i], row.module.state_dict()[name])


def _close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


@makers
def test_networks_of_a_program_equal_their_modules(make):
    """Outputs, gradients, dropout and statistics equal each module alone."""
    modules, shape = _modules(make), _shape(make)

    _assert_trains_like(_program(modules, shape), _lone(modules), shape, steps=3)


@pytest.mark.parametrize("make", [Images, _signals, _volumes, _only_convolutions])
def test_networks_of_a_program_equal_their_modules_in_float32(make):
    """The last batch may have one sample."""
    modules, shape = [m.float() for m in _modules(make, (0.0, 0.0, 0.0))], _shape(make)
    program = _program(modules, shape)
    program.begin_epoch([0] * 3, 3, [None] * 3)

    for step, n_samples in enumerate((70, 3, 1)):
        X = _normal(3, n_samples, *shape, seed=step).float()
        gradient = _normal(3, n_samples, C, seed=9 + step).float()
        outputs = program.forward(X, slice(0, 3)).clone()
        gradients = program.backward(gradient.clone())
        for row, module in enumerate(modules):
            expected = module.train()(X[row])
            expected_gradients = torch.autograd.grad(
                expected, list(module.parameters()), gradient[row]
            )
            close = {"rtol": 1e-3, "atol": 1e-3}
            torch.testing.assert_close(outputs[row], expected.detach(), **close)
            for one, two in zip(gradients, expected_gradients, strict=True):
                torch.testing.assert_close(one[row], two, **close)


IMAGE_LAYERS = {
    "1-D, small kernel": (1, nn.Conv1d(4, 3, 1, padding=1)),
    "1-D, large kernel": (1, nn.Conv1d(4, 3, 4, padding=2, bias=False)),
    "2-D, sides": (2, nn.Conv2d(4, 3, (2, 3), padding=(1, 0))),
    "2-D, same": (2, nn.Conv2d(4, 3, (2, 3), padding="same")),
    "2-D, valid": (2, nn.Conv2d(4, 3, (4, 1), padding="valid", bias=False)),
    "2-D, strides": (2, nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(1, 2))),
    "2-D, groups": (2, nn.Conv2d(4, 6, 3, groups=2, dilation=(2, 1), padding="same")),
    "2-D, beyond the kernel": (2, nn.Conv2d(4, 3, 1, padding=2)),
    "2-D, beyond it with strides": (2, nn.Conv2d(4, 3, 1, padding=1, stride=2)),
    "2-D, uneven groups": (2, nn.Conv2d(4, 6, (2, 4), padding="same", groups=2)),
    "2-D, zeros in front": (
        2,
        nn.Sequential(nn.ZeroPad2d((1, 0, 0, 2)), nn.Conv2d(4, 3, 3, padding=(0, 1))),
    ),
    "3-D": (3, nn.Conv3d(4, 3, 2, padding=1)),
    "max, mixed": (2, nn.MaxPool2d((1, 2))),
    "max, overlapping": (2, nn.MaxPool2d(3, stride=2, padding=1)),
    "max, dilation": (2, nn.MaxPool2d(2, dilation=2)),
    "max, ceil": (2, nn.MaxPool2d((2, 1), ceil_mode=True)),
    "max, 3-D": (3, nn.MaxPool3d(2)),
    "mean, stride": (2, nn.AvgPool2d(2, stride=1)),
    "mean, borders": (2, nn.AvgPool2d(3, padding=1, count_include_pad=False)),
    "mean, divisor": (2, nn.AvgPool2d(2, divisor_override=3)),
    "mean, ceil": (2, nn.AvgPool2d(2, ceil_mode=True)),
    "mean, 1-D": (1, nn.AvgPool1d(3)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", IMAGE_LAYERS)
def test_image_layers_support_torchs_options(name):
    """Outputs and gradients, for windows with remainders of each size."""
    n_dims, layer = IMAGE_LAYERS[name]
    first_layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[n_dims](2, 4, 3, padding=1)
    shape = (2, 7, 5, 4)[: n_dims + 1]

    def make(p):
        module = nn.Sequential(
            first_layer, copy.deepcopy(layer), nn.Flatten(), nn.LazyLinear(C)
        )
        module(torch.ones(1, *shape))
        return copy.deepcopy(module)

    modules = _modules(make)

    _assert_trains_like(_program(modules, shape), _lone(modules), shape, steps=1)


def test_normalised_convolutions_of_a_single_sample():
    """Under vmap, torch's result is wrong for a single sample with channels last."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, 3, padding=1)
    images, weights = torch.randn(2, 1, 2, 8, 8), torch.randn(2, 4, 2, 3, 3)
    geometry = _convolution.geometry_of(conv)
    y = _convolution.convolution(images, weights, None, geometry)
    dy = torch.linspace(-1, 1, y.numel()).view(y.shape)

    def normalize(t):
        return F.batch_norm(t, None, None, training=True)

    gradients = torch.func.vjp(torch.func.vmap(normalize), y)[1](dy)[0]

    for gradient, part, d in zip(gradients, y, dy, strict=True):
        exact = torch.func.vjp(normalize, part.contiguous().double())[1](d.double())[0]
        torch.testing.assert_close(gradient.double(), exact, rtol=1e-4, atol=1e-4)


def _normed_channels(p):
    layers = nn.Conv2d(2, 3, (6, 8)), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, C)
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("make", "shape"), [(_layers, SHAPE), (_normed_channels, (2, 6, 8))]
)
def test_batch_normalisation_rejects_a_batch_of_one(make, shape):
    """Like torch's layers, batch normalisation raises an error instead of dividing by 0."""
    program = _program(_modules(make), shape)

    with pytest.raises(ValueError, match="more than one (sample|number a channel)"):
        program.forward(_normal(3, 1, *shape), slice(0, 3))


@makers
def test_networks_keep_their_dropout_when_they_move(make):
    """``extend`` and ``select`` move probabilities together with their networks."""
    modules, shape = _modules(make), _shape(make)
    program = _program(modules[:2], shape)
    program.extend(_program(modules[2:], shape, [2]))
    program.select(torch.tensor([2, 0]))

    _assert_trains_like(program, _lone([modules[2], modules[0]], [2, 0]), shape)


@makers
def test_a_program_does_not_change_its_module(make):
    """Weights, layers and generators do not change; the program has the module's names."""
    module = _modules(make)[0].train()
    state, generator = copy.deepcopy(module.state_dict()), torch.get_rng_state()

    program = Program([module], _normal(B, *_shape(make)), [0])

    assert program.is_written_out
    names = [*program.parameters.tensors, *program.buffers.tensors]
    assert sorted(names) == sorted(state)
    assert module.training
    assert not any("forward" in vars(layer) for layer in module.modules())
    assert torch.equal(torch.get_rng_state(), generator)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[name])


def _user(forward):
    """Return a module with user code behind the first layer."""

    class Written(Plain):
        def forward(self, x):
            return forward(self, self.first(x.flatten(1)))

    return Written


Residual = _user(lambda net, h: net.last(h + net.drop(h)))
Mode = _user(lambda net, h: net.last(torch.relu(h) if net.training else torch.tanh(h)))
USERS = {
    "a result is used twice": Residual,
    "dropout draws for an unused result": _user(
        lambda net, h: (net.drop(h), net.last(h))[1]
    ),
    "the last result is not returned": _user(
        lambda net, h: (z := net.last(h), net.drop(z))[0]
    ),
    "different chains in training and evaluation": Mode,
    "a branch on the data": _user(lambda net, h: net.last(h if h.sum() > 0 else -h)),
    "a branch on the number of samples": _user(
        lambda net, h: net.last(torch.relu(h) if h.size(0) == 1 else h)
    ),
    "dropout as a function, without a layer": _user(
        lambda net, h: net.last(F.dropout(h, 0.5, net.training))
    ),
    "two outputs": _user(lambda net, h: (net.last(h),) * 2),
    "other random numbers than dropout's": _user(
        lambda net, h: net.last(h + torch.rand(7))
    ),
}


class Reused(Plain):
    """A layer with weights in two places."""

    def __init__(self):
        super().__init__()
        self.first = self.last = nn.Linear(6, 6)

    def forward(self, x):
        return self.last(self.first(x.flatten(1)))


class Kept(Plain):
    """A layer that stays in evaluation mode, such as a frozen layer."""

    def train(self, mode=True):
        super().train(mode)
        self.drop.eval()
        return self


class Unused(Plain):
    """A parameter that the forward does not use."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(2, 2)


class Own(nn.Linear):
    """A user's subclass of a layer of torch."""

    def forward(self, x):
        return 2 * super().forward(x)


def _frozen():
    module = Plain()
    module.first.bias.requires_grad_(False)
    return module


OTHERS = {
    **USERS,
    **{kind.__name__: kind for kind in (Reused, Kept, Unused)},
    "frozen": _frozen,
    "own layer": lambda: nn.Sequential(nn.Flatten(), Own(6, C)),
    "samples as classes": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(6, C), nn.Softmax(dim=0)
    ),
    "cumulative mean": lambda: nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(6, momentum=None), nn.Linear(6, C)
    ),
    "no scale": lambda: nn.Sequential(
        nn.Flatten(), nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, C)
    ),
    "random slope": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, C), nn.RReLU()),
    "learnt slope": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, C), nn.PReLU()),
    "not flattened": lambda: nn.Sequential(nn.Linear(3, C)),
    "flattened late": lambda: nn.Sequential(nn.Linear(3, C), nn.Flatten()),
    "single layer": lambda: nn.Linear(3, C),
    "nothing": nn.Flatten,
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_modules_are_not_chains(make):
    """They run under vmap."""
    assert not _is_chain(make().double(), _normal(B, *SHAPE))


class Late(nn.Module):
    """Layers that are not called in the order of definition, one of them twice."""

    def __init__(self):
        super().__init__()
        self.late, self.early = SeededDropout(0.5), SeededDropout(0.1)
        self.first, self.last = nn.Linear(6, 7), nn.Linear(7, C)

    def forward(self, x):
        h = self.early(self.first(x.flatten(1)))
        return self.last(self.early(self.late(h).relu()))


def test_seeded_dropout_has_the_masks_of_a_lone_network():
    """Their numbers follow the order of the modules, not of the calls."""
    module, X = Late().double(), _normal(1, B, *SHAPE)
    program = Program([module], X[0], [7])
    program.begin_epoch([0], 1, [None])

    program.dropout.begin_step(0)
    outputs = program.forward(X.clone(), slice(0, 1))

    set_dropout_step(seed_dropout(module.train(), 7), 0)
    _close(outputs[0], module(X[0]).detach())


class Ends(nn.Module):
    """A module with a result of one dimension, as of ``flatten`` without arguments."""

    def __init__(self, flatten):
        super().__init__()
        self.conv, self.flatten = nn.Conv2d(2, 1, (6, 8)), flatten

    def forward(self, x):
        return self.flatten(torch.relu(self.conv(x)))


@pytest.mark.parametrize(
    "flatten", [lambda h: h.flatten(), torch.flatten], ids=["method", "function"]
)
def test_flattening_samples_is_not_a_layer(flatten):
    """The function starts at the first dimension, the layer at the second."""
    X = _normal(B, 2, 6, 8)

    assert not _is_chain(Ends(flatten).double(), X)
    assert _is_chain(Ends(lambda h: h.flatten(1)).double(), X)


def test_a_first_dropout_does_not_change_its_input():
    """Samples to predict may be shared, and belong to the caller."""
    module = nn.Sequential(
        nn.Dropout(0.5), nn.ReLU(), nn.Conv2d(2, 1, (6, 8)), nn.Flatten()
    ).double()
    X = _normal(B, 2, 6, 8)
    original = X.clone()

    _program([module, module], (2, 6, 8)).evaluate(X.expand(2, *X.shape), slice(0, 2))

    assert torch.equal(X, original)


def test_a_chain_that_only_predicts_draws_no_mask():
    """A forward pass in training mode may need more than one sample."""
    layers = [nn.Conv2d(2, 3, 3), nn.Dropout(), nn.Flatten(), nn.Linear(72, 4)]
    module = nn.Sequential(*layers, nn.BatchNorm1d(4)).double()

    assert _is_chain(module, _normal(1, 2, 6, 8), predicts=True)


def _images(*layers):
    return lambda: nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(C))


OTHER_IMAGES = {
    "not flattened": lambda: nn.Sequential(nn.Conv2d(2, 4, 3)),
    "group norm": _images(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4)),
    "over channels": _images(nn.Conv2d(2, 4, 3), nn.Softmax(dim=1)),
    "over lines": _images(nn.Conv2d(2, 4, 3), nn.LayerNorm(6)),
    "linear in images": _images(nn.Conv2d(2, 4, 3), nn.Linear(6, 5)),
    "power": _images(nn.Conv2d(2, 4, 3), nn.LPPool2d(2, 2)),
    "reflected": _images(nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")),
    "whole channels": _images(nn.Conv2d(2, 4, 3), nn.Dropout2d(0.5)),
    "no scale": _images(nn.BatchNorm2d(2, affine=False)),
    "zeros in front of pooling": _images(nn.ZeroPad2d(1), nn.MaxPool2d(2)),
    "transposed": _images(nn.ConvTranspose2d(2, 4, 3)),
    "weight norm": _images(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3))),
    "adaptive maximum": _images(nn.AdaptiveMaxPool2d(2)),
    "channels last": lambda: _image_layers().to(memory_format=torch.channels_last),
}


# Torch warns once in a process.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("make", OTHER_IMAGES.values(), ids=OTHER_IMAGES)
def test_other_image_modules_are_not_chains(make):
    """They run under vmap; torch draws masks in the memory order of a lone network."""
    X = _normal(B, 2, 6, 8)
    module = make().double()
    module(X)

    assert not _is_chain(module, X)


def test_chains_need_torchs_shape_and_precision():
    """Torch takes three dimensions for one image, and may promote other dtypes."""
    assert not _is_chain(_image_layers().double(), _normal(2, 6, 8))
    assert not _is_chain(Plain(), _normal(B, *SHAPE))
    assert _is_chain(Plain().double(), _normal(B, *SHAPE))


class WithMembers(nn.Module):
    """A user's module with an attribute named like one of ``sk_tune._nets.MLP``."""

    def __init__(self, members):
        super().__init__()
        self.members = members
        self.last = nn.Linear(6, C)

    def forward(self, x):
        return self.last(x.flatten(1))


class FromNumpy(WithMembers):
    """Adds noise of numpy's global generator in training."""

    def forward(self, x):
        noise = np.random.normal() if self.training else 0.0  # noqa: NPY002
        return super().forward(x) + noise


def _hooked():
    module = Plain().double()
    module.first.register_forward_hook(lambda *_: None)
    return module


@pytest.mark.parametrize(
    ("make", "way", "why"),
    [
        (Plain, "layers", ""),
        (Residual, "vmap", "its forward does more than call its layers in sequence"),
        (Mode, "vmap", "its layers differ between training and evaluation"),
        (lambda: WithMembers(3), "layers", ""),
        (lambda: WithMembers(nn.ModuleList()), "layers", ""),
        (Unused, "alone", "torch.func.vmap cannot batch its module"),
        (_hooked, "alone", "its module has hooks"),
        (lambda: FromNumpy(3), "alone", "draws from the global generator of numpy"),
    ],
)
def test_a_plan_names_the_path_and_the_reason(make, way, why, caplog):
    """The log has the same words."""
    module = make().double()
    # Other tests may have logged the plan already.
    _plan._log.cache_clear()

    with caplog.at_level("DEBUG", logger="sk_tune._fleets"):
        result = plan(module, _normal(B, *SHAPE))

    assert result.way == way
    assert why in result.reason
    assert str(result) in caplog.records[-1].getMessage()


def test_a_plan_leaves_the_state_of_numpys_generator():
    """A user's next random number is the same with and without a plan."""
    expected = np.random.RandomState(0).normal()
    np.random.seed(0)  # noqa: NPY002

    plan(FromNumpy(3).double(), _normal(B, *SHAPE))

    assert np.random.normal() == expected  # noqa: NPY002


def test_the_plan_of_an_mlp_depends_on_the_kernel():
    """The reason says which part the kernel does not support, or that it is missing."""
    X = np.random.default_rng(0).standard_normal((40, 5))
    noise = {"augmentation": augment.Noise(0.1)}
    for params, ways in (({}, {"kernel", "layers"}), (noise, {"layers"})):
        net = MLPClassifier(hidden_layer_sizes=(4,), **params)
        prepared = prepare(Fit(estimator=net, X=X, y=X[:, 0] > 0, seed=0), FitPreparer())
        network, (recipe, _) = prepared.network, prepared.recipe()

        result = plan(network.module, network.train.X, network, recipe)

        assert result.way in ways
        assert (result.reason == "") == (result.way == "kernel")


def test_the_trial_of_a_signature_is_cached():
    """The second module is not called, because fleets are filled many times."""
    calls = []

    class Counted(Plain):
        def forward(self, x):
            calls.append(len(calls))
            return super().forward(x) + 0

    X = _normal(B, *SHAPE)
    first = plan(Counted().double(), X)
    n_calls = len(calls)

    assert plan(Counted(p=0.4).double(), X) == first
    assert len(calls) == n_calls > 0
    assert plan(Counted().double(), _normal(B, 6)) == first
    assert len(calls) > n_calls


def test_the_trial_is_repeated_for_other_samples():
    """Other samples may contain values, such as padding, that the first do not."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.rand(20, C))

        def forward(self, x):
            return F.embedding(x.long(), self.table, padding_idx=0).mean(dim=1)

    without, padded = torch.full((3, 4), 3.0), torch.zeros(3, 4)

    assert plan(Tokens(), without).way == "vmap"
    _traced._CACHE.clear()
    alone = plan(Tokens(), padded)
    # Unless torch has fixed it, vmap applies the padding in the first network only.
    assert alone.way == "vmap" or "different derivatives" in alone.reason
    _traced._CACHE.clear()

    assert plan(Tokens(), without).way == "vmap"
    assert plan(Tokens(), padded) == alone


class UserNet(nn.Module):
    """Torch's dropout, batch normalisation, a layer used twice, and a frozen weight."""

    def __init__(self, p=0.0):
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.norm = nn.BatchNorm1d(6)
        self.parts = nn.ModuleDict({"drop": nn.Dropout(p), "again": nn.Linear(6, 6)})
        self.last = nn.Linear(6, C)
        self.frozen = nn.Parameter(torch.rand(6), requires_grad=False)
        self.register_buffer("shift", torch.rand(1))

    def forward(self, x):
        h = self.parts["drop"](F.silu(self.norm(self.first(x)))) * self.frozen
        h = self.parts["drop"](self.parts["again"](h).tanh()) + self.shift
        return self.last(self.parts["again"](h))


def _rnn(p=0.0, **options):
    defaults = {
        "cell": "gru",
        "n_layers": 2,
        "hidden_size": 3,
        "bidirectional": False,
        "activation": "tanh",
        "normalization": None,
        "residual": False,
    }
    return RNN(3, C, dropout=p, **{**defaults, **options})


@pytest.mark.parametrize("padded", [(True, False), (False, True)], ids=str)
@pytest.mark.parametrize("dropouts", [(0.0, 0.3), (0.3, 0.0)], ids=str)
def test_padded_sequences_may_join_full_sequences(padded, dropouts):
    """A fleet checks for padding when its old or new networks have short sequences."""
    modules = _modules(_rnn, dropouts, normalization="batch")
    program = _by_vmap(modules[:1])
    program.extend(_by_vmap(modules[1:], positions=[1]))

    def end(X):
        X[padded.index(True), 1, 2:] = torch.nan

    _assert_trains_like(program, _lone(modules), (5, 3), end=end)


@pytest.mark.parametrize("make", [UserNet, _rnn], ids=["user", "rnn"])
def test_modules_keep_their_layers_and_weights(make):
    """The program has its own layers and weights."""
    (module,) = _modules(make, (0.3,))
    layers = [type(m) for m in module.modules()]
    state = copy.deepcopy(module.state_dict())
    program = _by_vmap([module])

    for tensor in program.parameters.tensors.values():
        tensor.zero_()

    assert [type(m) for m in module.modules()] == layers
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[name])

"""Convolutions and pooling of many networks."""

import copy
import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from sk_tune.engine.fleet import _convolution
from sk_tune.engine.fleet._convolution import (
    StackedConv,
    StackedPool,
    column_input_gradient,
    column_weight_gradient,
    conv_fits,
    convolve_by_columns,
    geometry_of,
    pool_fits,
)
from sk_tune.engine.fleet._image_layers import Convolution, Flat, ImageNorm, Pooling
from sk_tune.engine.fleet._layers import Batch
from sk_tune.engine.fleet._module import _with_twins
from sk_tune.nets import CNN

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MAX = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
SIZES = {1: (7,), 2: (5, 4), 3: (4, 5, 4)}
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def make_conv(dims, kernel, padding, *, bias=True, dtype=torch.float64):
    torch.manual_seed(0)
    return CONV[dims](2, 3, kernel, padding=padding, bias=bias, dtype=dtype)


def draw(*shape, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


def weighted_sum(y):
    """Return a scalar whose gradient differs from element to element."""
    return (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)).sum()


def assert_same(ours, reference, **tolerances):
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b, **(tolerances or CLOSE))


def outputs_and_gradients(module, x):
    y = module(x)
    return [y, *torch.autograd.grad(weighted_sum(y), [x, *module.parameters()])]


def over_rows(module, params, x, dim=0):
    """Return outputs and gradients of networks under vmap, the gradient taken outside."""

    def one(p, row):
        return functional_call(module, p, (row,))

    y = vmap(one, in_dims=(0, dim))(params, x)
    return [y, *torch.autograd.grad(weighted_sum(y), [x, *params.values()])]


def row_by_row(module, params, x):
    """Return the same, one network after the other."""
    ys = [
        functional_call(module, {n: p[k] for n, p in params.items()}, (x[k],))
        for k in range(len(x))
    ]
    y = torch.stack(ys)
    return [y, *torch.autograd.grad(weighted_sum(y), [x, *params.values()])]


def random_rows(module, n_rows):
    dtype = next(module.parameters()).dtype
    return {
        name: draw(n_rows, *p.shape, seed=seed, dtype=dtype)
        for seed, (name, p) in enumerate(module.named_parameters(), start=10)
    }


@pytest.fixture(params=["columns", "grouped"])
def way(request, monkeypatch):
    """Compute in double precision by either way."""
    takes_columns = request.param == "columns"
    monkeypatch.setattr(_convolution, "_takes_columns", lambda *_: takes_columns)
    return request.param


CASES = [
    (dims, kernel, padding)
    for dims, kernel, padding in itertools.product((1, 2, 3), (1, 2, 3, 4), (0, 1, 2))
]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize(("dims", "kernel", "padding"), CASES)
def test_one_network_is_torchs_convolution(dims, kernel, padding, bias, way):
    """Outputs and all gradients are those of torch's module."""
    conv = make_conv(dims, kernel, padding, bias=bias)
    x = draw(3, 2, *SIZES[dims])

    ours = outputs_and_gradients(StackedConv(conv), x)

    assert_same(ours, outputs_and_gradients(conv, x))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize(("dims", "kernel", "padding"), CASES)
def test_rows_under_vmap_are_independent_networks(dims, kernel, padding, bias, way):
    """Networks with weights of their own give what each gives alone."""
    conv = make_conv(dims, kernel, padding, bias=bias)
    params, x = random_rows(conv, 3), draw(3, 2, 2, *SIZES[dims])

    ours = over_rows(StackedConv(conv), params, x)

    assert_same(ours, row_by_row(conv, params, x))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    ("kernel", "padding"),
    [((2, 3), (1, 0)), ((4, 1), (0, 2)), ((2, 3), "same"), ((4, 4), "same"), (3, "valid")],
)
def test_sides_of_kernel_and_padding_may_differ(kernel, padding):
    """Tuples, and torch's two words for padding, mean what they mean to torch."""
    conv = make_conv(2, kernel, padding)
    x = draw(2, 2, 6, 5)

    assert conv_fits(conv)
    reference = outputs_and_gradients(conv, x)
    assert_same(outputs_and_gradients(StackedConv(conv), x), reference)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"stride": (2, 1), "padding": (1, 2)},
        {"dilation": 2},
        {"groups": 2},
        {"groups": 2, "dilation": (2, 1), "padding": "same"},
    ],
    ids=str,
)
def test_strides_dilation_and_groups_mean_what_they_mean_to_torch(options):
    """Networks give what each gives alone, in any order in memory of what comes before."""
    conv = nn.Conv2d(4, 6, 3, **options, dtype=torch.float64)
    params, x = random_rows(conv, 3), draw(3, 2, 4, 7, 6)

    ours = over_rows(StackedConv(conv), params, x)

    assert conv_fits(conv)
    assert_same(ours, row_by_row(conv, params, x))


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_padding_beyond_the_kernel_is_not_for_onednn(dims, padding):
    """Its kernels have read beyond the images; columns do it, or nobody here."""
    assert not geometry_of(CONV[dims](2, 3, 1, padding=padding)).is_usual
    assert geometry_of(CONV[dims](2, 3, 1, padding=padding, stride=2)) is None
    assert geometry_of(CONV[dims](2, 3, 3, padding=padding, stride=2)).is_usual


@pytest.mark.parametrize("n_samples", [1, 2, 17])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_batch_normalisation_behind_convolution_and_pooling(dtype, kernel, n_samples):
    """Derivatives are right for a last batch of one sample, too."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.BatchNorm2d(2),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(2),
        nn.Conv2d(2, 3, kernel),
        nn.BatchNorm2d(3),
        nn.Flatten(),
    ).to(dtype)
    for layer in net:
        # Under vmap, statistics that are kept must have rows.
        layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    params = random_rows(net, 3)
    x = draw(3, n_samples, 2, 8, 6, dtype=dtype)

    ours = over_rows(_with_twins(copy.deepcopy(net), own=False), params, x)

    close = (
        {"rtol": 2e-3, "atol": 2e-3}
        if dtype == torch.float32
        else {"rtol": 1e-9, "atol": 1e-9}
    )
    assert_same(ours, row_by_row(net, params, x), **close)


def _derivatives(normalize, x, dy):
    """Return derivatives by the inputs of a function, given those by its outputs."""
    return torch.func.vjp(normalize, x)[1](dy)[0]


@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_torch_normalises_the_outputs_for_a_single_sample_rightly(n_rows):
    """Under vmap torch goes wrong where one sample lies with its channels innermost."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, 3, padding=1)
    y = _convolution.convolution(
        torch.randn(n_rows, 1, 2, 8, 8),
        torch.randn(n_rows, 4, 2, 3, 3),
        None,
        geometry_of(conv),
    )
    dy = torch.linspace(-1, 1, y.numel()).view(y.shape)
    normalize = vmap(
        partial(F.batch_norm, running_mean=None, running_var=None, training=True)
    )

    found = _derivatives(normalize, y, dy)

    expected = torch.stack([
        _derivatives(lambda t: normalize(t[None])[0], own.contiguous().double(), d.double())
        for own, d in zip(y, dy, strict=True)
    ])
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("n_rows", "n_channels"), [(1, 4), (2, 4), (3, 1)])
def test_torch_normalises_merged_images_of_any_order_in_memory(n_rows, n_channels):
    """A single sample has strides that say so, whatever it was made of."""
    torch.manual_seed(0)
    images = torch.randn(n_rows, 1, n_channels, 3, 5)

    def normalize(x):
        return F.batch_norm(x, None, None, training=True)

    plain = images.transpose(0, 1).flatten(1, 2)
    dy = torch.linspace(-1, 1, plain.numel()).view(plain.shape)
    expected = _derivatives(normalize, plain, dy)
    for order in itertools.permutations(range(5)):
        x = images.permute(order).contiguous().permute([order.index(d) for d in range(5)])

        found = _derivatives(normalize, _convolution._merged(x), dy)

        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_are_finite_differences(dims, way):
    """Numerical differentiation finds the explicit backward of convolution."""
    conv = make_conv(dims, 2, 1)
    row_conv = StackedConv(conv)
    x, weight, bias = draw(2, 2, *[3] * dims), draw(*conv.weight.shape), draw(3, seed=2)

    def f(x, weight, bias):
        return functional_call(row_conv, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(f, (x, weight, bias))


def test_rows_can_share_their_inputs(way):
    """A batch without a row axis goes to every network; its gradient is the sum."""
    conv = make_conv(2, 3, 1)
    params, x = random_rows(conv, 3), draw(2, 2, 5, 4)

    ours = over_rows(StackedConv(conv), params, x, None)

    y, grad_x, *others = row_by_row(conv, params, x.expand(3, 2, 2, 5, 4))
    assert_same(ours, [y, grad_x.sum(0), *others])


def test_rows_can_share_their_parameters(way):
    """Parameters without a row axis serve every network; their gradient is the sum."""
    conv, x = make_conv(2, 3, 1), draw(3, 2, 2, 5, 4)
    parameters = list(conv.parameters())

    y = vmap(StackedConv(conv))(x)
    gradients = torch.autograd.grad(weighted_sum(y), parameters)

    reference = torch.stack([conv(row) for row in x])
    expected = torch.autograd.grad(weighted_sum(reference), parameters)
    assert_same([y, *gradients], [reference, *expected])


def test_row_axis_may_be_anywhere(way):
    """The axis of vmap need not come first."""
    conv = make_conv(2, 3, 1)
    params, x = random_rows(conv, 3), draw(2, 3, 2, 5, 4)

    y = over_rows(StackedConv(conv), params, x, 1)[0]

    assert_same([y], row_by_row(conv, params, x.movedim(1, 0))[:1])


def test_rows_of_rows_are_rows(way):
    """One vmap inside another maps over both axes."""
    conv, x = make_conv(1, 3, 1), draw(2, 3, 4, 2, 7)
    weights = draw(2, 3, *conv.weight.shape)
    row_conv = StackedConv(conv)

    def one(weight, x):
        return functional_call(row_conv, {"weight": weight}, (x,))

    y = vmap(vmap(one))(weights, x)

    expected = [F.conv1d(x[i, j], weights[i, j], conv.bias, padding=1) for i, j in _PAIRS]
    assert_same([y.flatten(0, 1)], [torch.stack(expected)])


_PAIRS = list(itertools.product(range(2), range(3)))


def test_inputs_that_need_no_gradient_get_none(way):
    """The first layer's gradient is not computed."""
    conv = make_conv(2, 3, 1)
    x = draw(2, 2, 5, 4).detach()

    ours = torch.autograd.grad(weighted_sum(StackedConv(conv)(x)), list(conv.parameters()))

    expected = torch.autograd.grad(weighted_sum(conv(x)), list(conv.parameters()))
    assert_same(ours, expected)


@pytest.mark.parametrize("window", [1, 2, 3, "mixed"])
@pytest.mark.parametrize("kind", [MAX, AVG], ids=["max", "avg"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pooling_is_torchs_pooling(dims, kind, window):
    """Outputs and gradients agree where the windows leave a rest of each size."""
    pool = kind[dims]((2, 1, 3)[:dims] if window == "mixed" else window)
    x = draw(3, 2, *(7, 5, 4)[:dims])

    ours = outputs_and_gradients(StackedPool(pool), x)

    assert_same(ours, outputs_and_gradients(pool, x))


@pytest.mark.parametrize("kind", [MAX, AVG], ids=["max", "avg"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pooling_under_vmap_is_pooling_of_each_row(dims, kind):
    """The row axis may be anywhere."""
    pool, x = kind[dims](2), draw(3, 4, 2, *(5, 4, 6)[:dims])

    ours = over_rows(StackedPool(pool), {}, x, 1)

    y = torch.stack([pool(x[:, k]) for k in range(4)])
    assert_same(ours, [y, *torch.autograd.grad(weighted_sum(y), x)])


@pytest.mark.parametrize("values", ["zeros", "steps", "rectified"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_first_of_equal_maxima_has_the_whole_gradient(dims, values):
    """Ties, frequent behind a rectifier, go as torch's scan order has them."""
    x = draw(4, 3, *(6, 5, 4)[:dims])
    x = {"zeros": x * 0, "steps": x.round(), "rectified": x.relu()}[values]
    x = x.detach().requires_grad_()

    ours = outputs_and_gradients(StackedPool(MAX[dims](2)), x)

    assert_same(ours, outputs_and_gradients(MAX[dims](2), x), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [MAX, AVG], ids=["max", "avg"])
def test_pooling_gradients_are_finite_differences(kind):
    """Numerical differentiation finds the explicit backward of pooling."""
    assert torch.autograd.gradcheck(StackedPool(kind[2]((2, 3))), draw(2, 2, 5, 4))


def make_cnn(input_shape, **changes):
    torch.manual_seed(0)
    params = {
        "n_layers": 2,
        "n_channels": 3,
        "kernel_size": 3,
        "pooling": "max",
        "width": 5,
        "activation": "relu",
        "normalization": None,
        "residual": False,
        "dropout": 0.0,
    }
    return CNN(input_shape, 3, **{**params, **changes}).double()


@pytest.mark.parametrize("input_shape", [(2, 9), (1, 8, 8), (3, 5, 1), (2, 4, 3, 5)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pooling": "avg", "kernel_size": 2},
        {"pooling": None, "normalization": "layer"},
        {"residual": True, "kernel_size": 4, "n_layers": 3},
    ],
    ids=["plain", "avg-even", "layer-norm", "residual"],
)
def test_a_whole_network_keeps_its_outputs_and_gradients(input_shape, changes, way):
    """The layers live beside torch's own, whatever order they leave in memory."""
    net, swapped = (make_cnn(input_shape, **changes) for _ in range(2))
    _with_twins(swapped, own=False)
    params, x = random_rows(net, 3), draw(3, 4, *input_shape)

    ours = over_rows(swapped, params, x)

    assert_same(ours, row_by_row(net, params, x), rtol=1e-10, atol=1e-10)


def test_float32_stays_float32():
    """Single precision agrees to single precision."""
    conv = make_conv(2, 3, 1, dtype=torch.float32)
    params = random_rows(conv, 3)
    x = draw(3, 2, 2, 5, 4, dtype=torch.float32)

    ours = over_rows(StackedConv(conv), params, x)

    assert all(tensor.dtype == torch.float32 for tensor in ours)
    assert_same(ours, row_by_row(conv, params, x), rtol=1e-4, atol=1e-5)


def test_parameters_are_shared_under_their_names():
    """Training the one is training the other."""
    conv = make_conv(2, 3, 1)
    row_conv = StackedConv(conv)

    assert dict(row_conv.named_parameters()).keys() == {"weight", "bias"}
    assert row_conv.weight is conv.weight
    assert row_conv.bias is conv.bias


def test_kernel_larger_than_the_image_is_refused():
    """As torch, no empty result is made of it."""
    with pytest.raises(RuntimeError):
        StackedConv(make_conv(1, 4, 0))(draw(2, 2, 3))


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 2, (2, 4), padding="same", groups=2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, dtype=torch.complex64),
        nn.ConvTranspose2d(2, 2, 3),
        nn.LazyConv2d(2, 3),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3)),
        nn.Linear(2, 2),
    ],
    ids=[
        "uneven-groups",
        "reflect",
        "complex",
        "transposed",
        "lazy",
        "weight-norm",
        "linear",
    ],
)
def test_other_convolutions_are_refused(conv):
    """A layer that this module does not compute is not taken for one that it does."""
    assert not conv_fits(conv)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2, return_indices=True),
        nn.AdaptiveMaxPool2d(2),
        nn.LPPool2d(2, 2),
        nn.ReLU(),
    ],
    ids=["indices", "adaptive", "power", "relu"],
)
def test_other_poolings_are_refused(pool):
    """A layer that this module does not compute is not taken for one that it does."""
    assert not pool_fits(pool)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, stride=2),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d((2, 1), ceil_mode=True),
        nn.AvgPool2d(2, stride=1),
        nn.AvgPool2d(3, padding=1, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AvgPool2d(2, ceil_mode=True),
    ],
    ids=["stride", "pad", "dilation", "ceil", "stride-1", "borders", "divisor", "avg-ceil"],
)
def test_options_of_pooling_mean_what_they_mean_to_torch(pool):
    """Outputs and gradients of networks are what each gives alone."""
    x = draw(3, 4, 2, 7, 6)

    assert pool_fits(pool)
    ours = over_rows(StackedPool(pool), {}, x)

    y = torch.stack([pool(row) for row in x])
    assert_same(ours, [y, *torch.autograd.grad(weighted_sum(y), x)])


def test_pooling_takes_a_single_sample():
    """As torch's modules do."""
    pool, x = nn.MaxPool2d(2), draw(3, 5, 4)

    assert_same([StackedPool(pool)(x)], [pool(x)])


CONV_COLUMNS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def draw_columns(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("limit", [1, 150, 2000, _convolution._MAX_COLUMNS])
@pytest.mark.parametrize("n_in", [2, 16])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_outputs_and_derivatives_are_torchs(dims, n_in, limit, monkeypatch):
    """Whatever part of the columns is made at a time, and few channels or many."""
    monkeypatch.setattr(_convolution, "_MAX_COLUMNS", limit)
    x = draw_columns(4, n_in, *SIZES[dims], 2, seed=0)
    weight, bias = draw_columns(4, 3, n_in, *[3] * dims, seed=1), draw_columns(4, 3, seed=2)
    padding = ((1, 1),) * dims
    leaves = [t.clone().requires_grad_() for t in (x, weight)]
    rows = zip(*leaves, bias, strict=True)
    expected = torch.stack([
        CONV_COLUMNS[dims](i.movedim(-1, 0), w, b, padding=1).movedim(0, -1)
        for i, w, b in rows
    ])
    grad = draw_columns(*expected.shape, seed=3)
    by_x, by_weight = torch.autograd.grad(expected, leaves, grad)

    torch.testing.assert_close(
        convolve_by_columns(x, padding, weight, bias), expected.detach()
    )
    torch.testing.assert_close(column_input_gradient(x, padding, grad, weight), by_x)
    found = column_weight_gradient(x, padding, grad, weight.shape[3:])
    torch.testing.assert_close(found, by_weight)


def test_a_kernel_larger_than_the_image_is_refused():
    """As by torch, and with the sizes."""
    with pytest.raises(RuntimeError, match=r"a kernel of \(4,\) over inputs of \(3,\)"):
        convolve_by_columns(
            draw_columns(1, 2, 3, 2, seed=0),
            ((0, 0),),
            draw_columns(1, 3, 2, 4, seed=1),
            None,
        )


K, B, C = 3, 4, 2
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEAN = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _memory(name, like, *shape):
    return like.new_full(shape, torch.nan)


def _convolution_layer(dims, **options):
    module = CONV[dims](C, 3, 3, padding=1, **options)
    has_bias = module.bias is not None
    geometry = geometry_of(module)
    return Convolution("0", geometry, bias=has_bias, first=False), module


def _norm(dims):
    module = NORM[dims](C, momentum=0.3)
    return ImageNorm("0", module.eps, module.momentum), module


def _pool(dims, kinds=POOL):
    module = kinds[dims](2)
    return Pooling(module, first=False), module


LAYERS = {
    "convolution": _convolution_layer,
    "no bias": lambda dims: _convolution_layer(dims, bias=False),
    "stride": lambda dims: _convolution_layer(dims, stride=2),
    "norm": _norm,
    "maximum": _pool,
    "mean": lambda dims: _pool(dims, MEAN),
    "flat": lambda dims: (Flat("0", _memory), nn.Flatten()),
}
# From the outermost dimension in memory to the innermost.
ORDERS = {
    "rows first": lambda n: range(n),
    "batch innermost": lambda n: [0, *range(2, n), 1],
    "rows and channels innermost": lambda n: [1, *range(3, n), 0, 2],
}


def _in_order(x, order):
    found = x.permute(*order).contiguous()
    return found.permute([list(order).index(dim) for dim in range(x.ndim)])


def _tensors(module):
    return {
        f"0.{name}": torch.stack([t + _normal(*t.shape, seed=i).abs() for i in range(K)])
        if t.is_floating_point()
        else torch.stack([t] * K)
        for name, t in module.state_dict().items()
    }


def _alone(module, tensors, x, dy, row):
    """Return output, derivatives and evaluation of one network, and its buffers."""
    own = {n.removeprefix("0."): t[row].clone() for n, t in tensors.items()}
    names = [name for name, _ in module.named_parameters()]
    leaves = {name: own[name].requires_grad_() for name in names}
    leaf = x[row].clone().requires_grad_()
    y = functional_call(module.train(), own, (leaf,))
    found = torch.autograd.grad(y, [leaf, *leaves.values()], dy(y))
    evaluated = functional_call(module.eval(), own, (leaf,))
    by_name = dict(zip([f"0.{name}" for name in names], found[1:], strict=True))
    buffers = {f"0.{name}": own[name] for name, _ in module.named_buffers()}
    return y.detach(), found[0], by_name, evaluated.detach(), buffers


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("n_samples", [1, B])
def test_rows_are_the_layers_of_torch(make, dims, order, n_samples):
    """Outputs, derivatives and statistics, in whatever order in memory the images lie."""
    layer, module = make(dims)
    module.double()
    tensors = _tensors(module)
    before = {name: t.clone() for name, t in tensors.items()}
    x = _normal(K, n_samples, C, *SIZES[dims], seed=5)
    x = _in_order(x, list(order(x.ndim)))
    batch = Batch(tensors, slice(0, K), 0, {})

    y = layer.forward(x.clone(memory_format=torch.preserve_format), batch).clone()
    dy = _normal(*y.shape, seed=6)
    dx = layer.backward(dy.clone(), batch, keep=False)
    evaluated = layer.evaluate(x, tensors)

    for row in range(K):
        expected = _alone(module, before, x, lambda own, row=row: dy[row].view_as(own), row)
        _close(y[row], expected[0])
        _close(dx[row], expected[1])
        for name, gradient in expected[2].items():
            assert batch.found[name].is_contiguous()
            _close(batch.found[name][row], gradient)
        _close(evaluated[row], expected[3])
        for name, buffer in expected[4].items():
            _close(tensors[name][row], buffer)


def _close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


def test_the_first_layer_has_no_derivative_by_its_input(monkeypatch):
    """It is not computed."""
    asked = []
    gradients = _convolution.convolution_gradients
    monkeypatch.setattr(
        "sk_tune.engine.fleet._image_layers.convolution_gradients",
        lambda *args: asked.append(args[-1]) or gradients(*args),
    )
    module = nn.Conv2d(C, 3, 3).double()
    layer = Convolution("0", geometry_of(module), bias=True, first=True)
    batch = Batch(_tensors(module), slice(0, K), 0, {})
    y = layer.forward(_normal(K, B, C, 5, 4), batch)

    layer.backward(torch.ones_like(y), batch, keep=False)

    assert asked == [(False, True, True)]
    pool = Pooling(nn.MaxPool2d(2), first=True)
    assert not pool.forward(y, batch).requires_grad


def test_a_channel_of_one_number_has_no_spread():
    """As by torch, whose words a lone network would have."""
    layer, module = _norm(2)
    batch = Batch(_tensors(module.double()), slice(0, K), 0, {})

    with pytest.raises(ValueError, match="more than one number a channel"):
        layer.forward(_normal(K, 1, C, 1, 1), batch)

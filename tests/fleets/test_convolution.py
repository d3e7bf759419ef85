"""Convolutions and pooling of many networks."""

import copy
import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from sk_tune.fleets import _convolution
from sk_tune.fleets._convolution import (
    geometry_of,
    pool_fits,
)
from sk_tune.fleets._image_layers import ImageNorm
from sk_tune.fleets._layers import Batch
from sk_tune.fleets._module_layer import _twin, _with_twins

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
def test_rows_under_vmap_are_independent_networks(dims, kernel, padding, bias, way):
    """Networks with weights of their own give what each gives alone."""
    conv = make_conv(dims, kernel, padding, bias=bias)
    params, x = random_rows(conv, 3), draw(3, 2, 2, *SIZES[dims])

    ours = over_rows(_twin(conv, own=False), params, x)

    assert_same(ours, row_by_row(conv, params, x))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    ("kernel", "padding"),
    [((2, 3), (1, 0)), ((4, 1), (0, 2)), ((2, 3), "same"), ((4, 4), "same"), (3, "valid")],
)
def test_sides_of_kernel_and_padding_may_differ(kernel, padding):
    """Tuples, and torch's two words for padding, mean what they mean to torch."""
    conv = make_conv(2, kernel, padding)
    params, x = random_rows(conv, 2), draw(2, 2, 2, 6, 5)

    assert geometry_of(conv) is not None
    ours = over_rows(_twin(conv, own=False), params, x)
    assert_same(ours, row_by_row(conv, params, x))


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

    ours = over_rows(_twin(conv, own=False), params, x)

    assert geometry_of(conv) is not None
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

    twin = copy.deepcopy(net)
    _with_twins(twin, {}, own=False)
    ours = over_rows(twin, params, x)

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


@pytest.mark.parametrize("window", [1, 2, 3, "mixed"])
@pytest.mark.parametrize("kind", [MAX, AVG], ids=["max", "avg"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pooling_is_torchs_pooling(dims, kind, window):
    """Outputs and gradients agree where the windows leave a rest of each size."""
    pool = kind[dims]((2, 1, 3)[:dims] if window == "mixed" else window)
    x = draw(3, 2, 2, *(7, 5, 4)[:dims])

    ours = over_rows(_twin(pool, own=False), {}, x)

    assert_same(ours, row_by_row(pool, {}, x))


def test_kernel_larger_than_the_image_is_refused():
    """As torch, no empty result is made of it."""
    conv = make_conv(1, 4, 0)
    with pytest.raises(RuntimeError):
        over_rows(_twin(conv, own=False), random_rows(conv, 2), draw(2, 2, 2, 3))


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
    assert geometry_of(conv) is None


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
    ours = over_rows(_twin(pool, own=False), {}, x)

    y = torch.stack([pool(row) for row in x])
    assert_same(ours, [y, *torch.autograd.grad(weighted_sum(y), x)])


def test_pooling_takes_a_single_sample():
    """As torch's modules do."""
    pool, x = nn.MaxPool2d(2), draw(3, 5, 4)

    assert_same([_twin(pool, own=False)(x)], [pool(x)])


K, B, C = 3, 4, 2
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def _normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _norm(dims):
    module = NORM[dims](C, momentum=0.3)
    return ImageNorm("0", module.eps, module.momentum), module


def _tensors(module):
    return {
        f"0.{name}": torch.stack([t + _normal(*t.shape, seed=i).abs() for i in range(K)])
        if t.is_floating_point()
        else torch.stack([t] * K)
        for name, t in module.state_dict().items()
    }


def test_a_channel_of_one_number_has_no_spread():
    """As by torch, whose words a lone network would have."""
    layer, module = _norm(2)
    batch = Batch(_tensors(module.double()), slice(0, K), {})

    with pytest.raises(ValueError, match="more than one number a channel"):
        layer.forward(_normal(K, 1, C, 1, 1), batch)

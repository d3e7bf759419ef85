"""Multi-layer perceptrons, and members with shared matrices against their formula."""

import pytest
import torch
from torch.nn import functional as F

from sk_tune._nets import ACTIVATIONS, MLP, by_member, mean_of_members
from sk_tune._nets._mlp import SeparateHeads, SharedLinear

PLAIN = {"activation": "relu", "normalization": None, "residual": False, "dropout": 0.0}


def _rows(n_features):
    return torch.randn(7, n_features, generator=torch.Generator().manual_seed(0))


def test_layers_are_applied_in_order():
    """Linear, activation, linear, activation, linear."""
    net = MLP(4, 3, hidden_layer_sizes=(5, 6), **PLAIN)
    x = _rows(4)
    h = x
    for layer in net.hidden:
        h = F.relu(h @ layer.linear.weight.T + layer.linear.bias)

    expected = h @ net.output.weight.T + net.output.bias

    torch.testing.assert_close(net(x), expected)


def test_residual_layers_add_their_input_where_sizes_match():
    """In layers 4-5-5, the second adds its input and the first cannot."""
    net = MLP(4, 3, hidden_layer_sizes=(5, 5), **{**PLAIN, "residual": True})
    x = _rows(4)
    first, second = net.hidden
    h = F.relu(first.linear(x))

    torch.testing.assert_close(net(x), net.output(h + F.relu(second.linear(h))))


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalisation_comes_before_the_activation(normalization):
    """Inputs of the activation have mean 0, over rows or over units."""
    net = MLP(4, 3, hidden_layer_sizes=(6,), **{**PLAIN, "normalization": normalization})
    layer = net.hidden[0]

    h = layer.norm(layer.linear(_rows(4)))

    axis = 0 if normalization == "batch" else 1
    torch.testing.assert_close(h.mean(dim=axis), torch.zeros_like(h.mean(dim=axis)))


CLOSED_FORMS = {
    "identity": lambda x: x,
    "logistic": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": torch.tanh,
    "relu": lambda x: torch.maximum(x, torch.zeros_like(x)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_activations_named_as_in_scikit_learn_are_the_same(name):
    """identity, logistic, tanh and relu are scikit-learn's functions."""
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)

    torch.testing.assert_close(ACTIVATIONS[name]()(x), CLOSED_FORMS[name](x))


M, B = 4, 7


def _numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def _net(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = MLP(3, 2, **{**PLAIN, "hidden_layer_sizes": (5, 5), "members": M, **options})
    # Random scales, so that members differ in every layer.
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net.double()


def _member(net, index):
    """Return member `index` as a plain network, by multiplying its scales into W."""
    sizes = [layer.linear.weight.shape[0] for layer in net.hidden]
    plain = MLP(3, 2, **PLAIN, hidden_layer_sizes=sizes).double()
    with torch.no_grad():
        for own, layer in zip(plain.hidden, net.hidden, strict=True):
            shared = layer.linear
            r, s, b = (
                p.view(M, -1)[index]
                for p in (shared.input_scale, shared.output_scale, shared.bias)
            )
            own.linear.weight.copy_(s.unsqueeze(1) * shared.weight * r)
            own.linear.bias.copy_(b)
        plain.output.weight.copy_(net.output.weight[index])
        plain.output.bias.copy_(net.output.bias.view(M, -1)[index])
    return plain


def test_each_member_is_a_network_with_its_own_scales():
    """y = s * (W (r * x)) + b in every layer, and its own last layer."""
    net, x = _net(), _numbers(B, 3)

    outputs = net.train()(x)

    assert outputs.shape == (B, M, 2)
    for index in range(M):
        torch.testing.assert_close(outputs[:, index], _member(net, index)(x))


@pytest.mark.parametrize(
    ("link", "predict"),
    [
        ("softmax", lambda o: o.softmax(dim=-1)),
        ("sigmoid", torch.sigmoid),
        ("identity", lambda o: o),
    ],
)
def test_the_prediction_is_the_mean_of_the_members_predictions(link, predict):
    """Mean of probabilities, of each label's probability, or of outputs."""
    net, x = _net(link=link), 5 * _numbers(B, 3)

    members, together = net.train()(x), net.eval()(x)

    assert together.shape == (B, 2)
    torch.testing.assert_close(predict(together), predict(members).mean(dim=1))
    torch.testing.assert_close(net.combined(members), together)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_confident_members_keep_the_mean_finite(link):
    """Outputs of +-1000 give finite log-probabilities."""
    outputs = torch.tensor([[1000.0, -1000.0], [1000.0, -1000.0]])

    mean = mean_of_members(outputs, link, dim=0)

    assert torch.isfinite(mean).all()
    assert mean[0] > 0 > mean[1] or link == "softmax"
    assert mean.argmax() == 0


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity"])
def test_equal_members_predict_as_one_network(link):
    """The mean of equal predictions equals each of them."""
    outputs = _numbers(B, 2)

    mean = mean_of_members(outputs.unsqueeze(1).expand(-1, M, -1), link, dim=1)

    if link == "softmax":
        outputs = outputs.log_softmax(dim=1)
    torch.testing.assert_close(mean, outputs)


def test_the_loss_over_members_rows_is_the_mean_of_their_losses():
    """Unlike the loss of the mean prediction, it does not couple members."""
    outputs, y = _numbers(B, M, 2), torch.arange(B) % 2
    weight = torch.arange(1.0, B + 1).double()

    rows, targets, weights = by_member(outputs, y, weight)

    losses = [F.cross_entropy(outputs[:, i], y, reduction="none") for i in range(M)]
    expected = torch.stack([(own * weight).sum() / weight.sum() for own in losses]).mean()
    own = F.cross_entropy(rows, targets, reduction="none")
    torch.testing.assert_close((own * weights).sum() / weights.sum(), expected)


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1), (2, 2)])
def test_members_initially_differ_by_input_scales(chunks):
    """Random signs of numbers, one factor per column of vectors.  Other scales are 1."""
    layer, later = SharedLinear(4, 3, 50, chunks), SharedLinear(4, 3, 50)
    scales = layer.input_scale.detach().view(50, 4)

    assert (layer.output_scale == 1).all()
    assert (later.input_scale == 1).all()
    assert torch.equal(*layer.bias.detach().view(50, 3)[[0, 7]])
    if len(chunks) == 4:
        assert sorted(scales.unique().tolist()) == [-1, 1]
    else:
        assert torch.equal(scales[:, 0], scales[:, 1])
        assert not torch.equal(scales[:, 1], scales[:, 2])
        assert 0.7 < scales.std() < 1.3


def test_layers_of_members_print_their_sizes():
    """As torch's linear layers do, next to the number of members."""
    assert str(SharedLinear(4, 3, 2)) == (
        "SharedLinear(in_features=4, out_features=3, members=2)"
    )
    assert str(SeparateHeads(3, 5, 2)) == (
        "SeparateHeads(in_features=3, out_features=5, members=2)"
    )


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalisation_treats_members_equally(normalization):
    """Batch statistics cover the rows of all members; layer statistics cover units."""
    net, x = _net(normalization=normalization), _numbers(B, 3)
    layer = net.hidden[0].train()
    h = layer.linear(x.expand(M, -1, -1))

    got = layer.norm(h.flatten(0, 1)).view_as(h)

    dims = (0, 1) if normalization == "batch" else 2
    mean, variance = h.mean(dim=dims), h.var(dim=dims, unbiased=False)
    if normalization == "layer":
        mean, variance = mean.unsqueeze(2), variance.unsqueeze(2)
    normed = (h - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(got, normed * layer.norm.weight + layer.norm.bias)
    torch.testing.assert_close(layer(x.expand(M, -1, -1)), F.relu(got))

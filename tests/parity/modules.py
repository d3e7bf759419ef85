"""Users' modules, plain and unusual."""

import torch
from modules import OneLayer
from torch import nn


class Layers(nn.Module):
    """A user's module with batch normalisation and torch's own dropout."""

    def __init__(self, n_features, n_outputs, p=0.2):
        super().__init__()
        self.first = nn.Linear(n_features, 12)
        self.rest = nn.Sequential(
            nn.BatchNorm1d(12),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(12, 8),
            nn.GELU(),
            nn.Dropout(p),
            nn.Linear(8, n_outputs),
        )

    def forward(self, x):
        return self.rest(self.first(x))


class Unbiased(Layers):
    """Without the bias that batch normalisation removes: exact except for rounding."""

    def __init__(self, n_features, n_outputs, p=0.2):
        super().__init__(n_features, n_outputs, p)
        self.first = nn.Linear(n_features, 12, bias=False)


class Averaged(Layers):
    """Its statistics are means over all batches; code between its layers is not a layer."""

    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs, p=0.0)
        self.norm = nn.BatchNorm1d(12, momentum=None)

    def forward(self, x):
        return self.rest(self.norm(self.first(x)).relu())


class Attentive(nn.Module):
    """A user's module that weighs the steps of a sequence, with dropout on them."""

    def __init__(self, n_outputs, p=0.2):
        super().__init__()
        self.embed = nn.Linear(8, 6)
        self.norm = nn.LayerNorm(6)
        self.score = nn.Linear(6, 1, bias=False)
        self.dropout = nn.Dropout(p)
        self.output = nn.Linear(6, n_outputs)

    def forward(self, x):
        h = self.dropout(torch.nn.functional.silu(self.norm(self.embed(x))))
        return self.output((self.score(h).softmax(dim=1) * h).sum(dim=1))


class Convolutional(nn.Module):
    """A user's module with a buffer, a parameter of its own and a frozen last layer."""

    def __init__(self, n_outputs, p=0.2):
        super().__init__()
        self.register_buffer("scale", torch.full((1,), 0.5))
        self.shift = nn.Parameter(torch.zeros(3, 1, 1))
        self.convolution = nn.Conv2d(1, 3, 3, stride=2)
        self.dropout = nn.Dropout(p)
        self.output = nn.Linear(27, n_outputs)
        self.output.bias.requires_grad_(False)

    def forward(self, x):
        h = torch.relu(self.convolution(x * self.scale) + self.shift)
        return self.output(self.dropout(h).flatten(1))


class FrozenStart(nn.Module):
    """A user's module with an untrained first layer."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(n_features, 12).requires_grad_(requires_grad=False)
        self.output = nn.Linear(12, n_outputs)

    def forward(self, x):
        return self.output(torch.tanh(self.hidden(x)))


class Tied(nn.Module):
    """A user's module that uses one weight matrix in two layers."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_features, n_features)
        self.second = nn.Linear(n_features, n_features)
        self.second.weight = self.first.weight
        self.output = nn.Linear(n_features, n_outputs)

    def forward(self, x):
        return self.output(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Hooked(nn.Module):
    """A user's module that leaves the gradient of one layer out, by a hook."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(n_features, 12)
        self.output = nn.Linear(12, n_outputs)
        self.hidden.weight.register_hook(torch.zeros_like)

    def forward(self, x):
        return self.output(torch.tanh(self.hidden(x)))


class Counting(OneLayer):
    """A user's module that counts its training steps and grows with them."""

    n_steps = 0

    def forward(self, x):
        self.n_steps += self.training
        return super().forward(x) * (1 + self.n_steps / 10)


class Recurrent(nn.Module):
    """A user's module with a recurrent layer of torch, which returns a tuple."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.recurrence = nn.GRU(1, 5, bidirectional=True, batch_first=True)
        self.output = nn.Linear(10, n_outputs)

    def forward(self, x):
        states, last = self.recurrence(x[:, ::8, None])
        return self.output(states.mean(dim=1) + last.movedim(0, 1).flatten(1))


class Image(nn.Module):
    """A convolutional network with torch's dropout where `place` says."""

    def __init__(self, n_outputs, place):
        super().__init__()
        drop = {place: nn.Dropout(0.3)}
        self.layers = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 4, 3),
            drop.get("conv", nn.Identity()),
            nn.ReLU(inplace=True) if place == "pool" else nn.Tanh(),
            nn.MaxPool2d(2),
            drop.get("pool", nn.Identity()),
            nn.Flatten(),
            drop.get("flat", nn.Identity()),
            nn.Linear(36, n_outputs),
        )

    def forward(self, x):
        return self.layers(x)


class Steps(nn.Module):
    """A recurrent network with torch's dropout on all or the last outputs."""

    def __init__(self, n_outputs, cell, is_last):
        super().__init__()
        self.recurrence = cell(8, 6, batch_first=True, bidirectional=not is_last)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(6 if is_last else 12, n_outputs)
        self.is_last = is_last

    def forward(self, x):
        h = self.recurrence(x.view(-1, 8, 8))[0]
        if self.is_last:
            return self.output(self.dropout(h[:, -1]))
        return self.output(self.dropout(h).mean(1))


class MaxNorm(nn.Module):
    """Keeps its weights small, which they are at the start."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_features, 12)
        self.act = nn.ReLU()
        self.output = nn.Linear(12, n_outputs)

    def forward(self, x):
        with torch.no_grad():
            self.first.weight.renorm_(2, 0, 0.6)
        return self.output(self.act(self.first(x)))


class Positive(nn.Module):
    """Keeps one number above 0, where it is at the start."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_features, 1)
        self.output = nn.Linear(1, n_outputs)
        nn.init.constant_(self.first.bias, 0.002)

    def forward(self, x):
        with torch.no_grad():
            self.first.bias.clamp_(min=0.0)
        return self.output(self.first(x))


class Loose(nn.Module):
    """Has random layers in a plain list, which are neither trained nor saved."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.fixed = [nn.Linear(n_features, 12)]
        self.output = nn.Linear(12, n_outputs)

    def forward(self, x):
        return self.output(torch.relu(x @ self.fixed[0].weight.T.to(x.dtype)))


class Listed(nn.Module):
    """Calls its convolutions out of a plain list."""

    def __init__(self, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.output = nn.Linear(144, n_outputs)
        self.all = [self.conv]

    def forward(self, x):
        return self.output(torch.relu(self.all[0](x.view(-1, 1, 8, 8))).flatten(1))


class Tokens(nn.Embedding):
    """An embedding by another name."""

    def __init__(self, n_units):
        super().__init__(17, n_units, padding_idx=0)


class Worded(nn.Module):
    """A bag of words with padding."""

    def __init__(self, n_outputs, is_functional=False):
        super().__init__()
        self.tokens = Tokens(6)
        self.output = nn.Linear(6, n_outputs)
        self.is_functional = is_functional

    def forward(self, x):
        x = x.mul(16).long()
        if self.is_functional:
            h = nn.functional.embedding(x, self.tokens.weight, padding_idx=0)
        else:
            h = self.tokens(x)
        return self.output(h.mean(1))


class Tempered(nn.Module):
    """Divides by a parameter that is a single number."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.linear(x) / self.temperature


def square(n_features, n_outputs):
    """Ends in an activation behind a square layer, after layers that do nothing.

    The name of that layer is the place of the last activation without these.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(n_features, n_outputs),
        nn.Tanh(),
        nn.Linear(n_outputs, n_outputs),
        nn.Tanh(),
    )


def _clamp(weight):
    weight.grad.clamp_(-0.01, 0.01)


class Clamped(OneLayer):
    """Lets hooks of its weights clamp their gradients."""

    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs)
        for weight in self.parameters():
            weight.register_post_accumulate_grad_hook(_clamp)

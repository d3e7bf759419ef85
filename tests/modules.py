"""Modules and callbacks of a user."""

from skorch.callbacks import Callback
from torch import nn


class OneLayer(nn.Module):
    """A linear layer; subclasses add other operations."""

    def __init__(self, n_features=3, n_outputs=2):
        super().__init__()
        self.output = nn.Linear(n_features, n_outputs)

    def forward(self, x):
        return self.output(x)


class Decay(Callback):
    """A callback that counts epochs in an attribute and sets the rate by it."""

    def initialize(self):
        self.n_epochs_ = 0
        return self

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs_ += 1
        net.optimizer_.param_groups[0]["lr"] = 0.1 / self.n_epochs_**2

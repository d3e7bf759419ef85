# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A module for skorch, where worker processes can import it to return fitted nets."""

from torch import nn


class Net(nn.Module):
    """The same network as a module for skorch."""

    def __init__(self, p=0.1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(64, 10),
        )

    def forward(self, x):
        return self.layers(x)

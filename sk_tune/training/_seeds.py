# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Random streams of one fit, all derived from its seed and a counter.

Because nothing is drawn from a generator that lives on between epochs, a fit that was
paused, pickled or moved goes on with exactly the numbers it would have used.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch

__all__ = ["Stream", "derive_seed", "exclusive_rng", "forked_rng", "seed_of_state"]

# Because torch's default generator belongs to the process, two threads that both borrow
# it must take turns.
_GLOBAL_RNG = threading.RLock()


class Stream(IntEnum):
    """What a derived seed is for."""

    WEIGHTS = 0
    BATCH_ORDER = 1
    DROPOUT = 2
    VALIDATION_SPLIT = 3
    MODULE = 4
    AUGMENTATION = 5


def derive_seed(seed: int, stream: Stream, counter: int = 0) -> int:
    """Return a 63-bit seed for one stream at one point of a fit.

    Parameters
    ----------
    seed : int
        Seed of the fit, at least 0.
    stream : Stream
        What the numbers are for.
    counter : int, default=0
        Epoch or step; at least 0.

    Returns
    -------
    int
        In ``[0, 2**63)``; different arguments give unrelated values.

    Examples
    --------
    >>> derive_seed(0, Stream.WEIGHTS) == derive_seed(0, Stream.WEIGHTS)
    True
    >>> derive_seed(0, Stream.WEIGHTS) == derive_seed(0, Stream.DROPOUT)
    False
    """
    state = np.random.SeedSequence((seed, int(stream), counter))
    return int(state.generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def forked_rng(seed: int | bytes, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run a block with torch's global generators seeded, then put them back.

    For code that can only draw from them: torch's weight initialisation, a user's
    ``nn.Dropout``.  Blocks of several threads run one after the other.

    Parameters
    ----------
    seed : int or bytes
        Seed inside the block, in ``[0, 2**63)``, or a state of torch's generator.
    device : torch.device or str, default="cpu"
        A CUDA device has its generator seeded and restored too.

    Yields
    ------
    None
        Nothing.
    """
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with _GLOBAL_RNG, torch.random.fork_rng(devices=cuda):
        if isinstance(seed, bytes):
            torch.set_rng_state(torch.frombuffer(bytearray(seed), dtype=torch.uint8))
            seed = seed_of_state(seed)
        else:
            torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def seed_of_state(state: bytes) -> int:
    """Return a seed that tells states of torch's generator apart.

    Parameters
    ----------
    state : bytes
        Of the generator of the CPU.

    Returns
    -------
    int
        In ``[0, 2**63)``; a digest of the state.
    """
    return int.from_bytes(hashlib.sha256(state).digest()[:8], "big") >> 1


@contextmanager
def exclusive_rng() -> Iterator[None]:
    """Run a block while no other thread is in `forked_rng` or in another such block.

    For code that puts torch's global generators back to an earlier state.

    Yields
    ------
    None
        Nothing.
    """
    with _GLOBAL_RNG:
        yield

"""Seeds of one fit, and the global generators they leave alone."""

import threading

import torch
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.training import Stream, derive_seed, forked_rng

SEEDS = st.integers(0, 2**32 - 1)
COUNTERS = st.integers(0, 10**6)
STREAMS = st.sampled_from(list(Stream))


@given(seed=SEEDS, stream=STREAMS, counter=COUNTERS)
def test_seed_fits_into_63_bits(seed, stream, counter):
    """Torch's and numpy's generators accept every derived seed."""
    assert 0 <= derive_seed(seed, stream, counter) < 2**63


@given(a=st.tuples(SEEDS, STREAMS, COUNTERS), b=st.tuples(SEEDS, STREAMS, COUNTERS))
def test_different_arguments_give_different_seeds(a, b):
    """Two uses share a seed only if they are the same use."""
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b)


def test_forked_rng_gives_the_numbers_of_its_seed_and_restores_the_rest():
    """Inside, torch draws as after manual_seed; outside, nothing has happened."""
    torch.manual_seed(7)
    expected_inside = torch.rand(3)
    torch.manual_seed(1)
    expected_after = torch.rand(3)
    torch.manual_seed(1)

    with forked_rng(7):
        inside = torch.rand(3)

    assert torch.equal(inside, expected_inside)
    assert torch.equal(torch.rand(3), expected_after)


def test_forked_rng_restores_after_an_exception():
    """An error inside the block leaves the global generator as it was."""
    before = torch.get_rng_state()
    try:
        with forked_rng(3):
            torch.rand(1)
            raise KeyError
    except KeyError:
        pass

    assert torch.equal(torch.get_rng_state(), before)


def test_blocks_of_two_threads_do_not_mix():
    """Each thread draws what it would have drawn alone."""

    def draw(seed, into):
        for _ in range(50):
            with forked_rng(seed):
                into.append(torch.cat([torch.rand(1) for _ in range(20)]))

    drawn = {1: [], 2: []}
    threads = [threading.Thread(target=draw, args=item) for item in drawn.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for seed, values in drawn.items():
        with forked_rng(seed):
            expected = torch.cat([torch.rand(1) for _ in range(20)])
        assert all(torch.equal(value, expected) for value in values)

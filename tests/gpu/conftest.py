"""The device under test."""

import os

import pytest
import torch

from sk_tune._fleets._kernel_library import VARIABLE


@pytest.fixture
def device(monkeypatch):
    """Name of the device; where that is a processor, torch trains as on a GPU."""
    name = os.environ.get("SK_TUNE_GPU_DEVICE", "cuda")
    if name != "cpu" and not torch.cuda.is_available():
        pytest.skip(f"needs a CUDA device; SK_TUNE_GPU_DEVICE is {name!r}")
    monkeypatch.setenv(VARIABLE, "0")
    yield name
    if name != "cpu":
        torch.cuda.empty_cache()

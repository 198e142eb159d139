"""Parity tests run in float64 unless they say otherwise, so that a difference is a difference of
formulas.
"""

import os

import jax
import pytest
import torch


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="session")
def torch_threads():
    """PyTorch's waiting threads slow down everything beside them, such as a second test process."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)

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


@pytest.fixture
def quickly_compiled():
    """For files whose time is compiling. The other parity tests compile as users do: test_resnet
    and test_recipe among them.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)

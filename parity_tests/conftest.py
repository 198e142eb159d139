"""Parity tests run in float64 unless they say otherwise, so that a difference is a difference of formulas."""

import jax
import pytest
import torch

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def two_torch_threads():
    torch.set_num_threads(2)

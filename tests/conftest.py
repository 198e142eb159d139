"""Shared by tests/: eight CPU devices for the sharding tests, a small experiment, compiled programs
kept between tests.
"""

import os
from functools import partial
from pathlib import Path

import hypothesis
import jax
import pytest

from ltjax import models
from ltjax.models.resnet_cifar import ResNetCifar

if not os.environ.get(
    "JAX_PLATFORMS"
):  # the tests count CPU devices; parity_tests/ by itself runs on what is there
    jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
if not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
assert (
    len(jax.devices()) == 8
)  # starts the backend now: later, the first training run would choose the number of devices

# The same few examples each time; `pytest --hypothesis-profile=default` looks further.
hypothesis.settings.register_profile(
    "few",
    max_examples=10,
    derandomize=True,
    deadline=None,  # a first example compiles, and machines are busy
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    database=None,
)
hypothesis.settings.load_profile("few")

ROOT = Path(__file__).resolve().parents[1]

# Compiles in a fraction of ResNet-8's time: a convolution, BatchNorm, the pool and a classifier.
models.MODELS["tiny"] = partial(ResNetCifar, blocks=0)


@pytest.fixture
def digits_config():
    """A config that trains in seconds: a convolution of width 4 on the digits, with LDAM,
    DRW and SAM.
    """
    from configs import quickstart

    config = quickstart.get_config()
    config.model.name = "tiny"
    config.model.width = 4
    config.training.epochs = 3
    config.training.batch_size = 64
    config.training.cpu_devices = 1
    config.logging.tensorboard = config.evaluation.misclassified = False
    config.checkpoint.every = 1
    return config


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory):
    """A folder of compiled programs, of all test processes together: many tests train the same
    small network, and it compiles once. One that JAX_COMPILATION_CACHE_DIR gives is taken. Programs
    that tests start, and kill, have another: what a killed one had half written stays there.
    """
    if not jax.config.jax_compilation_cache_dir:
        folder = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            folder = folder.parent
        # With a limit, here more than is ever written, JAX locks the folder.
        jax.config.update("jax_compilation_cache_max_size", 2**34)
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))


@pytest.fixture(autouse=True, scope="module")
def quickly_compiled():
    """Compiling is most of these tests' time. parity_tests/ and the runs of .ci/run see what users
    run.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Environment of a launch.py started as a program, with compiled programs shared between
    starts.
    """
    cache = tmp_path_factory.mktemp("cache")
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LTJAX_", "TFDS_", "XLA_", "JAX_"))
    }
    return variables | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS") or "cpu",
        "XDG_CACHE_HOME": str(cache),
        "COLUMNS": "160",
    }


@pytest.fixture
def launch(environment):
    """Runs launch.py to its end and returns the finished process."""
    import subprocess
    import sys

    def run(*arguments, timeout=240, **variables):
        return subprocess.run(
            [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)],
            cwd=ROOT,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run

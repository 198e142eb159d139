"""What a process does to its machine before it trains."""

import platform
import subprocess
import sys

import pytest

WORKSPACES = """
import resource, sys
import jax, jax.numpy as jnp
from ltjax.training import devices

if sys.argv[1] == "kept":
    devices.keep_freed_memory()
program = jax.jit(lambda x, w: jnp.max(jnp.sin(x @ w) @ w))  # a workspace of 64 MiB
x, w = jnp.ones((2**20, 16)), jnp.ones((16, 16))
for _ in range(3):
    program(x, w).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    program(x, w).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_a_programs_workspace_is_not_fetched_from_the_system_at_each_call(environment):
    faults = {}
    for which in ("kept", "as it is"):
        done = subprocess.run([sys.executable, "-c", WORKSPACES, which], capture_output=True, text=True, env=environment, check=True)
        faults[which] = int(done.stdout)
    pages = 3 * 2**26 // 4096
    assert faults["as it is"] > pages // 2  # otherwise there is nothing to keep, and keep_freed_memory can go
    assert faults["kept"] < pages // 10

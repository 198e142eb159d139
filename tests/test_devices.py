"""What programs are compiled with."""

import jax
import jax.numpy as jnp
import numpy as np

from ltjax import devices, models


def test_the_cpu_options_are_known_and_leave_every_bit():
    rng = np.random.default_rng(0)
    options = devices.compiler_options()
    assert options == devices.CPU_OPTIONS, "XLA no longer knows them"
    model = models.create("resnet8", 10)
    images = jnp.asarray(rng.normal(size=(32, 16, 16, 3)), jnp.float32)
    variables = model.init(jax.random.key(0), images)

    def loss(params):
        logits, _ = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.square(logits))

    plain, chosen = (
        jax.jit(jax.grad(loss), compiler_options=given).lower(variables["params"]).compile()
        for given in ({}, options)
    )
    # They are followed: XLA takes some options in silence and does as before.
    sizes = [one.memory_analysis().temp_size_in_bytes for one in (plain, chosen)]
    assert sizes[1] < 0.9 * sizes[0], sizes
    parameters = variables["params"]
    jax.tree.map(np.testing.assert_array_equal, chosen(parameters), plain(parameters))


def test_an_xla_without_the_options_goes_without(monkeypatch):
    monkeypatch.setattr(devices, "CPU_OPTIONS", {"xla_cpu_of_another_day": False})
    assert devices.compiler_options.__wrapped__() == {}

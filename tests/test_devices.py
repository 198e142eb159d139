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
    images = jnp.asarray(rng.normal(size=(8, 8, 8, 3)), jnp.float32)
    variables = model.init(jax.random.key(0), images)

    def loss(params):
        logits, _ = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.square(logits))

    plain = jax.jit(jax.grad(loss))(variables["params"])
    chosen = jax.jit(jax.grad(loss), compiler_options=options)(variables["params"])
    jax.tree.map(np.testing.assert_array_equal, chosen, plain)


def test_an_xla_without_the_options_goes_without(monkeypatch):
    monkeypatch.setattr(devices, "CPU_OPTIONS", {"xla_cpu_of_another_day": False})
    assert devices.compiler_options.__wrapped__() == {}

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ltjax import optim

PARAMS = {"a": jnp.array([3.0, -4.0]), "b": jnp.array(2.0)}
MATRIX = jnp.diag(jnp.array([1.0, 10.0]))


def loss(p):
    return 0.5 * p["a"] @ MATRIX @ p["a"] + p["b"] ** 2


def test_ascend_moves_by_exactly_rho_along_the_gradient():
    grads = jax.grad(loss)(PARAMS)
    moved = jax.tree.map(jnp.subtract, optim.ascend(PARAMS, grads, 0.3), PARAMS)
    np.testing.assert_allclose(optax.tree.norm(moved), 0.3, rtol=1e-5)
    np.testing.assert_allclose(moved["a"] / moved["b"], grads["a"] / grads["b"], rtol=1e-4)


def test_adaptive_ascend_is_the_formula():
    grads = jax.grad(loss)(PARAMS)
    norm = np.sqrt(sum(np.sum((np.abs(PARAMS[k]) * grads[k]) ** 2) for k in PARAMS))
    out = optim.ascend(PARAMS, grads, 0.3, adaptive=True)
    for k in PARAMS:
        np.testing.assert_allclose(
            out[k], PARAMS[k] + 0.3 * PARAMS[k] ** 2 * grads[k] / norm, rtol=1e-6
        )


def test_ascend_without_gradient_or_radius_stays():
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    for moved in (
        optim.ascend(PARAMS, zeros, 0.5),
        optim.ascend(PARAMS, jax.grad(loss)(PARAMS), 0.0),
    ):
        jax.tree.map(np.testing.assert_array_equal, moved, PARAMS)


def test_sam_with_radius_zero_is_its_base():
    base = optax.adam(0.1)
    sam = optim.sam(base, 0.0)
    grads = jax.grad(loss)(PARAMS)
    plain, _ = base.update(grads, base.init(PARAMS), PARAMS)
    updates, _ = sam.update(grads, sam.init(PARAMS), PARAMS, grad_fn=jax.grad(loss))
    jax.tree.map(np.testing.assert_array_equal, updates, plain)


def test_sam_gives_its_base_the_gradient_at_the_ascended_point():
    sam = optim.sam(optax.sgd(1.0), 0.4)
    grads = jax.grad(loss)(PARAMS)
    updates, state = jax.jit(lambda g, s, p: sam.update(g, s, p, grad_fn=jax.grad(loss)))(
        grads, sam.init(PARAMS), PARAMS
    )
    expected = jax.grad(loss)(optim.ascend(PARAMS, grads, 0.4))
    jax.tree.map(lambda u, g: np.testing.assert_allclose(u, -g, rtol=1e-6), updates, expected)
    assert int(state.step) == 1


def test_a_scheduled_radius_follows_the_update_count():
    sam = optim.sam(optax.sgd(1.0), lambda count: jnp.where(count < 1, 0.0, 0.4))
    grad_fn = jax.grad(loss)
    grads, state = grad_fn(PARAMS), sam.init(PARAMS)
    first, state = sam.update(grads, state, PARAMS, grad_fn=grad_fn)
    second, state = sam.update(grads, state, PARAMS, grad_fn=grad_fn)
    np.testing.assert_allclose(first["a"], -grads["a"])
    np.testing.assert_allclose(
        second["a"], -grad_fn(optim.ascend(PARAMS, grads, 0.4))["a"], rtol=1e-6
    )


def test_plain_gradients_neither_perturb_nor_are_perturbed():
    sam = optim.sam(optax.sgd(1.0), 0.4)
    grads = jax.grad(loss)(PARAMS)
    plain = jax.tree.map(lambda g: 3.0 * g + 1.0, grads)
    options = {"grad_fn": jax.grad(loss)}
    alone, _ = sam.update(grads, sam.init(PARAMS), PARAMS, **options)
    both, _ = sam.update(grads, sam.init(PARAMS), PARAMS, plain_grads=plain, **options)
    expected = jax.tree.map(jnp.subtract, alone, plain)
    jax.tree.map(lambda u, e: np.testing.assert_allclose(u, e, rtol=1e-6), both, expected)


def test_focal_weights_are_the_formula_between_sgd_and_sam():
    counts = [60, 30, 10]
    np.testing.assert_allclose(
        optim.focal_weights(counts, 2.0, 0.5), [0.5 * 0.16, 0.5 * 0.49, 0.5 * 0.81], rtol=1e-6
    )
    np.testing.assert_array_equal(optim.focal_weights(counts, 0.0, 1.0), np.ones(3))
    np.testing.assert_array_equal(optim.focal_weights(counts, 2.0, 0.0), np.zeros(3))
    with pytest.raises(ValueError, match=r"gamma is -1, lam 0\.5; expected values >= 0"):
        optim.focal_weights(counts, -1, 0.5)
    with pytest.raises(ValueError, match="expected at least 1 image a class"):
        optim.focal_weights([3, 0], 1.0, 0.5)


def test_tail_weights_begin_below_the_threshold():
    np.testing.assert_array_equal(optim.tail_weights([40, 20, 19], 20), [0, 0, 1])
    np.testing.assert_array_equal(optim.tail_weights([40, 20, 19], 20, 2.0), [0, 0, 2])
    with pytest.raises(ValueError, match="scale is 0; expected a value above 0"):
        optim.tail_weights([40, 20], 20, 0)


def test_sam_works_inside_chain_and_reaches_a_minimum():
    optimizer = optax.chain(optim.sam(optim.sgd(0.02, momentum=0.9), 0.01))
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(150):
        updates, state = optimizer.update(
            jax.grad(loss)(params), state, params, grad_fn=jax.grad(loss)
        )
        params = optax.apply_updates(params, updates)
    assert loss(params) < 1e-2


def test_sam_tells_what_it_needs():
    sam = optim.sam(optax.sgd(0.1), 0.1)
    with pytest.raises(ValueError, match="sam needs update"):
        sam.update(PARAMS, sam.init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match=r"rho is -0\.1"):
        optim.sam(optax.sgd(0.1), -0.1)


def test_sgd_without_momentum_and_decay_is_gradient_descent():
    optimizer = optim.sgd(0.5, momentum=0.0)
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["a"], -0.5 * PARAMS["a"])


def test_schedules_at_their_corners():
    assert [optim.piecewise((1, 2, 3), (2, 4))(e) for e in range(6)] == [1, 1, 2, 2, 3, 3]
    np.testing.assert_allclose(
        [optim.linear(0.05, 0.5, 10)(e) for e in (0, 9, 12)], [0.05, 0.5, 0.5]
    )
    np.testing.assert_allclose(
        [optim.cosine(0.2, 90)(e) for e in (0, 45, 90)], [0.2, 0.1, 0.0], atol=1e-15
    )
    np.testing.assert_allclose(optim.cosine(0.2, 90, warmup_epochs=4)(0), 0.05)
    assert optim.constant(0.3)(7) == 0.3
    assert optim.warmup_piecewise(0.1, 0, (0.5,), (3,))(0) == 0.1


def test_schedules_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one value more than milestones"):
        optim.piecewise((1, 2), (2, 4))
    with pytest.raises(ValueError, match="ascending"):
        optim.piecewise((1, 2, 3), (4, 2))

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


@pytest.mark.parametrize("adaptive", [False, True])
def test_ascend_in_float16_is_float32s_rounded_once(adaptive):
    """Norm and products stay in float32: 200^2 and 300 * 300 are beyond float16's 65504."""
    params = {"a": jnp.array([300.0, 2.0], jnp.float16)}
    grads = {"a": jnp.array([200.0, 300.0], jnp.float16)}
    wide_params, wide_grads = jax.tree.map(lambda x: x.astype(jnp.float32), (params, grads))
    ours = optim.ascend(params, grads, 40.0, adaptive)["a"]
    expected = optim.ascend(wide_params, wide_grads, 40.0, adaptive)["a"]
    assert ours.dtype == jnp.float16
    np.testing.assert_allclose(ours, expected, rtol=1e-3)  # float16 has 11 bits


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
    half = jnp.ones(3, jnp.bfloat16)
    assert (optim.tail_weights([40, 20, 19], 20) * half).dtype == jnp.float32
    with pytest.raises(ValueError, match="scale is 0; expected a value above 0"):
        optim.tail_weights([40, 20], 20, 0)


def test_sam_works_inside_chain_and_reaches_a_minimum():
    optimizer = optax.chain(optim.sam(optim.sgd(0.02, momentum=0.9), 0.01))
    params, state = PARAMS, optimizer.init(PARAMS)
    grad_fn = jax.grad(loss)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    for _ in range(150):
        params, state = step(params, state)
    assert loss(params) < 1e-2


def test_sam_tells_what_it_needs():
    sam = optim.sam(optax.sgd(0.1), 0.1)
    grad_fn = jax.grad(loss)
    for arguments, options in (((PARAMS,), {}), ((), {"grad_fn": grad_fn})):
        with pytest.raises(ValueError, match="sam needs update"):
            sam.update(PARAMS, sam.init(PARAMS), *arguments, **options)
    for rho in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=f"rho is {rho}; expected a radius"):
            optim.sam(optax.sgd(0.1), rho)


def one_update(optimizer, **extra):
    grad_fn = jax.grad(loss)
    extra = {"grad_fn": grad_fn, **extra}
    return optimizer.update(grad_fn(PARAMS), optimizer.init(PARAMS), PARAMS, **extra)[0]


def assert_trees_close(ours, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, expected)


def test_sam_hands_further_arguments_to_its_base():
    def scaled(updates, state, params=None, *, share, **extra):
        return jax.tree.map(lambda u: share * u, updates), state

    base = optax.GradientTransformationExtraArgs(lambda params: (), scaled)
    expected = jax.grad(loss)(optim.ascend(PARAMS, jax.grad(loss)(PARAMS), 0.4))
    ours = one_update(optim.sam(base, 0.4), share=0.25)
    assert_trees_close(ours, jax.tree.map(lambda g: 0.25 * g, expected))


def test_a_radius_may_be_injected_under_jit():
    optimizer = optax.inject_hyperparams(lambda rho: optim.sam(optax.sgd(1.0), rho))(rho=0.4)
    ours = jax.jit(lambda: one_update(optimizer))()
    assert_trees_close(ours, one_update(optim.sam(optax.sgd(1.0), 0.4)))


TRAINED = {"a": True, "b": False}
FROZEN_B = optax.multi_transform({True: optax.sgd(1.0), False: optax.set_to_zero()}, TRAINED)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda sam: optax.MultiSteps(sam, 2).gradient_transformation(),
            r"inside optax.MultiSteps .* outside, sam\(optax.MultiSteps\(base, k\)",
        ),
        (
            lambda sam: optax.chain(optax.apply_if_finite(optax.chain(sam), 3)),
            r"inside optax.apply_if_finite .* outside,"
            r" sam\(optax.apply_if_finite\(base, n\), rho\)",
        ),
        (
            lambda sam: optax.masked(sam, TRAINED),
            "inside optax.masked or multi_transform .* outside",
        ),
        (
            lambda sam: optax.multi_transform({True: sam, False: optax.set_to_zero()}, TRAINED),
            "inside optax.masked or multi_transform .* outside",
        ),
        (
            lambda sam: optim.sam(optax.chain(FROZEN_B), 0.4),
            "around optax.multi_transform needs mask",
        ),
    ],
)
def test_sam_inside_a_wrapper_is_refused_and_told_how_to_nest(make, told):
    with pytest.raises(ValueError, match=told):
        make(optim.sam(optax.sgd(1.0), 0.4)).init(PARAMS)


@pytest.mark.parametrize("signs", [(1.0, -1.0), (1.0, 1.0)])
def test_sam_around_multi_steps_averages_the_second_gradients(signs):
    """The gradient of s w^2 / 2 at w = 1 is s, at w + e = 1 + s / 2 it is s + s^2 / 2."""
    sam = optim.sam(optax.MultiSteps(optax.sgd(1.0), 2).gradient_transformation(), 0.5)
    params = jnp.array(1.0)
    state, total = sam.init(params), 0.0
    for sign in signs:
        grad_fn = jax.grad(lambda w, sign=sign: sign * w**2 / 2)
        update, state = sam.update(grad_fn(params), state, params, grad_fn=grad_fn)
        total += update
    np.testing.assert_allclose(total, -np.mean([s + s**2 / 2 for s in signs]), rtol=1e-6)


def test_sam_around_apply_if_finite_rejects_a_second_gradient_that_is_not_finite():
    sam = optim.sam(optax.apply_if_finite(optax.sgd(1.0), 3), 0.4)
    assert_trees_close(one_update(sam), one_update(optim.sam(optax.sgd(1.0), 0.4)))
    broken = one_update(sam, grad_fn=lambda p: jax.tree.map(lambda w: w * jnp.nan, p))
    jax.tree.map(lambda u: np.testing.assert_array_equal(u, 0.0), broken)


@pytest.mark.parametrize("mask", [TRAINED, lambda params: TRAINED], ids=["tree", "function"])
def test_sam_does_not_perturb_what_its_mask_leaves_out(mask):
    """Nor does it count in the norm: the same as SAM on the other parameters alone."""

    def grad_fn(p):
        np.testing.assert_array_equal(p["b"], PARAMS["b"])
        return jax.grad(loss)(p)

    ours = one_update(optim.sam(FROZEN_B, 0.4, mask=mask), grad_fn=grad_fn)
    alone = jax.grad(lambda a: loss({**PARAMS, "a": a}))
    expected = -alone(optim.ascend(PARAMS["a"], alone(PARAMS["a"]), 0.4))
    assert_trees_close(ours, {"a": expected, "b": jnp.array(0.0)})
    assert_trees_close(
        one_update(optim.sam(FROZEN_B, 0.4, mask=True))["a"],
        one_update(optim.sam(optax.sgd(1.0), 0.4))["a"],
    )


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_no_optimizer_decays_weights_unless_asked(name):
    optimizer, zeros = optim.OPTIMIZERS[name](0.5), jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = optimizer.update(zeros, optimizer.init(PARAMS), PARAMS)
    jax.tree.map(lambda u: np.testing.assert_array_equal(u, 0.0), updates)


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
    assert optim.warmup_piecewise(0.1, 5, (0.5,), (9,))(0) == pytest.approx(0.02)


def test_schedules_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one value more than milestones"):
        optim.piecewise((1, 2), (2, 4))
    with pytest.raises(ValueError, match="ascending"):
        optim.piecewise((1, 2, 3), (4, 2))

"""Products of curvature matrices with vectors, of one loss and of the mean loss over a data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def hvp(loss_fn: Callable[[Any], jax.Array], params: Any, vector: Any) -> Any:
    """Hessian-vector product, forward over reverse: the directional derivative of the gradient.

    Args:
      loss_fn: params -> scalar.
      params: pytree.
      vector: pytree like params.

    Returns:
      H v, like params.

    Source: Pearlmutter, Neural Computation 1994.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import hessian
      >>> print(hessian.hvp(lambda w: jnp.sum(w * w * w), jnp.array([1.0, 2.0]), jnp.ones(2)))
      [ 6. 12.]
    """
    return jax.jvp(jax.grad(loss_fn), (params,), (vector,))[1]


def gauss_newton_product(
    outputs_fn: Callable[[Any], jax.Array],
    loss_of_outputs: Callable[[jax.Array], jax.Array],
    params: Any,
    vector: Any,
) -> Any:
    """Generalised Gauss-Newton product J^T H_out J v: the Hessian without the curvature of the
    network itself.

    Args:
      outputs_fn: params -> outputs (logits).
      loss_of_outputs: outputs -> scalar, convex for a positive semi-definite result.
      params, vector: pytrees of one structure.

    Source: Schraudolph, Neural Computation 2002; Martens, JMLR 2020, arXiv:1412.1193, section 8.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import hessian
      >>> product = hessian.gauss_newton_product(
      ...     jnp.square, lambda z: 0.5 * jnp.sum(z * z), jnp.array([1.0, 2.0]), jnp.ones(2)
      ... )
      >>> print(product)  # (2 w)^2
      [ 4. 16.]
    """
    outputs, tangent = jax.jvp(outputs_fn, (params,), (vector,))
    curved = jax.jvp(jax.grad(loss_of_outputs), (outputs,), (tangent,))[1]
    (product,) = jax.vjp(outputs_fn, params)[1](curved)
    return product


class DatasetOperator:
    """v -> H v for the mean of a loss over all examples, batch by batch in one batch's memory.

    The last short batch is padded and its padding weighted 0, so any batch size gives the same
    operator. On an accelerator the batches are one scan; on a CPU a loop on the host, since XLA
    runs the gradients of jax.lax's convolutions inside a loop there on one slow thread (not those
    of ltjax's networks). The loop on the host can keep what depends on `params` alone
    (activations, gradients) between the products: `keep_bytes`.

    Attributes:
      loss: mean loss over the examples (computed when first asked for).
      traceable: whether a call may stand inside another compiled loop.

    Example:
      >>> import jax.numpy as jnp
      >>> from ltjax import hessian
      >>> squares = lambda w, x: 0.5 * (x @ w) ** 2  # of the mean the Hessian is x^T x / N
      >>> x = jnp.diag(jnp.array([2.0, 4.0, 6.0, 8.0]))
      >>> matvec = hessian.DatasetOperator(squares, jnp.zeros(4), x, batch_size=3)
      >>> print(matvec(jnp.ones(4)))
      [ 1.  4.  9. 16.]
    """

    def __init__(
        self,
        losses_fn: Callable[[Any, Any], jax.Array],
        params: Any,
        examples: Any,
        batch_size: int,
        *,
        weights: np.ndarray | None = None,
        product: Callable[[Callable[[Any], jax.Array], Any, Any], Any] = hvp,
        sharding: jax.sharding.Sharding | None = None,
        scan: bool | None = None,
        keep_bytes: int = 0,
    ) -> None:
        """Splits the examples.

        Args:
          losses_fn: (params, batch of examples) -> per-example losses [B].
          params: where the operator is taken.
          examples: pytree of arrays [N, ...].
          batch_size: examples in one product.
          weights: of the examples, [N], for a weighted mean; None is all 1.
          product: `hvp`, or another (loss_fn, params, vector) -> pytree.
          sharding: of a batch over devices along its first axis; batch_size must divide over them.
          scan: the batches as one compiled loop; None chooses by the device.
          keep_bytes: memory for what does not change between products, of as many batches as fit;
            their products then cost about three quarters (ResNet-32: 8 MB an image in float32). Not
            used by the scan.

        Raises:
          ValueError: no examples, weights of another length, below 0 or all 0, or parameters that
            are not finite.
        """
        sizes = {len(leaf) for leaf in jax.tree.leaves(examples)}
        if len(sizes) != 1 or not min(sizes):
            raise ValueError(
                f"examples have {sorted(sizes) or 'no'} entries;"
                " expected arrays of one length above 0"
            )
        (size,) = sizes
        if weights is not None and np.shape(weights) != (size,):
            raise ValueError(
                f"weights have shape {np.shape(weights)}; expected [{size}], one an example"
            )
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if not np.isfinite(np.asarray(leaf)).all():
                raise ValueError(
                    f"params{jax.tree_util.keystr(path)} holds values that are not finite;"
                    " the run diverged"
                )
        batch_size = min(batch_size, size) if sharding is None else batch_size
        shares = np.ones(size) if weights is None else np.asarray(weights, float)
        if not (np.isfinite(shares).all() and shares.min() >= 0 and shares.max() > 0):
            raise ValueError(
                f"weights span {shares.min()}..{shares.max()}; expected finite ones >= 0, not all 0"
            )
        everywhere = None
        if isinstance(sharding, jax.sharding.NamedSharding):
            everywhere = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
            params = jax.device_put(params, everywhere)
        self._everywhere = everywhere
        self._params = params
        place = (lambda x: jax.device_put(x, sharding)) if sharding is not None else jnp.asarray
        self.traceable = jax.default_backend() != "cpu" if scan is None else scan
        shares = (shares / shares.sum()).astype(jnp.result_type(float))
        split = [
            *(_batches(np.asarray(leaf), batch_size) for leaf in jax.tree.leaves(examples)),
            _batches(shares, batch_size, filler=0.0),
        ]
        structure = jax.tree.structure(examples)

        one, step, linearized, self._losses = _programs(losses_fn, product)
        if self.traceable:
            stacked = [jnp.asarray(leaf) for leaf in split]

            def product_of_all(vector):
                def body(total, leaves):
                    if sharding is not None:
                        leaves = [
                            jax.lax.with_sharding_constraint(leaf, sharding) for leaf in leaves
                        ]
                    batch = jax.tree.unflatten(structure, leaves[:-1])
                    return jax.tree.map(
                        jnp.add, total, one(params, vector, batch, leaves[-1])
                    ), None

                return jax.lax.scan(body, jax.tree.map(jnp.zeros_like, vector), stacked)[0]

            self._apply: Callable[[Any], Any] = jax.jit(product_of_all)
            self._parts = [
                (jax.tree.unflatten(structure, list(leaves[:-1])), leaves[-1])
                for leaves in zip(*stacked, strict=True)
            ]
        else:
            placed = [[place(leaf) for leaf in leaves] for leaves in zip(*split, strict=True)]
            parts = [(jax.tree.unflatten(structure, leaves[:-1]), leaves[-1]) for leaves in placed]
            kept = []
            if keep_bytes:
                leaves = jax.tree.leaves(jax.eval_shape(linearized, params, *parts[0]))
                each = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
                kept = [
                    linearized(params, batch, share)
                    for batch, share in parts[: keep_bytes // max(each, 1)]
                ]

            # Without `self`: a cycle would hold the kept memory until the next garbage collection.
            def by_batch(vector):
                total = jax.tree.map(jnp.zeros_like, vector)
                for linear in kept:
                    total = _added_linear(total, linear, vector)
                for at, (batch, share) in enumerate(parts[len(kept) :]):
                    total = step(total, params, vector, batch, share)
                    if at % 8 == 7:
                        jax.block_until_ready(
                            total
                        )  # each product called ahead holds its own working memory
                return total

            self._parts = parts
            self._apply = by_batch

    def __call__(self, vector: Any) -> Any:
        """H v, like params."""
        if self._everywhere is None:
            return self._apply(vector)
        # The devices' copies for the product; what goes on with the result stays where the vector
        # was.
        product = self._apply(jax.device_put(vector, self._everywhere))
        return jax.tree.map(
            lambda leaf, like: jax.device_put(leaf, getattr(like, "sharding", None)),
            product,
            vector,
        )

    @property
    def loss(self) -> float:
        return float(sum(self._losses(self._params, batch, share) for batch, share in self._parts))


@lru_cache(maxsize=8)
def _programs(
    losses_fn: Callable[[Any, Any], jax.Array], product: Callable
) -> tuple[Callable, Callable, Callable, Callable]:
    """Product of one batch; the same added to a total, compiled; the batch's product as a linear
    function that holds all that does not depend on the vector, compiled; the batch's loss,
    compiled. Kept, so that operators of one loss on other examples (each class in turn) compile
    nothing anew where the batches have the same shape.
    """

    def mean_loss(params, batch, share):
        return jnp.sum(losses_fn(params, batch) * share)

    def one(params, vector, batch, share):
        return product(lambda at: mean_loss(at, batch, share), params, vector)

    def added(total, params, vector, batch, share):
        return jax.tree.map(jnp.add, total, one(params, vector, batch, share))

    def linearized(params, batch, share):
        return jax.linearize(lambda vector: one(params, vector, batch, share), params)[1]

    return one, jax.jit(added, donate_argnums=0), jax.jit(linearized), jax.jit(mean_loss)


@partial(jax.jit, donate_argnums=0)
def _added_linear(total, linear, vector):
    return jax.tree.map(jnp.add, total, linear(vector))


def _batches(leaf: np.ndarray, size: int, filler: Any = None) -> np.ndarray:
    """[K, size, ...], the end filled with `filler`, or with copies of the first entry."""
    entry = leaf[0] if filler is None else np.asarray(filler, leaf.dtype)
    filling = np.broadcast_to(entry, (-len(leaf) % size, *leaf.shape[1:]))
    return np.concatenate([leaf, filling]).reshape(-1, size, *leaf.shape[1:])

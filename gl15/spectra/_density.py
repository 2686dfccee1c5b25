"""Density of states by stochastic Lanczos quadrature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Key, UInt32

from gl15.spectra._flat import flatten
from gl15.spectra._operator import warn_unless_stationary


class DensityOfStates(eqx.Module):
    r"""Density of states of an operator, with its statistical error.

    Attributes:
        eigenvalues: the grid of $\lambda$.
        density: $\rho(\lambda)$, broadened by a Gaussian of `width`; it integrates
            to 1.
        error: standard error of the density, from the scatter over probes.
        width: standard deviation of the broadening.
        nodes: quadrature nodes of each probe, ascending.
        weights: their weights, which sum to 1 for each probe.
    """

    eigenvalues: Float[Array, " points"]
    density: Float[Array, " points"]
    error: Float[Array, " points"]
    width: Float[Array, ""]
    nodes: Float[Array, "probes steps"]
    weights: Float[Array, "probes steps"]

    def fraction_below(
        self, threshold: Float[Array, ""] | float
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        r"""Fraction of the modes with eigenvalues below a threshold, not broadened.

        Each probe's distribution passes half way up its steps, as the true one does
        on average. The error is the standard error over probes, and added to it the
        bound on the quadrature (Chebyshev-Markov-Stieltjes): the weights of the two
        nodes about the threshold, halved.

        Args:
            threshold: $\lambda$.

        Returns:
            The fraction, and its error.
        """

        def one(nodes, weights):
            reached = jnp.cumsum(weights) - weights / 2
            # Beyond the outermost nodes there is nothing more to count.
            ends = jnp.concatenate([nodes[:1], nodes, nodes[-1:]])
            steps = jnp.concatenate([jnp.zeros(1), reached, jnp.ones(1)])
            fraction = jnp.interp(threshold, ends, steps.astype(nodes.dtype))
            above = jnp.searchsorted(nodes, threshold)
            padded = jnp.pad(weights, 1)
            return fraction, (padded[above] + padded[above + 1]) / 2

        fraction, bound = jax.vmap(one)(self.nodes, self.weights)
        return jnp.mean(fraction), _standard_error(fraction) + jnp.mean(bound)


def density_of_states(
    H: lx.AbstractLinearOperator,
    *,
    key: Key[Array, ""] | UInt32[Array, "2"],
    probes: int = 10,
    steps: int = 80,
    points: int = 512,
    width: float | None = None,
) -> DensityOfStates:
    r"""Density of states of a symmetric operator, without diagonalising it.

    $$
    \rho(\lambda) = \frac{1}{n} \sum_m \delta(\lambda - \lambda_m) \approx \Big\langle
    \sum_k \tau_k\, \delta(\lambda - \theta_k) \Big\rangle_\text{probes}
    $$

    For each random probe of independent signs, Lanczos gives the Gauss quadrature
    $(\theta_k, \tau_k)$ of the probe's spectral measure. Delta peaks are drawn as
    Gaussians. Needs matfree (`pip install gl15[spectra]`).

    Args:
        H: a symmetric operator, from `hessian` for one.
        key: JAX random key of the probes.
        probes: number of probes, at least 2; errors fall as its square root.
        steps: number of products per probe, at most the dimension of H; the spectrum
            is resolved to about its range over this.
        points: number of points of the grid.
        width: standard deviation of the broadening; by default the range of the
            spectrum over `steps`.

    Returns:
        The density of states.

    Raises:
        ValueError: if a number is out of range, or if H is not symmetric and real.
        ImportError: if matfree is not installed.

    Warns:
        NotStationaryWarning: if H is the Hessian at a state that is not stationary.

    Reference:
        S. Ubaru, J. Chen and Y. Saad, SIAM J. Matrix Anal. Appl. 38, 1075 (2017).
    """
    zero, _, _ = flatten(H)
    warn_unless_stationary(H)
    if probes < 2:
        raise ValueError(f"`probes`={probes}: errors need the scatter of at least 2.")
    if not 1 <= steps <= zero.size:
        raise ValueError(
            f"`steps`={steps} must lie between 1 and the dimension {zero.size} of `H`."
        )
    if points < 2:
        raise ValueError(f"`points`={points}: a grid has at least 2.")
    if width is not None and not width > 0:
        raise ValueError(f"`width` must be positive, got {width}.")
    nodes, weights = _quadrature(H, key, probes, steps)
    if not isinstance(nodes, Tracer) and not np.all(np.isfinite(nodes)):
        raise ValueError("`H` is not finite; is the state it was built at?")
    return _drawn(nodes, weights, width, points)


@eqx.filter_jit
def _quadrature(
    H: lx.AbstractLinearOperator,
    key: Key[Array, ""] | UInt32[Array, "2"],
    probes: int,
    steps: int,
) -> tuple[Float[Array, "probes steps"], Float[Array, "probes steps"]]:
    zero, product, _ = flatten(H)
    tridiagonalise = _lanczos(steps)

    def one(key):
        signs = jax.random.rademacher(key, zero.shape, zero.dtype)
        diagonal, off = tridiagonalise(product, signs).J_small
        # Where a probe lies in an invariant subspace the recursion ends with noise, or
        # 0/0. What follows is cut off, and carries no weight.
        size = jax.lax.cummax(jnp.maximum(jnp.abs(diagonal[:-1]), off))
        negligible = 1e3 * jnp.finfo(off.dtype).eps * size
        alive = jnp.cumsum(~(off > negligible)) == 0
        off = jnp.where(alive, off, 0)
        diagonal = diagonal.at[1:].set(jnp.where(alive, diagonal[1:], diagonal[0]))
        matrix = jnp.diag(diagonal) + jnp.diag(off, 1) + jnp.diag(off, -1)
        nodes, vectors = jnp.linalg.eigh(matrix)
        return nodes, vectors[0] ** 2

    # One probe after the other: each holds `steps` vectors.
    return jax.lax.map(one, jax.random.split(key, probes))


def _lanczos(steps: int):
    try:
        from matfree import decomp
    except ImportError as error:
        raise ImportError(
            "the density of states needs matfree; `pip install gl15[spectra]`."
        ) from error
    return decomp.tridiag_sym(steps, materialize=False, custom_vjp=False)


@eqx.filter_jit
def _drawn(
    nodes: Float[Array, "probes steps"],
    weights: Float[Array, "probes steps"],
    width: float | None,
    points: int,
) -> DensityOfStates:
    low, high = jnp.min(nodes), jnp.max(nodes)
    # An operator with one eigenvalue has no range; its size then sets the width.
    reach = jnp.where(high > low, high - low, jnp.maximum(jnp.abs(high), 1.0))
    breadth = reach / nodes.shape[1] if width is None else jnp.asarray(width, low.dtype)
    grid = jnp.linspace(low - 4 * breadth, high + 4 * breadth, points)
    each = jax.vmap(lambda n, w: _broadened(grid, n, w, breadth))(nodes, weights)
    return DensityOfStates(
        grid, jnp.mean(each, 0), _standard_error(each), breadth, nodes, weights
    )


def _broadened(
    grid: Float[Array, " points"],
    nodes: Float[Array, " steps"],
    weights: Float[Array, " steps"],
    width: Float[Array, ""],
) -> Float[Array, " points"]:
    distance = (grid[:, None] - nodes) / width
    peaks = jnp.exp(-(distance**2) / 2) / (width * jnp.sqrt(2 * jnp.pi))
    return jnp.sum(peaks * weights, axis=-1)


def _standard_error(each: Float[Array, "probes *rest"]) -> Float[Array, "*rest"]:
    return jnp.std(each, axis=0, ddof=1) / jnp.sqrt(each.shape[0])

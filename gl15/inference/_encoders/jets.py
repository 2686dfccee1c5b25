r"""Local relations in an image: moments of what stands at a pixel and around it.

The bands of a superconductor obey equations that tie their values to their derivatives
at the same place, with the couplings as coefficients. For amplitudes $u_a =
|\psi_a|$, at constant phase difference $\delta$ and superfluid velocities $Q_a$,

$$
\partial_t u_1 = D_1 (\nabla^2 u_1 - Q_1^2 u_1) + u_1 - u_1^3 + \eta\, u_2 \cos\delta
$$

and the same with 1 and 2 exchanged. What an image does not show, $Q_a$ and
$\partial_t u_a$, goes with what it does show, so that regressions among local fields
($n_a$, $\nabla^2 n_a$, $\nabla u_a \cdot \nabla u_b$, $u_a \nabla^2 u_b$, ...) have
coefficients that depend on the couplings and scatter little from image to image.
Their correlations and partial correlations are such coefficients, normalised.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


_FLOOR = 1e-3  # of densities in logarithms and quotients, where order is 1
_RIDGE = 1e-4  # float32 inverts what is left after this without losing digits


def jet_summary(
    densities: Float[Array, "d nx ny"], vorticities: Float[Array, "v nx ny"]
) -> Float[Array, " size"]:
    """Moments of four families of local fields: see `jet_families`.

    Args:
        densities: non-negative maps.
        vorticities: maps that change sign under reflections, such as curl J, on sites.

    Returns:
        The summary; its length is `jet_size` of the numbers of maps.
    """
    families = jet_families(densities, vorticities)
    return jnp.concatenate([_moments(jnp.stack(fields)) for fields in families])


def to_sites(plaquettes: Float[Array, "v nx ny"]) -> Float[Array, "v nx ny"]:
    """Means over the plaquettes around each site.

    Args:
        plaquettes: maps of which the last row and column belong to no plaquette.

    Returns:
        The maps on sites; at the edges, the plaquettes there are count twice.
    """
    f = jnp.pad(plaquettes[:, :-1, :-1], ((0, 0), (1, 1), (1, 1)), mode="edge")
    f = f[:, 1:] + f[:, :-1]
    return (f[:, :, 1:] + f[:, :, :-1]) / 4


def jet_size(densities: int, vorticities: int) -> int:
    """Length of `jet_summary`.

    Args:
        densities: number of non-negative maps.
        vorticities: number of maps that change sign under reflections.

    Returns:
        The number of entries.
    """
    a, v = np.ones((densities, 6, 6)), np.ones((vorticities, 6, 6))
    families = jet_families(jnp.asarray(a), jnp.asarray(v))
    return sum(k * (k + 2) for k in map(len, families))


def jet_families(
    densities: Float[Array, "d nx ny"], vorticities: Float[Array, "v nx ny"]
) -> tuple[list[Float[Array, "mx my"]], ...]:
    r"""Local fields, two pixels or more from the edge, in four families.

    With densities $n_a = u_a^2$ and vorticities $c$: products such as $n_a n_b$,
    $\nabla u_a \cdot \nabla u_b$, $u_a \nabla^2 u_b$; quotients such as $\log n_a$,
    $\nabla^2 u_a / u_a$, which weigh the vortex cores; linear ones up to
    $\nabla^4 n_a$; and invariants of second derivatives, such as $\det \nabla\nabla
    n_a$. Derivatives are central differences over pixels.

    Args:
        densities: non-negative maps.
        vorticities: maps that change sign under reflections.

    Returns:
        The fields of each family.
    """
    n = [jnp.maximum(one, 0) for one in densities]
    u = [jnp.sqrt(one + _FLOOR**2) for one in n]
    swirl = [_inner(jnp.abs(one)) for one in vorticities]
    gradients = [_gradient(one) for one in u]
    count = range(len(n))
    pairs = list(itertools.combinations_with_replacement(count, 2))
    others = list(itertools.permutations(count, 2))

    laplacians = [_laplacian(one) for one in n]
    dots = [_dot(gradients[a], gradients[b]) for a, b in pairs]
    bends = [_laplacian(one) for one in u]
    core_n, core_u = [_inner(one) for one in n], [_inner(one) for one in u]
    core_laplacians, core_dots, core_bends = (
        [one[1:-1, 1:-1] for one in fields] for fields in (laplacians, dots, bends)
    )

    products = [
        *core_n,
        *swirl,
        *core_laplacians,
        *core_dots,
        *(core_u[a] * core_u[b] for a, b in itertools.combinations(count, 2)),
        *(core_u[a] * core_bends[b] for a, b in others),
        *(core_n[a] * core_n[b] for a, b in pairs),
        *(one * other for one in swirl for other in core_n),
    ]
    total = sum(core_n) + 10 * _FLOOR
    quotients = [
        *core_n,
        *(jnp.log(one + _FLOOR) for one in core_n),
        # The hyperbolic tangent keeps the points of a core from outweighing the rest.
        *(
            jnp.tanh(b / (one + 0.02))
            for b, one in zip(core_bends, core_u, strict=True)
        ),
        *(
            one / (core_u[a] * core_u[b] + 10 * _FLOOR)
            for one, (a, b) in zip(core_dots, pairs, strict=True)
        ),
        *(jnp.tanh(one / total) for one in swirl),
        *(
            (core_n[a] - core_n[b]) / (core_u[a] * core_u[b] + _FLOOR)
            for a, b in itertools.combinations(count, 2)
        ),
    ]
    linear = [
        *core_n,
        *swirl,
        *core_laplacians,
        *core_dots,
        *(_laplacian(one) for one in laplacians),
        *(_laplacian(one) for one in dots),
    ]
    return products, quotients, linear, _curvatures(n, vorticities)


def _curvatures(n: list[Array], vorticities: Array) -> list[Float[Array, "mx my"]]:
    """Invariants of first and second derivatives, whole as they stand in an image."""
    count = range(len(n))
    pairs = list(itertools.combinations_with_replacement(count, 2))
    swirl = [_inner(one) for one in vorticities]
    slopes = [tuple(g[1:-1, 1:-1] for g in _gradient(one)) for one in n]
    swirl_slopes = [tuple(g[1:-1, 1:-1] for g in _gradient(one)) for one in vorticities]
    hessians = [tuple(g[1:-1, 1:-1] for g in _hessian(one)) for one in n]
    return [
        *(_inner(one) for one in n),
        *(one**2 for one in swirl),
        *(h[0] + h[1] for h in hessians),
        *(h[0] * h[1] - h[2] ** 2 for h in hessians),
        *(_contract(hessians[a], hessians[b]) for a, b in pairs),
        *(_dot(slopes[a], slopes[b]) for a, b in pairs),
        *(
            h[0] * g[0] ** 2 + h[1] * g[1] ** 2 + 2 * h[2] * g[0] * g[1]
            for h in hessians
            for g in slopes
        ),
        *(
            one * (slopes[a][0] * slopes[b][1] - slopes[a][1] * slopes[b][0])
            for one in swirl
            for a, b in itertools.combinations(count, 2)
        ),
        *(_dot(g, g) for g in swirl_slopes),
        *(
            jnp.sign(one) * _dot(g, slope)
            for one, g in zip(swirl, swirl_slopes, strict=True)
            for slope in slopes
        ),
    ]


def _moments(fields: Float[Array, "k mx my"]) -> Float[Array, " size"]:
    """Means, spreads, correlations, partial correlations, unexplained variances."""
    k = len(fields)
    flat = fields.reshape(k, -1)
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    std = jnp.sqrt((centred**2).mean(1)) + 1e-9
    centred = centred / std[:, None]
    correlation = centred @ centred.T / flat.shape[1]
    precision = _inverse(correlation + _RIDGE * jnp.eye(k, dtype=flat.dtype))
    diagonal = jnp.sqrt(jnp.maximum(jnp.diagonal(precision), _FLOOR))
    partial = precision / (diagonal[:, None] * diagonal)
    upper = np.triu_indices(k, 1)
    return jnp.concatenate(
        [
            jnp.sign(mean) * jnp.log1p(30 * jnp.abs(mean)),
            jnp.log(std),
            _fisher(correlation[upper]),
            _fisher(partial[upper]),
            jnp.log(diagonal),
        ]
    )


def _inverse(a: Float[Array, "k k"]) -> Float[Array, "k k"]:
    """Inverse of a positive definite matrix, swept column by column in place.

    `jnp.linalg.inv` of a batch may hang on a CPU of few cores: its threads wait inside
    LAPACK for a share of the work that only they could do.
    """

    def sweep(i, a: Array) -> Array:
        column, pivot = a[:, i], a[i, i]
        swept = a - jnp.outer(column, column) / pivot
        swept = swept.at[:, i].set(column / pivot).at[i].set(column / pivot)
        return swept.at[i, i].set(-1 / pivot)

    return -jax.lax.fori_loop(0, len(a), sweep, a)


def _fisher(r: Float[Array, " m"]) -> Float[Array, " m"]:
    """Fisher's z: of about equal scatter whatever the correlation."""
    return jnp.arctanh(jnp.clip(r, -0.9999, 0.9999))


def _inner(f: Float[Array, "nx ny"]) -> Float[Array, "mx my"]:
    return f[2:-2, 2:-2]


def _laplacian(f: Float[Array, "nx ny"]) -> Float[Array, "mx my"]:
    x = f[2:, 1:-1] + f[:-2, 1:-1]
    return x + f[1:-1, 2:] + f[1:-1, :-2] - 4 * f[1:-1, 1:-1]


def _gradient(f: Float[Array, "nx ny"]) -> tuple[Array, Array]:
    return (f[2:, 1:-1] - f[:-2, 1:-1]) / 2, (f[1:-1, 2:] - f[1:-1, :-2]) / 2


def _hessian(f: Float[Array, "nx ny"]) -> tuple[Array, Array, Array]:
    across = (f[2:, 2:] + f[:-2, :-2] - f[2:, :-2] - f[:-2, 2:]) / 4
    x = f[2:, 1:-1] + f[:-2, 1:-1] - 2 * f[1:-1, 1:-1]
    return x, f[1:-1, 2:] + f[1:-1, :-2] - 2 * f[1:-1, 1:-1], across


def _contract(a: tuple[Array, ...], b: tuple[Array, ...]) -> Float[Array, "mx my"]:
    return a[0] * b[0] + a[1] * b[1] + 2 * a[2] * b[2]


def _dot(a: tuple[Array, ...], b: tuple[Array, ...]) -> Float[Array, "mx my"]:
    return a[0] * b[0] + a[1] * b[1]

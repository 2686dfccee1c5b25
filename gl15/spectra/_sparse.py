r"""The Hessian as a sparse matrix, its factors, and what they count.

On a lattice $H - \sigma$ has few enough neighbours to be factorised: with nested
dissection, 262,144 degrees of freedom take seconds. The factors give the modes next
to $\sigma$, and the signs of their pivots how many modes lie below it (Sylvester).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Complex, Float, Int
from scipy.sparse.linalg import splu

from gl15.physics import TDGL


def sparse_hessian(tdgl: TDGL, psi: Complex[np.ndarray, "2 nx ny"]) -> sp.csr_array:
    r"""The Hessian per cell on raveled coordinates `[2, 2, nx, ny]`.

    $-2 K \otimes \Delta_A$, and at every site the second derivatives of the rest.

    Args:
        tdgl: the sample.
        psi: the state.

    Returns:
        The matrix, in double precision.
    """
    material = tdgl.material
    laplacian = _laplacian(tdgl)
    # A complex number as a real 2 x 2 matrix.
    parts = sp.kron(np.eye(2), laplacian.real) + sp.kron(
        np.array([[0.0, -1.0], [1.0, 0.0]]), laplacian.imag
    )
    d1, d2, nu = (float(np.asarray(k)) for k in (*material.diffusion, material.drag))
    stiffness = np.array([[d1, nu], [nu, d2]])
    local = [[sp.diags_array(c) for c in row] for row in _local(tdgl, psi)]
    matrix = sp.csr_array(sp.block_array(local) - 2 * sp.kron(stiffness, parts))
    matrix.eliminate_zeros()
    return matrix


def lowest_local(tdgl: TDGL, psi: Complex[np.ndarray, "2 nx ny"]) -> float:
    r"""A number that no eigenvalue lies below: $-K \otimes \Delta_A$ is positive.

    Args:
        tdgl: the sample.
        psi: the state.

    Returns:
        The lowest eigenvalue of the second derivatives without the stiffness.
    """
    return float(np.linalg.eigvalsh(np.moveaxis(_local(tdgl, psi), -1, 0)).min())


def _local(tdgl: TDGL, psi) -> Float[np.ndarray, "4 4 sites"]:
    material, sites = tdgl.material, psi[0].size

    def at_sites(coupling) -> Float[np.ndarray, " sites"]:
        return np.broadcast_to(np.asarray(coupling, float), psi.shape[1:]).ravel()

    local = np.zeros((4, 4, sites))
    for band in (0, 1):
        alpha, beta = at_sites(material.alpha[band]), at_sites(material.beta[band])
        u = np.stack([psi[band].real, psi[band].imag]).reshape(2, sites).astype(float)
        own = slice(2 * band, 2 * band + 2)
        local[own, own] = 4 * beta * u[:, None] * u
        for i in (2 * band, 2 * band + 1):
            local[i, i] += 2 * alpha + 2 * beta * np.sum(u**2, 0)
            local[i, (i + 2) % 4] = -2 * at_sites(material.josephson)
    return local


def _laplacian(tdgl: TDGL) -> sp.csr_array:
    shape = tdgl.lattice.shape
    site = np.arange(shape[0] * shape[1]).reshape(shape)
    # The links, and zeros where there are none.
    links = _links(tdgl)
    hops = sp.csr_array((site.size, site.size), dtype=complex)
    for axis, link in enumerate(links):
        u = np.asarray(link[0]).ravel()
        to = np.roll(site, -1, axis).ravel()
        hops += sp.csr_array((u, (site.ravel(), to)), hops.shape)
    hops = hops + hops.conj().T
    degree = sp.diags_array(np.asarray(abs(hops).sum(1)).ravel().round())
    return sp.csr_array((hops - degree) / tdgl.lattice.spacing**2)


# Compiled as a whole: op by op, this would take longer than all the rest.
@eqx.filter_jit
def _links(tdgl: TDGL) -> tuple[Complex[Array, "2 nx ny"], Complex[Array, "2 nx ny"]]:
    return tdgl.forward_hops(jnp.ones((2, *tdgl.lattice.shape), complex))


class Factors:
    """Triangular factors of a shifted symmetric matrix on a lattice."""

    def __init__(
        self, matrix: sp.csr_array, shift: float, order: Int[np.ndarray, " dof"]
    ):
        """Factorise.

        Args:
            matrix: a symmetric matrix.
            shift: what is taken off its diagonal.
            order: in which order to eliminate, from `elimination_order`.
        """
        self.order = order
        eye = sp.eye_array(len(order), format="csr")
        self.matrix = (matrix - shift * eye)[order][:, order].tocsc()
        # Pivots stay on the diagonal: only then do their signs count, and only then
        # do the factors stay sparse. `accurate` tells whether that went well.
        self.lu = splu(
            self.matrix,
            permc_spec="NATURAL",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def solve(self, vector: Float[np.ndarray, " dof"]) -> Float[np.ndarray, " dof"]:
        r"""The solution of $(A - \sigma) x = b$."""
        solution = np.empty_like(vector, dtype=float)
        solution[self.order] = self.lu.solve(np.asarray(vector, float)[self.order])
        return solution

    def accurate(self) -> bool:
        """Whether the factors are those of the matrix, symmetric and to round-off."""
        b = np.random.default_rng(0).normal(size=len(self.order))
        x = self.lu.solve(b)
        error = np.linalg.norm(self.matrix @ x - b)
        size = np.linalg.norm(b) + abs(self.matrix).max() * np.linalg.norm(x)
        return bool(
            np.array_equal(self.lu.perm_r, self.lu.perm_c) and error <= 1e-9 * size
        )

    def negative(self) -> int:
        """Number of negative eigenvalues, by Sylvester's law of inertia."""
        return int(np.sum(self.lu.U.diagonal() < 0))


def elimination_order(tdgl: TDGL) -> Int[np.ndarray, " dof"]:
    """Nested dissection: halves first, then the line of sites between them.

    Args:
        tdgl: the sample.

    Returns:
        The permutation of the raveled coordinates.
    """
    nx, ny = tdgl.lattice.shape
    site = np.arange(nx * ny).reshape(nx, ny)
    if tdgl.lattice.is_open:
        order = _dissected(site)
    else:
        # One row and one column less is an open sample.
        seam = np.concatenate([site[:-1, -1], site[-1]])
        order = np.concatenate([_dissected(site[:-1, :-1]), seam])
    return (order[:, None] + nx * ny * np.arange(4)).ravel()


def _dissected(site: Int[np.ndarray, "nx ny"]) -> Int[np.ndarray, " sites"]:
    if max(site.shape) < 4:
        return site.ravel()
    if site.shape[0] < site.shape[1]:
        site = site.T
    middle = site.shape[0] // 2
    halves = _dissected(site[:middle]), _dissected(site[middle + 1 :])
    return np.concatenate([*halves, site[middle]])

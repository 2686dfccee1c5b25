"""The Hessian as a lineax operator that knows where it was taken."""

import warnings

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import scipy.sparse
from jax.core import Tracer
from jaxtyping import Array, Complex, Float

from gl15.physics import TDGL
from gl15.spectra._sparse import sparse_hessian


class NotStationaryWarning(UserWarning):
    """A spectrum was asked of a state at which the force does not vanish."""


class Hessian(lx.AbstractLinearOperator):
    r"""Second derivatives of the energy per cell at a state; `hessian` makes it.

    A symmetric lineax operator on arrays `[2, 2, nx, ny]`, axes (band, real or
    imaginary part, x, y).

    Attributes:
        tdgl: the sample.
        psi: the state about which the energy is expanded.
        product: the same operator without what is known about it; what acts.
        gradient_norm: the largest $|\delta F_K / \delta \psi_i^*| = |\partial_t
            \psi_i|$ at the state; zero where it is stationary.
    """

    tdgl: TDGL
    psi: Complex[Array, "2 nx ny"]
    product: lx.FunctionLinearOperator
    gradient_norm: Float[Array, ""]

    def mv(self, vector: Float[Array, "2 2 nx ny"]) -> Float[Array, "2 2 nx ny"]:
        """The product with a vector, for about the price of a step of the dynamics.

        Args:
            vector: real coordinates of a deformation, see `to_real`.

        Returns:
            The product.
        """
        return self.product.mv(vector)

    def as_matrix(self) -> Float[Array, "dof dof"]:
        """The whole matrix, for small samples.

        Returns:
            The matrix on raveled coordinates.
        """
        return self.product.as_matrix()

    def as_sparse(self) -> scipy.sparse.csr_array:
        """The whole matrix without its zeros, on the host: about ten entries a row.

        Returns:
            The matrix on raveled coordinates.

        Raises:
            ValueError: under a transformation, where nothing has values.
        """
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(self)):
            raise ValueError(
                "`H` is traced, and a sparse matrix is made on the host; call this "
                "outside of `jax.jit` and `jax.vmap`."
            )
        return sparse_hessian(self.tdgl, np.asarray(self.psi))

    def transpose(self) -> "Hessian":
        """Itself.

        Returns:
            The operator.
        """
        return self

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """Shape and type of the coordinates.

        Returns:
            The structure.
        """
        return self.product.in_structure()

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """Shape and type of a product.

        Returns:
            The structure.
        """
        return self.product.out_structure()

    def is_stationary(self, tolerance: float | None = None) -> bool:
        r"""Whether the force vanishes at the state.

        Args:
            tolerance: largest gradient norm that counts as zero; by default 1e-6 in
                float64 and 1e-3 in float32.

        Returns:
            True or false.
        """
        if tolerance is None:
            tolerance = 1e-6 if self.psi.dtype == jnp.complex128 else 1e-3
        return bool(self.gradient_norm <= tolerance)

    def check_stationary(self, tolerance: float | None = None) -> None:
        """Refuse to call directions soft where the energy has a slope.

        Args:
            tolerance: as in `is_stationary`.

        Raises:
            ValueError: if the state is not stationary, with its gradient norm.
        """
        if not self.is_stationary(tolerance):
            raise ValueError(
                f"the state is not stationary: its gradient norm max|dF/dpsi*| is "
                f"{float(self.gradient_norm):.3g}. Curvatures along a slope are not "
                "modes, and negative ones are not soft modes; take `H` at "
                "`gl15.spectra.relax(tdgl, psi)`."
            )


def warn_unless_stationary(H: lx.AbstractLinearOperator) -> None:
    """Say so where a spectrum is asked of a state that is not stationary.

    Args:
        H: any operator; only a `Hessian` knows its state.
    """
    if not isinstance(H, Hessian) or isinstance(H.gradient_norm, Tracer):
        return
    try:
        H.check_stationary()
    except ValueError as error:
        warnings.warn(str(error), NotStationaryWarning, stacklevel=3)


def _answer_as_wrapped(question) -> None:
    question.register(Hessian)(lambda operator: question(operator.product))


# lineax asks these of every operator; the one wrapped has the answers.
for _question in (
    lx.conj,
    lx.diagonal,
    lx.has_unit_diagonal,
    lx.is_diagonal,
    lx.is_lower_triangular,
    lx.is_negative_semidefinite,
    lx.is_positive_semidefinite,
    lx.is_symmetric,
    lx.is_tridiagonal,
    lx.is_upper_triangular,
    lx.materialise,
    lx.tridiagonal,
):
    _answer_as_wrapped(_question)


@lx.linearise.register(Hessian)
def _(operator):
    return operator

"""What kind of motion a mode is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int

from gl15.physics import Lattice, TDGL
from gl15.spectra._hessian import to_complex
from gl15.spectra._modes import Modes
from gl15.spectra._operator import Hessian
from gl15.spectra._symmetry import covariant_gradient, symmetries


#: The kinds of motion that the squared norm of a mode is divided between.
KINDS = ("vortex", "amplitude", "phase", "Leggett")


class ModeCharacter(eqx.Module):
    r"""What modes do, mode by mode.

    Attributes:
        names: the symmetry that makes the mode (`Symmetries.names`) where more than
            half of it is such; else the largest of its four shares.
        zero: whether the mode is a zero mode.
        vortex: share of the squared norm that moves vortices as they are.
        amplitude: share of the rest that changes $|\psi_i|$.
        phase: share of the rest that turns both phases together.
        leggett: share of the rest that turns them against each other; the four shares
            sum to 1.
        participation: participation ratio, the fraction of the sample that moves:
            $(\sum_r p_r)^2 / (n \sum_r p_r^2)$ with $p_r$ the squared norm at site r.
        displacements: how far the mode, at norm 1, moves each vortex; axes (mode, band,
            slot, direction), NaN in slots that hold none.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    zero: Bool[Array, " k"]
    vortex: Float[Array, " k"]
    amplitude: Float[Array, " k"]
    phase: Float[Array, " k"]
    leggett: Float[Array, " k"]
    participation: Float[Array, " k"]
    displacements: Float[Array, "k 2 slots 2"]


def classify_modes(
    H: Hessian,
    modes: Modes,
    positions: Float[Array | np.ndarray, "2 slots 2"] | None = None,
    *,
    zero: float = 1e-6,
) -> ModeCharacter:
    r"""Name the modes of a stationary state by what they do.

    A mode is first projected on rigid displacements of vortices: $w_v(r)\, D_\mu
    \psi_i(r)$, with $w_v = 1$ at the sites that are closer to vortex v of band i than
    to any other (its Wigner-Seitz cell) and 0 elsewhere, one for each vortex, band and
    direction. What is left is divided, site by site, into changes of $|\psi_i|$,
    common turns of the two phases, and turns of one against the other (Leggett).

    Args:
        H: from `hessian`, at a stationary state.
        modes: its modes, from `lowest_modes`.
        positions: of the vortices of each band, NaN in empty slots:
            `gl15.observables.vortices(tdgl, psi).positions`. Without them no share is
            counted as vortex motion.
        zero: largest $|\lambda|$ of a zero mode.

    Returns:
        Names, shares, participation ratios and vortex displacements.

    Raises:
        ValueError: if the state is not stationary, with its gradient norm, or if the
            modes have another shape. Modes of another sample of the same shape are
            not told apart.
    """
    H.check_stationary()
    structure = H.in_structure()
    if modes.eigenvectors.shape[1:] != structure.shape:
        raise ValueError(
            f"`modes` have shape {modes.eigenvectors.shape[1:]}, but `H` acts on "
            f"{structure.shape}; pass `lowest_modes(H)` of this `H`."
        )
    if positions is None:
        positions = np.full((2, 1, 2), np.nan)
    cells = _cells(H.tdgl.lattice, np.asarray(positions))
    shares, participation, displacements = _analysed(
        H.tdgl, H.psi, modes.eigenvectors, jnp.asarray(cells), positions.shape[1]
    )
    displacements = jnp.where(jnp.isnan(positions), jnp.nan, displacements)
    return ModeCharacter(
        _names(H, modes, np.asarray(shares)),
        jnp.abs(modes.eigenvalues) <= zero,
        vortex=shares[:, 0],
        amplitude=shares[:, 1],
        phase=shares[:, 2],
        leggett=shares[:, 3],
        participation=participation,
        displacements=displacements,
    )


def _cells(
    lattice: Lattice, positions: Float[np.ndarray, "2 slots 2"]
) -> Int[np.ndarray, "2 nx ny"]:
    """The slot of the nearest vortex of each band; -1 where the band has none."""
    sites = np.moveaxis(np.indices(lattice.shape), 0, -1)
    nearest = np.full((2, *lattice.shape), -1)
    for band in (0, 1):
        closest = np.full(lattice.shape, np.inf)
        for slot in np.flatnonzero(~np.isnan(positions[band, :, 0])):
            away = sites - positions[band, slot] / lattice.spacing
            if not lattice.is_open:
                away -= lattice.shape * np.round(away / lattice.shape)
            distance = np.hypot(away[..., 0], away[..., 1])
            nearest[band] = np.where(distance < closest, slot, nearest[band])
            closest = np.minimum(closest, distance)
    return nearest


@eqx.filter_jit
def _analysed(
    tdgl: TDGL,
    psi: Complex[Array, "2 nx ny"],
    vectors: Float[Array, "k 2 2 nx ny"],
    cells: Int[Array, "2 nx ny"],
    slots: int,
) -> tuple[Float[Array, "k 4"], Float[Array, " k"], Float[Array, "k 2 slots 2"]]:
    gradient = jnp.moveaxis(covariant_gradient(tdgl, psi), 0, -1)
    modulus = jnp.abs(psi)
    direction = jnp.where(modulus > 0, psi / jnp.where(modulus > 0, modulus, 1), 1)
    total = jnp.sqrt(jnp.sum(modulus**2, 0))
    inside = (cells >= 0)[..., None]

    def per_cell(values):
        """Sums over each vortex's sites, band by band."""
        flat = jnp.where(inside[..., None], values, 0).reshape(2, -1, *values.shape[3:])
        index = jnp.maximum(cells, 0).reshape(2, -1)
        return jax.vmap(lambda v, i: jax.ops.segment_sum(v, i, slots))(flat, index)

    outer = jnp.real(gradient[..., :, None].conj() * gradient[..., None, :])
    gram = per_cell(outer)
    empty = jnp.trace(gram, axis1=-2, axis2=-1) == 0
    gram = jnp.where(empty[..., None, None], jnp.eye(2), gram)

    def one(vector: Float[Array, "2 2 nx ny"]):
        change = to_complex(vector)
        overlap = per_cell(jnp.real(gradient.conj() * change[..., None])[..., None])
        # A vortex moved by d changes psi by -d . D psi.
        shift = -jnp.linalg.solve(gram, overlap)[..., 0]
        at_sites = jax.vmap(lambda s, c: s[jnp.maximum(c, 0)])(shift, cells)
        moved = -jnp.sum(jnp.where(inside, at_sites, 0) * gradient, -1)
        rest = (change - moved) * direction.conj()
        common = jnp.sum(modulus * rest.imag, 0) / jnp.where(total > 0, total, 1)
        shares = jnp.stack(
            [
                jnp.sum(jnp.abs(moved) ** 2),
                jnp.sum(rest.real**2),
                jnp.sum(common**2),
                jnp.sum(rest.imag**2) - jnp.sum(common**2),
            ]
        )
        p = jnp.sum(jnp.abs(change) ** 2, 0)
        participation = jnp.sum(p) ** 2 / (p.size * jnp.sum(p**2))
        return shares / jnp.sum(p), participation, shift

    return jax.lax.map(one, vectors)


def _names(
    H: Hessian, modes: Modes, shares: Float[np.ndarray, "k 4"]
) -> tuple[str, ...]:
    known = symmetries(H)
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(known.names):
        # The two translations mix freely.
        groups.setdefault(name.split(" x")[0].split(" y")[0], []).append(index)
    flat = np.asarray(known.deformations).reshape(len(known.names), -1)
    vectors = np.asarray(modes.eigenvectors).reshape(len(shares), -1)
    overlaps = []
    for members in groups.values():
        basis, _ = np.linalg.qr(flat[members].T)
        overlaps.append(np.sum((vectors @ basis) ** 2, axis=1))
    # Zero modes come in any mixture: the sum decides whether it is a symmetry, and
    # the largest which.
    symmetric = np.sum(overlaps, axis=0) > 0.5
    named = np.array(list(groups))[np.argmax(overlaps, axis=0)]
    kinds = np.array(KINDS)[np.argmax(shares, axis=1)]
    return tuple(np.where(symmetric, named, kinds).tolist())

"""Matching of the two bands: composite and fractional vortices."""

import equinox as eqx
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Shaped

from gl15.observables._assignment import assign
from gl15.observables._points import Box, safe_norm
from gl15.observables._vortices import Vortices


class BandMatching(eqx.Module):
    """Which vortex of band 2 belongs to which of band 1.

    Attributes:
        partner: slot in band 2 of the partner of each slot of band 1, -1 where there
            is none.
        displacement: from the core in band 1 to its partner's, NaN where there is none.
        composite: which vortices of each band have a partner: both phases wind there.
        fractional: which have none: only one phase winds, and the vortex carries a
            fraction of a flux quantum.
        charges: winding of each vortex of band 1, 0 in the slots left out.
        centres: midway between the cores of a composite vortex, NaN elsewhere.
    """

    partner: Int[Array, " slots"]
    displacement: Float[Array, "slots 2"]
    composite: Bool[Array, "2 slots"]
    fractional: Bool[Array, "2 slots"]
    charges: Int[Array, " slots"]
    centres: Float[Array, "slots 2"]

    @property
    def separation(self) -> Float[Array, "*frames slots"]:
        """Distance between the two cores of each composite vortex, NaN elsewhere."""
        matched = self.composite[..., 0, :]
        steps = jnp.where(matched[..., None], self.displacement, 0)
        return jnp.where(matched, safe_norm(steps), jnp.nan)

    @property
    def mean_separation(self) -> Float[Array, "*frames"]:
        """Mean distance between the cores of composite vortices; NaN without any."""
        return jnp.nanmean(self.separation, axis=-1)

    @property
    def composite_count(self) -> Int[Array, "*frames"]:
        """Number of composite vortices."""
        return jnp.sum(self.composite[..., 0, :], axis=-1)

    @property
    def fractional_counts(self) -> Int[Array, "*frames 2"]:
        """Number of fractional vortices of each band."""
        return jnp.sum(self.fractional, axis=-1)


def match_bands(
    vortices: Vortices, max_distance: Float[Array, ""] | float | None = None
) -> BandMatching:
    r"""Match the vortices of the two bands one to one.

    The pairs minimise $\sum_i \min(d_i^2, R^2)$, an optimal assignment, with the
    minimum-image distance on a torus. A pair has equal charges and is no further apart
    than R; what is left over is fractional. Works in compiled code and under
    `jax.vmap`; separations differentiate, the choice of pairs does not.

    Args:
        vortices: the vortices of one state.
        max_distance: R, the largest separation of the cores of a composite vortex. By
            default half the mean spacing $\tfrac12 \sqrt{A/N}$ of the vortices in the
            band with more of them: further out it is unclear who belongs to whom. For
            a physical criterion give the size of the larger core.

    Returns:
        The matching.

    Raises:
        ValueError: if `max_distance` is not positive.
    """
    if max_distance is None:
        most = jnp.maximum(jnp.max(vortices.counts), 1)
        max_distance = 0.5 * jnp.sqrt(vortices.box.area / most)
    elif not isinstance(max_distance, Tracer) and not max_distance > 0:
        raise ValueError(
            f"`max_distance` must be a positive length, got {max_distance}."
        )
    return _match(vortices, jnp.asarray(max_distance))


@eqx.filter_jit
def _match(vortices: Vortices, limit: Shaped[Array, ""]) -> BandMatching:
    first, second = vortices.points(0), vortices.points(1)
    distances = vortices.box.distances(first.filled, second.filled)
    same = vortices.charges[0][:, None] == vortices.charges[1]
    allowed = first.mask[:, None] & second.mask & same
    partner = assign(distances, allowed, limit)
    slots = partner.shape[0]
    matched = partner >= 0
    # A slot beyond the last receives those without a partner.
    taken = jnp.zeros(slots + 1, bool).at[jnp.where(matched, partner, slots)].set(True)
    composite = jnp.stack([matched, taken[:slots]])
    others = second.filled[jnp.maximum(partner, 0)]
    displacement, centres = _between(vortices.box, first.filled, others, matched)
    return BandMatching(
        partner=partner,
        displacement=displacement,
        composite=composite,
        fractional=vortices.mask & ~composite,
        charges=vortices.charges[0],
        centres=centres,
    )


def _between(
    box: Box,
    start: Float[Array, "slots 2"],
    end: Float[Array, "slots 2"],
    valid: Bool[Array, " slots"],
) -> tuple[Float[Array, "slots 2"], Float[Array, "slots 2"]]:
    steps = box.displacements(start, end)
    middle = box.wrap(start + steps / 2)
    return (
        jnp.where(valid[:, None], steps, jnp.nan),
        jnp.where(valid[:, None], middle, jnp.nan),
    )

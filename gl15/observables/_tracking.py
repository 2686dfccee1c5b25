"""Tracking: the same vortex at successive times, and where vortices come and go."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from gl15.observables._assignment import assign
from gl15.observables._vortices import Vortices


class Tracks(eqx.Module):
    """Vortices followed through time, frame by frame, in arrays of fixed size.

    Attributes:
        times: time of each frame.
        vortices: the vortices, with a leading axis of frames.
        identity: number of the track each slot belongs to, counted per band; -1 in the
            slots left out.
        displacement: from a vortex to where it is in the next frame, NaN where it is
            gone by then; the shortest way on a torus.
        born: which vortices were not there in the frame before.
        lost: which are not there in the frame after.
        born_with: slot, in the same frame and band, of the antivortex (or vortex) that
            was created together with it; -1 where there is none, as for a vortex that
            entered through an edge.
        lost_with: slot of the one that it annihilates with; -1 where there is none, as
            for a vortex that leaves through an edge.
    """

    times: Float[Array, " frames"]
    vortices: Vortices
    identity: Int[Array, "frames 2 slots"]
    displacement: Float[Array, "intervals 2 slots 2"]
    born: Bool[Array, "frames 2 slots"]
    lost: Bool[Array, "frames 2 slots"]
    born_with: Int[Array, "frames 2 slots"]
    lost_with: Int[Array, "frames 2 slots"]

    @property
    def counts(self) -> Int[Array, "2"]:
        """Number of tracks of each band."""
        return jnp.max(self.identity, axis=(0, 2)) + 1

    @property
    def velocity(self) -> Float[Array, "intervals 2 slots 2"]:
        """Mean velocity until the next frame, NaN where a vortex is gone by then."""
        return self.displacement / jnp.diff(self.times)[:, None, None, None]

    @property
    def created(self) -> Int[Array, "frames 2"]:
        """Number of vortex-antivortex pairs created since the frame before."""
        return jnp.sum(self.born_with >= 0, axis=-1) // 2

    @property
    def annihilated(self) -> Int[Array, "frames 2"]:
        """Number of pairs that annihilate until the frame after."""
        return jnp.sum(self.lost_with >= 0, axis=-1) // 2

    def trajectory(
        self, band: int, identity: int
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
        """Where one vortex was, and when; outside compiled code.

        Args:
            band: 0 or 1.
            identity: number of the track.

        Returns:
            The times, and the positions then. On a torus they run on across its seam.

        Raises:
            ValueError: if there is no such track.
        """
        frames, slots = np.nonzero(np.asarray(self.identity[:, band]) == identity)
        if identity < 0 or len(frames) == 0:
            raise ValueError(
                f"`identity`={identity} is no track of band {band}, which has "
                f"{int(self.counts[band])}, numbered from 0."
            )
        start = np.asarray(self.vortices.positions)[frames[0], band, slots[0]]
        steps = np.asarray(self.displacement)[frames[:-1], band, slots[:-1]]
        path = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
        return np.asarray(self.times)[frames], path


def track(
    vortices: Vortices,
    times: Sequence[float] | Float[Array | np.ndarray, " frames"] | None = None,
    *,
    max_step: Float[Array, ""] | float | None = None,
    pair_distance: Float[Array, ""] | float | None = None,
) -> Tracks:
    r"""Follow the vortices of both bands through successive frames.

    From each frame to the next, an optimal assignment minimises $\sum_i
    \min(d_i^2, R^2)$ over vortices of equal band and charge, with the minimum-image
    distance on a torus. A winding cannot be overlooked, so no gaps are bridged: who
    has no partner was created or is gone. Of those, opposite charges close to each
    other in one frame are paired the same way: creation and annihilation. Works in
    compiled code; displacements differentiate, the choice of partners does not.

    Args:
        vortices: the vortices of every frame, with a leading axis of frames:
            `jax.vmap(lambda psi: vortices(tdgl, psi, max_vortices))(solution.ys)`.
        times: time of each frame; by default their numbers.
        max_step: R, the longest way from frame to frame. By default half the mean
            spacing $\tfrac12\sqrt{A/N}$ in the more crowded of the two. Where vortices
            move further than that, save frames more often.
        pair_distance: the largest distance of two that come or go together; by default
            twice `max_step`, the way that both can have made.

    Returns:
        The tracks.

    Raises:
        ValueError: if there is no axis of frames, or `times` or a length is not right.
    """
    if vortices.mask.ndim != 3:
        raise ValueError(
            "`vortices` must have a leading axis of frames, got arrays of shape "
            f"{vortices.mask.shape}; map `vortices` over the states with `jax.vmap`."
        )
    frames = vortices.mask.shape[0]
    when = jnp.arange(frames, dtype=float) if times is None else jnp.asarray(times)
    if when.shape != (frames,):
        raise ValueError(
            f"`times` must be one for each of {frames} frames, got shape {when.shape}."
        )
    if not isinstance(when, Tracer) and not np.all(np.diff(when) > 0):
        raise ValueError(f"`times` must rise, got {times}; sort the frames by them.")
    for name, value in (("max_step", max_step), ("pair_distance", pair_distance)):
        if value is None or isinstance(value, Tracer):
            continue
        if not value > 0:
            raise ValueError(f"`{name}` must be a positive length, got {value}.")
    if max_step is None:
        most = jnp.max(jnp.sum(vortices.mask, axis=-1), axis=-1)
        crowded = jnp.maximum(jnp.maximum(most[1:], most[:-1]), 1)
        steps = 0.5 * jnp.sqrt(vortices.box.area / crowded)
    else:
        steps = jnp.broadcast_to(jnp.asarray(max_step, float), (frames - 1,))
    if pair_distance is None:
        reach = 2 * steps
    else:
        reach = jnp.broadcast_to(jnp.asarray(pair_distance, float), (frames - 1,))
    return _track(vortices, when.astype(float), steps, reach)


@eqx.filter_jit
def _track(
    vortices: Vortices,
    times: Float[Array, " frames"],
    steps: Float[Array, " intervals"],
    reach: Float[Array, " intervals"],
) -> Tracks:
    box, mask, charges = vortices.box, vortices.mask, vortices.charges
    where = jnp.where(mask[..., None], vortices.positions, 0)

    def link(start, end, limit):
        (x, q, m), (y, p, n) = start, end
        allowed = m[:, None] & n & (q[:, None] == p)
        return assign(box.distances(x, y), allowed, limit)

    def pair(x, q, some, limit):
        allowed = (some & (q > 0))[:, None] & some & (q < 0)
        there = assign(box.distances(x, x), allowed, limit)
        return jnp.where(there >= 0, there, _inverse(there))

    def over_frames(function):
        both = jax.vmap(function, in_axes=(0, 0, None))  # bands
        return jax.vmap(both)

    state = (where, charges, mask)
    before, after = ([a[s] for a in state] for s in (slice(-1), slice(1, None)))
    links = over_frames(link)(tuple(before), tuple(after), steps)
    back = jax.vmap(jax.vmap(_inverse))(links)
    none = jnp.zeros_like(mask[:1])
    lost = jnp.concatenate([before[2] & (links < 0), none])
    born = jnp.concatenate([none, after[2] & (back < 0)])

    pairs = jax.vmap(jax.vmap(pair, in_axes=(0, 0, 0, None)))
    alone = jnp.full_like(links[:1], -1)
    lost_with = pairs(where[:-1], charges[:-1], lost[:-1], reach)
    born_with = pairs(where[1:], charges[1:], born[1:], reach)

    ends = jnp.take_along_axis(after[0], jnp.maximum(links, 0)[..., None], axis=2)
    moved = box.displacements(before[0], ends)
    return Tracks(
        times=times,
        vortices=vortices,
        identity=jax.vmap(_number, in_axes=1, out_axes=1)(mask, back),
        displacement=jnp.where((links >= 0)[..., None], moved, jnp.nan),
        born=born,
        lost=lost,
        born_with=jnp.concatenate([alone, born_with]),
        lost_with=jnp.concatenate([lost_with, alone]),
    )


def _inverse(links: Int[Array, " slots"]) -> Int[Array, " slots"]:
    """The slot that each slot is linked from, -1 where there is none."""
    slots = links.shape[0]
    target = jnp.where(links >= 0, links, slots)
    source = jnp.arange(slots, dtype=links.dtype)
    return jnp.full(slots + 1, -1, links.dtype).at[target].set(source)[:slots]


def _number(
    mask: Bool[Array, "frames slots"], back: Int[Array, "intervals slots"]
) -> Int[Array, "frames slots"]:
    """Numbers of the tracks of one band: inherited, or new ones in order of slots."""

    def step(state, frame):
        previous, count = state
        here, source = frame
        inherited = jnp.where(source >= 0, previous[jnp.maximum(source, 0)], -1)
        fresh = here & (source < 0)
        number = jnp.where(fresh, count + jnp.cumsum(fresh) - 1, inherited)
        return (number, count + jnp.sum(fresh)), number

    nobody = jnp.full(mask.shape[1], -1, back.dtype)
    sources = jnp.concatenate([nobody[None], back])
    start = (jnp.full(mask.shape[1], -1, int), jnp.asarray(0))
    return jax.lax.scan(step, start, (mask, sources))[1]

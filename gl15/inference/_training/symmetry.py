"""Augmentation by the exact symmetries of a square sample."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from gl15.simulation import Ensemble


_ODD_CHANNELS = ("curl_J",)


def random_symmetry(
    ensemble: Ensemble,
    *,
    key: PRNGKeyArray,
    reversal: bool = False,
    odd_channels: tuple[str, ...] | None = None,
    odd_parameters: tuple[str, ...] = ("B",),
) -> Ensemble:
    r"""Every image turned or mirrored at random: as likely as it was, to its theta.

    A rotation takes an open sample in a field $B$ to itself. A reflection takes $B$ to
    $-B$ and the curl of the current to minus its mirror image; complex conjugation of
    $\psi$, which is time reversal, does both once more without moving anything. A
    reflection *with* conjugation therefore mirrors all channels, signs and $B$ as they
    are: with the four rotations these are the eight operations that are drawn from
    (four for images that are not square). They are what `fit` takes as `redraw`:

    ```python
    redraw = lambda pairs, key: gl15.inference.random_symmetry(pairs, key=key)
    ```

    A channel that lives on plaquettes, as the curl does, turns about another point than
    one that lives on sites: its last row and column stay the last.

    With `reversal`, time reversal is drawn too: the sign of the odd channels and of the
    field. The prior must then be even in `B`, as `fit` refuses theta outside it.

    The flow, the energy and thermal noise have these symmetries to the last bit, up to
    the choice of gauge. Only a quench that draws real and imaginary parts uniformly
    prefers a gauge, by the fourth cumulant of a site's noise. Do not use it on images
    whose instrument has a direction, such as a scan or a drift, nor on resampled ones:
    their pixels are not the sites, around which the plaquettes turn.

    Args:
        ensemble: images `[n, nx, ny, channels]` of open samples.
        key: JAX random key.
        reversal: whether to reverse time at random, besides.
        odd_channels: channels that change sign then, and live on plaquettes, by their
            name up to the first space: `curl_J` is also `curl_J t=1`, the channel of a
            snapshot. By default `curl_J`, where there is one.
        odd_parameters: parameters that change sign then.

    Returns:
        The ensemble, one operation for each image.

    Raises:
        ValueError: if it holds no images or does not name their channels, if
            `odd_channels` names none of these, or if `reversal` is asked for where the
            field is not among the parameters.
    """
    if ensemble.x.ndim != 4:
        raise ValueError(
            f"`ensemble` holds observations of shape {ensemble.x.shape[1:]}; the "
            "symmetries of the square act on images (nx, ny, channels)."
        )
    if not ensemble.channels:
        raise ValueError(
            "`ensemble` does not name its `channels`, and which of them live on "
            "plaquettes decides how they turn; make it with `Ensemble(theta, x, "
            "spacing, channels)`."
        )
    wanted = _ODD_CHANNELS if odd_channels is None else tuple(odd_channels)
    # The channels of snapshots are named after their times too.
    kinds = [name.split(" ")[0] for name in ensemble.channels]
    unknown = [one for one in wanted if one not in (*kinds, *ensemble.channels)]
    if unknown and odd_channels is not None:
        raise ValueError(
            f"`odd_channels` names {unknown}, which `ensemble` does not hold: its "
            f"channels are {list(ensemble.channels)}; give names of these."
        )
    both = zip(kinds, ensemble.channels, strict=True)
    odd = jnp.asarray([kind in wanted or name in wanted for kind, name in both])
    square = ensemble.x.shape[1] == ensemble.x.shape[2]
    draws = jax.random.bits(key, (len(ensemble),), jnp.uint32)
    theta = dict(ensemble.theta)
    if reversal:
        missing = [p for p in odd_parameters if p not in theta]
        if unknown or missing:
            raise ValueError(
                "`reversal` changes the sign of channels and parameters that "
                f"`ensemble` does not name: {unknown + missing}. It has channels "
                f"{list(ensemble.channels)} and parameters {list(theta)}; a fixed "
                "field cannot be reversed."
            )
        reverse = (draws & 8) > 0
        for name in odd_parameters:
            theta[name] = jnp.where(reverse, -theta[name], theta[name])
    x = _apply(ensemble.x, draws, odd, square, reversal)
    return Ensemble(theta, x, ensemble.spacing, ensemble.channels)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _apply(
    x: Float[Array, "n nx ny c"],
    draws: Array,
    odd: Bool[Array, " c"],
    square: bool,
    reversal: bool,
) -> Float[Array, "n nx ny c"]:
    def flip(image: Float[Array, "nx ny c"], axis: int) -> Float[Array, "nx ny c"]:
        turned = jnp.flip(image, axis)
        return jnp.where(odd, jnp.roll(turned, -1, axis), turned)

    def one(image: Float[Array, "nx ny c"], draw: Array) -> Float[Array, "nx ny c"]:
        image = jnp.where((draw & 1) > 0, flip(image, 0), image)
        image = jnp.where((draw & 2) > 0, flip(image, 1), image)
        if square:
            image = jnp.where((draw & 4) > 0, jnp.swapaxes(image, 0, 1), image)
        if reversal:
            image = jnp.where(odd & ((draw & 8) > 0), -image, image)
        return image

    return jax.lax.map(lambda pair: one(*pair), (x, draws), batch_size=min(64, len(x)))

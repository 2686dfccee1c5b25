r"""The log-ratio as a distribution of images, for models written in NumPyro."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import constraints, Distribution

from gl15.posterior._embedding import checked, embed_once
from gl15.posterior._protocol import LogRatio
from gl15.simulation import Theta


class RatioLikelihood(Distribution):
    r"""Distribution of an image whose "log-density" is the learned log-ratio.

    $$
    \log p(x \mid \theta) - \log p(x) = \log r(\theta, x)
    $$

    The missing $\log p(x)$ does not depend on the parameters, so MCMC and variational
    inference are exact; evidence, LOO and WAIC computed from these values are not.

    ```python
    def model(x):
        eta = numpyro.sample("eta", dist.Uniform(0.0, 1.5))
        numpyro.sample("x", RatioLikelihood(estimator, {"eta": eta}), obs=x)
    ```

    Parameters may be any function of a model's own variables, and their prior there
    need not be the prior of training. But the ratio was learned on that prior's support
    alone: outside it the log-density is $-\infty$, so that no sampler strays to where
    the network extrapolates.

    Several images of one parameter set are several independent observations: put them
    in a plate. `theta` entries of shape `[m]` belong to `m` images.

    ```python
    with numpyro.plate("images", len(x)):  # x [m, nx, ny, channels]
        numpyro.sample("x", RatioLikelihood(estimator, {"eta": eta}), obs=x)
    ```

    The image is embedded once for each trace of the model, outside the compiled code,
    as long as it reaches the model as a concrete array: give it to `mcmc.run` as usual
    and leave NumPyro's `jit_model_args` off.

    Attributes:
        estimator: the log-ratio.
        theta: the parameters.
        simulator: what `sample` draws from, if given.
    """

    arg_constraints: dict[str, Any] = {}
    pytree_data_fields = ("theta", "_arrays")
    pytree_aux_fields = ("_rest",)

    def __init__(
        self,
        estimator: LogRatio,
        theta: Theta,
        *,
        simulator: Callable[..., Any] | None = None,
        image_shape: tuple[int, ...] | None = None,
        validate_args: bool | None = None,
    ):
        """Build the distribution.

        Args:
            estimator: a trained `RatioEstimator`, or any `LogRatio`.
            theta: a value for each of the estimator's parameters; scalars, or arrays
                that broadcast to the batch shape.
            simulator: `simulator(theta, key) -> x`, to draw images for posterior
                predictive checks.
            image_shape: shape of one image. By default that of the simulator's images,
                or `estimator.image_shape`; failing both, only the number of axes is
                known (`estimator.encoder.ndim`, or three).
            validate_args: as in NumPyro.

        Raises:
            ValueError: if `theta` does not name the estimator's parameters.
        """
        estimator.prior.check_names(theta)
        self.theta = {name: jnp.asarray(value) for name, value in theta.items()}
        # Only arrays may cross into compiled code; functions and settings may not.
        self._arrays, rest = eqx.partition((estimator, simulator), _is_any_array)
        self._rest = _Static(rest)
        batch_shape = jnp.broadcast_shapes(*map(jnp.shape, self.theta.values()))
        super().__init__(
            batch_shape,
            _image_shape(estimator, simulator, image_shape),
            validate_args=validate_args,
        )

    @property
    def estimator(self) -> LogRatio:
        """The log-ratio."""
        return eqx.combine(self._arrays, self._rest.tree)[0]

    @property
    def simulator(self) -> Callable[..., Any] | None:
        """What `sample` draws from."""
        return eqx.combine(self._arrays, self._rest.tree)[1]

    @property
    def support(self) -> constraints.Constraint:
        """Images of any real values."""
        return constraints.independent(constraints.real, self.event_dim)

    def log_prob(self, value: Any, intermediates: Any = None) -> Any:
        r"""$\log r(\theta, x)$ for each image; $-\infty$ outside the prior's support.

        Gradients in the parameters are finite everywhere (zero outside).

        Args:
            value: one image, or a batch of them with leading axes.
            intermediates: ignored; NumPyro's interface has it.

        Returns:
            The log-ratios, of the shape that `value`'s leading axes and the batch shape
            broadcast to.

        Raises:
            ValueError: if an image does not suit the estimator.
        """
        del intermediates
        estimator = self.estimator
        shape = jnp.shape(value)
        lead = shape[: max(len(shape) - self.event_dim, 0)]
        image = checked(estimator, value, lead)
        features = embed_once(estimator, image, lead)
        inside = estimator.prior.contains(self.theta)
        theta = estimator.prior.restrict(self.theta)
        batch = jnp.broadcast_shapes(lead, self.batch_shape)
        log_ratio = _over_batch(estimator.log_ratio, batch, theta, features)
        inside = jnp.broadcast_to(inside, batch)
        return jnp.where(inside, log_ratio, -jnp.inf)

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> Any:
        """Images from the simulator.

        Args:
            key: random key.
            sample_shape: leading axes, before the batch shape.

        Returns:
            Images `[*sample_shape, *batch_shape, ...]`.

        Raises:
            NotImplementedError: if no `simulator` was given. A ratio can weigh an
                image, not make one.
            ValueError: if `key` is None.
        """
        simulator = self.simulator
        if simulator is None:
            raise NotImplementedError(
                "a learned ratio cannot draw images; give RatioLikelihood the option "
                "`simulator=` (a function of theta and a key), or condition the site "
                "on data with `obs=`."
            )
        if key is None:
            raise ValueError(
                "`key` must be a random key, got None; give `jax.random.key(...)`."
            )
        shape = (*sample_shape, *self.batch_shape)
        count = math.prod(shape)
        theta = {
            name: jnp.broadcast_to(value, shape).reshape(count)
            for name, value in self.theta.items()
        }
        images = jax.vmap(simulator)(theta, jax.random.split(key, count))
        return images.reshape(*shape, *images.shape[1:])


def _is_any_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, np.ndarray)


class _Static:
    """A pytree without arrays, hashed and compared by its contents."""

    def __init__(self, tree: Any):
        self.tree = tree
        leaves, structure = jax.tree.flatten(tree)
        self._identity = (tuple(leaves), structure)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


def _over_batch(
    log_ratio: Callable[..., Any],
    batch: tuple[int, ...],
    theta: dict[str, Any],
    features: Float[Array, "*lead features"],
) -> Float[Array, "*batch"]:
    if batch == ():
        return log_ratio(theta, features)
    count = math.prod(batch)
    flat = {
        name: jnp.broadcast_to(value, batch).reshape(count)
        for name, value in theta.items()
    }
    if features.ndim == 1:  # one image, many parameters: its features are shared
        return jax.vmap(log_ratio, in_axes=(0, None))(flat, features).reshape(batch)
    size = features.shape[-1]
    many = jnp.broadcast_to(features, (*batch, size)).reshape(count, size)
    return jax.vmap(log_ratio)(flat, many).reshape(batch)


def _image_shape(
    estimator: LogRatio,
    simulator: Callable[..., Any] | None,
    image_shape: tuple[int, ...] | None,
) -> tuple[int, ...]:
    if image_shape is not None:
        return tuple(image_shape)
    if simulator is not None:
        theta = {name: jnp.zeros(()) for name in estimator.prior.names}
        key = jax.random.key(0)
        return jax.eval_shape(lambda: simulator(theta, key)).shape
    known = getattr(estimator, "image_shape", None)
    if known is not None:
        return tuple(known)
    # An encoder that takes any size still knows the number of axes, which is all that
    # NumPyro's batching goes by.
    return (1,) * getattr(getattr(estimator, "encoder", None), "ndim", 3)

"""A problem with an exact estimator, and ways to spoil it."""

import dataclasses
import types
from typing import Any

import pytest


@dataclasses.dataclass(frozen=True)
class Problem:
    prior: Any
    simulator: Any
    estimator: Any

    def pairs(self, n, key):
        import jax

        theta = self.prior.sample(jax.random.fold_in(key, 0), (n,))
        return self.observe(theta, jax.random.fold_in(key, 1))

    def observe(self, theta, key):
        import jax

        keys = jax.random.split(key, len(next(iter(theta.values()))))
        return types.SimpleNamespace(
            theta=theta, x=jax.vmap(self.simulator)(theta, keys)
        )

    @property
    def exact(self):
        return self.spoiled()

    def spoiled(self, *, sharpness=1.0, shift=0.0):
        """Posteriors narrower by sqrt(sharpness), and shifted."""
        import equinox as eqx
        import jax.numpy as jnp

        # Arrays, so that one compilation serves the exact and every spoiled one.
        return eqx.tree_at(
            lambda one: (one.sharpness, one.shift),
            self.estimator,
            (jnp.asarray(sharpness), jnp.asarray(shift)),
        )


def problem(matrix, sigma, distributions, nodes=64):
    import equinox as eqx
    import jax

    from gl15.simulation import ExactRatio, LinearGaussian, Prior

    class Distorted(eqx.Module):
        inner: ExactRatio
        sharpness: jax.Array | float = 1.0
        shift: jax.Array | float = 0.0

        @property
        def prior(self):
            return self.inner.prior

        def embed(self, x):
            return self.inner.embed(x)

        def log_ratio(self, theta, h):
            moved = {name: value - self.shift for name, value in theta.items()}
            return self.sharpness * self.inner.log_ratio(moved, h)

        def check_image(self, x, **known):
            self.inner.check_image(x, **known)

    prior = Prior(distributions)
    simulator = LinearGaussian(matrix, sigma, prior.names)
    return Problem(prior, simulator, Distorted(ExactRatio(simulator, prior, nodes)))


@pytest.fixture(scope="session")
def one():
    import numpyro.distributions as dist

    return problem([[1.0]], 0.1, {"eta": dist.Uniform(0.0, 1.5)})


@pytest.fixture(scope="session")
def two():
    import numpyro.distributions as dist

    distributions = {"eta": dist.Uniform(0.0, 1.5), "B": dist.Normal(0.0, 1.0)}
    return problem([[1.0, 0.5], [0.2, 1.0]], 0.2, distributions, nodes=32)

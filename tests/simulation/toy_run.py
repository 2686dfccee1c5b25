"""A quick simulator, and a program that fills a store with it, to be killed."""

import argparse
import functools
import time

import equinox as eqx
import jax
import numpy as np
import numpyro.distributions as dist

from gl15.simulation import Prior, simulate


PRIOR = Prior({"b": dist.Uniform(0.0, 1.0), "a": dist.Normal(0.0, 1.0)})
KEY = jax.random.key(7)
N, BATCH = 1205, 20  # eleven shards, of six batches but the last
PAUSE = [0.0]


def rest(x):
    time.sleep(PAUSE[0])
    return np.asarray(x)


class Toy(eqx.Module):
    channels: tuple[str, ...] = ("u", "v")
    spacing: float = 0.5

    def __call__(self, theta, key):
        return theta["a"] + theta["b"] * jax.random.normal(key, (6, 5, 2))

    def batch(self, theta, keys):
        x = jax.vmap(self)(theta, keys)
        return jax.pure_callback(rest, x, x)


draw = functools.partial(
    simulate, Toy(), PRIOR, n=N, key=KEY, batch_size=BATCH, progress=False
)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--n", type=int, default=N)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--process", type=int, nargs=2)
    asked = parser.parse_args()
    # As in the tests, so that the bits are the same.
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    PAUSE[0] = asked.pause
    process = asked.process and tuple(asked.process)
    stored = draw(n=asked.n, path=asked.path, load=False, process=process, workers=2)
    print(sum(rows.stop - rows.start for rows in stored.missing), "missing")

"""An estimator that counts how often its encoder runs."""

import jax
import pytest


@pytest.fixture
def counting():
    import equinox as eqx

    class Counting(eqx.Module):
        inner: eqx.Module
        # Real networks hold functions among their leaves; these may not cross into jit.
        activation: object
        count: object = eqx.field(static=True)

        @property
        def prior(self):
            return self.inner.prior

        @property
        def image_shape(self):
            return self.inner.image_shape

        def __call__(self, theta, x):
            return self.log_ratio(theta, self.embed(x))

        def embed(self, x):
            h = self.inner.embed(x)

            def tick(value):
                self.count.calls += 1
                return value

            shape = jax.ShapeDtypeStruct(h.shape, h.dtype)
            return jax.pure_callback(tick, shape, h, vmap_method="sequential")

        def log_ratio(self, theta, h):
            return self.inner.log_ratio(theta, h)

        def check_image(self, x, **known):
            self.inner.check_image(x, **known)

    class Count:
        calls = 0

    def make(inner):
        count = Count()
        return Counting(inner, jax.nn.relu, count), lambda: count.calls

    return make

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.simulation import Ensemble


def build(n=6, spacing=0.5, channels=("u",)):
    eta = jnp.arange(float(n))
    x = 10 * eta[:, None, None, None] + jnp.ones((4, 4, 1))
    return Ensemble({"eta": eta}, x, spacing, channels)


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        (slice(2), [0, 1]),
        (slice(None, None, -2), [5, 3, 1]),
        ([4, 4, 0], [4, 4, 0]),
        (np.asarray([False, True] * 3), [1, 3, 5]),
        (jnp.asarray([2]), [2]),
    ],
)
def test_a_part_keeps_pairs_together(index, kept):
    part = build()[index]
    assert len(part) == len(kept)
    np.testing.assert_array_equal(part.theta["eta"], kept)
    np.testing.assert_array_equal(part.x[:, 0, 0, 0], 10.0 * np.asarray(kept) + 1)
    assert (part.spacing, part.channels) == (0.5, ("u",))


def test_the_sum_holds_both():
    both = build(2) + build(3)
    np.testing.assert_array_equal(both.theta["eta"], [0, 1, 0, 1, 2])
    np.testing.assert_array_equal(both.x[:, 0, 0, 0], [1, 11, 1, 11, 21])


@pytest.mark.parametrize("other", [{"spacing": 0.25}, {"channels": ("v",)}])
def test_different_images_do_not_add_up(other):
    with pytest.raises(ValueError, match="cannot be joined.*0.5"):
        build() + build(**other)


def test_theta_must_match_the_observations_in_number():
    with pytest.raises(ValueError, match=r"one value for each of the 3.*\(2,\)"):
        Ensemble({"eta": jnp.zeros(2)}, jnp.zeros((3, 1)))


def test_an_ensemble_goes_through_jit():
    mean = jax.jit(lambda e: e[:3].x.mean())(build())
    np.testing.assert_allclose(mean, 11.0)

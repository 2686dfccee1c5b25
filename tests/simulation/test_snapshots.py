"""Several pictures of the same run: what is seen, side by side, and what is refused."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gl15
from gl15.simulation import Snapshots, VortexSimulator


OPEN = gl15.Lattice((12, 10), spacing=0.5)
QUICK = VortexSimulator(
    OPEN, gl15.TwoBand(), dt=0.05, solver=gl15.RungeKuttaChebyshev(stages=5)
)
WARM = VortexSimulator(OPEN, gl15.TwoBand(), dt=0.01, temperature=0.2)
TIMES = (0.2, 0.5)


def test_each_snapshot_is_the_image_at_its_time():
    theta = {"eta": 0.7, "B": 0.05, "nu": 0.3}
    keys = jax.random.split(jax.random.key(0), 1)
    columns = {name: jnp.full(1, value) for name, value in theta.items()}
    seen = eqx.filter_jit(Snapshots(QUICK, TIMES).batch)(columns, keys)[0]
    assert seen.shape == (*OPEN.shape, 6)
    for i, time in enumerate(TIMES):
        alone = dataclasses.replace(QUICK, t1=time)(theta, keys[0])
        np.testing.assert_allclose(
            seen[..., 3 * i : 3 * i + 3], alone, rtol=1e-12, atol=1e-12
        )


def test_side_by_side_is_one_by_one():
    snapshots = Snapshots(WARM, TIMES)
    theta = {"eta": jnp.asarray([0.0, 1.2]), "nu": jnp.asarray([0.4, -0.1])}
    keys = jax.random.split(jax.random.key(1), 2)
    images = eqx.filter_jit(snapshots.batch)(theta, keys)
    single = eqx.filter_jit(snapshots)
    for i, image in enumerate(images):
        one = {name: value[i] for name, value in theta.items()}
        np.testing.assert_allclose(image, single(one, keys[i]), atol=1e-12)


def test_an_ensemble_of_snapshots_names_its_channels_and_resumes(tmp_path):
    snapshots, theta = Snapshots(QUICK, TIMES), {"nu": np.linspace(0, 0.4, 3)}
    made = gl15.simulate(
        snapshots, theta, key=jax.random.key(2), path=tmp_path / "store.zarr"
    )
    assert made.x.shape == (3, *OPEN.shape, 6)
    assert made.channels[2:4] == ("curl_J t=0.2", "density_1 t=0.5")
    assert made.spacing == 0.5
    # The simulator's own time says nothing; the times of the snapshots do.
    late = dataclasses.replace(QUICK, t1=7.0)
    again = gl15.simulate(
        Snapshots(late, TIMES),
        theta,
        key=jax.random.key(2),
        path=tmp_path / "store.zarr",
    )
    np.testing.assert_array_equal(again.x, made.x)
    with pytest.raises(ValueError, match="times"):
        gl15.simulate(
            Snapshots(QUICK, (0.1, 0.5)),
            theta,
            key=jax.random.key(2),
            path=tmp_path / "store.zarr",
        )


def test_what_the_simulator_refuses_is_refused():
    with pytest.raises(ValueError, match=r"nu\^2 < D1 D2"):
        Snapshots(QUICK, TIMES).check({"nu": np.asarray([0.0, 2.5])})


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((), "positive and finite"),
        ((0.0, 1.0), "increasing"),
        ((1.0, 0.5), "increasing"),
        ((0.5, np.nan), "finite"),
        ((0.52, 1.0), r"\[0.52\] would be interpolated"),
    ],
)
def test_times_that_cannot_be_seen_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        Snapshots(QUICK, times)

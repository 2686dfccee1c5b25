"""The symmetries of the square: held against the solver itself."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.inference import (
    Calibrated,
    Contrastive,
    fine_tune,
    fit,
    MLPEncoder,
    random_symmetry,
    RatioEstimator,
    SpectralEncoder,
)
from gl15.observables import CHANNELS, observe
from gl15.physics import evolve, Lattice, Links, quench, TDGL, TwoBand
from gl15.simulation import (
    Ensemble,
    LinearGaussian,
    Prior,
    simulate,
    Snapshots,
    VortexSimulator,
)


def reflect_x(psi, phases):
    """Mirrored along x, and conjugated: the field is as before."""
    a_x, a_y = phases
    a_x = np.concatenate([a_x[:-1][::-1], a_x[-1:]])
    return np.conj(psi[:, ::-1]), np.stack([a_x, -a_y[::-1]])


def reflect_y(psi, phases):
    a_x, a_y = phases
    a_y = np.concatenate([a_y[:, :-1][:, ::-1], a_y[:, -1:]], 1)
    return np.conj(psi[:, :, ::-1]), np.stack([-a_x[:, ::-1], a_y])


def transpose(psi, phases):
    a_x, a_y = phases
    return np.conj(np.swapaxes(psi, 1, 2)), np.stack([-a_y.T, -a_x.T])


def image(psi, phases, shape, field):
    """What the solver makes of a start, in whatever gauge."""
    lattice = Lattice(shape, spacing=0.5, boundary="open")
    links = Links.from_phases(jnp.asarray(phases), periodic=False)
    # The same field: another gauge at most.
    np.testing.assert_allclose(links.flux(shape), field * 0.25, atol=1e-12)
    material = TwoBand(josephson=0.8, drag=0.3)
    tdgl = TDGL(lattice, material, links=links)
    psi = evolve(tdgl, jnp.asarray(psi), t1=0.3, dt=1e-2).ys[-1]
    return np.asarray(observe(tdgl, psi))


@pytest.mark.parametrize("shape", [(8, 8), (8, 6)])
def test_every_image_is_one_that_the_solver_makes_of_a_turned_start(shape):
    field = 0.3
    lattice = Lattice(shape, spacing=0.5, boundary="open")
    psi = np.asarray(quench(lattice, key=jax.random.key(0)))
    phases = np.asarray(lattice.links(field).phases(shape))
    moves = [reflect_x, reflect_y] + [transpose] * (shape[0] == shape[1])
    expected = []
    for chosen in itertools.product([False, True], repeat=len(moves)):
        turned = psi, phases
        for move, wanted in zip(moves, chosen, strict=True):
            turned = move(*turned) if wanted else turned
        expected.append(image(*turned, shape, field))
    x = jnp.asarray(np.repeat(expected[0][None], 100, 0))
    pairs = Ensemble({"eta": jnp.full(100, 0.8)}, x, 0.5, CHANNELS)
    found = random_symmetry(pairs, key=jax.random.key(1))
    np.testing.assert_array_equal(found.theta["eta"], pairs.theta["eta"])
    assert (found.spacing, found.channels) == (0.5, CHANNELS)
    distance = np.abs(np.asarray(found.x)[:, None] - np.stack(expected)[None])
    distance = distance.max((2, 3, 4))
    # Each is one of them, and all of them are there.
    assert distance.min(1).max() < 1e-12
    assert set(distance.argmin(1)) == set(range(len(expected)))
    np.testing.assert_allclose(
        np.bincount(distance.argmin(1)), 100 / 2 ** len(moves), atol=12
    )


def test_time_reversal_turns_the_field_and_the_curl():
    shape, field = (8, 8), 0.3
    lattice = Lattice(shape, spacing=0.5, boundary="open")
    psi = np.asarray(quench(lattice, key=jax.random.key(0)))
    phases = np.asarray(lattice.links(field).phases(shape))
    one = image(psi, phases, shape, field)
    other = image(np.conj(psi), -phases, shape, -field)
    x = jnp.asarray(np.repeat(one[None], 60, 0))
    pairs = Ensemble({"B": jnp.full(60, field)}, x, 0.5, CHANNELS)
    found = random_symmetry(pairs, key=jax.random.key(2), reversal=True)
    turned = np.asarray(found.theta["B"]) < 0
    assert 15 < turned.sum() < 45
    for reverse, start in ((False, one), (True, other)):
        sums = np.asarray(found.x)[turned == reverse].sum((1, 2))
        np.testing.assert_allclose(sums, np.broadcast_to(start.sum((0, 1)), sums.shape))
    np.testing.assert_allclose(np.abs(found.theta["B"]), field)


def test_a_snapshot_turns_as_the_image_that_it_is():
    lattice = Lattice((8, 8), spacing=0.5, boundary="open")
    simulator = VortexSimulator(lattice, TwoBand(), t1=0.1, dt=1e-2)
    theta, keys = {"eta": jnp.full(8, 0.8)}, jax.random.split(jax.random.key(0), 8)
    turned = []
    for one in (simulator, Snapshots(simulator, (0.1,))):
        pairs = Ensemble(theta, one.batch(theta, keys), one.spacing, one.channels)
        turned.append(random_symmetry(pairs, key=jax.random.key(3)))
    assert turned[1].channels != turned[0].channels
    np.testing.assert_allclose(turned[0].x, turned[1].x, rtol=1e-12)


def test_what_cannot_be_turned_is_refused():
    x = jnp.ones((4, 6, 6, 3))
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="does not name its `channels`"):
        random_symmetry(Ensemble({"eta": jnp.ones(4)}, x), key=key)
    with pytest.raises(ValueError, match=r"does not name: \['B'\].* fixed field"):
        random_symmetry(
            Ensemble({"eta": jnp.ones(4)}, x, 0.5, CHANNELS), key=key, reversal=True
        )
    with pytest.raises(ValueError, match=r"names \['curl'\].* channels are \['dens"):
        random_symmetry(
            Ensemble({"eta": jnp.ones(4)}, x, 0.5, CHANNELS),
            key=key,
            odd_channels=("curl",),
        )
    with pytest.raises(ValueError, match=r"shape \(2,\); the symmetries of the square"):
        random_symmetry(Ensemble({"a": jnp.ones(4)}, jnp.ones((4, 2))), key=key)


def test_fit_refuses_fields_that_its_prior_does_not_know():
    prior = Prior({"B": dist.Uniform(0.1, 1.0)})
    key = jax.random.key(0)
    x = jax.random.normal(key, (40, 16, 16, 3)) ** 2
    pairs = Ensemble(prior.sample(key, (40,)), x, 0.5, CHANNELS)
    encoder = SpectralEncoder(3, rings=4, features=4, width=4, key=key)
    estimator = RatioEstimator(prior, encoder, width=4, key=key)
    with pytest.raises(ValueError, match="theta outside the support"):
        fit(
            estimator,
            pairs,
            key=key,
            steps=2,
            progress=False,
            redraw=lambda pairs, key: random_symmetry(pairs, key=key, reversal=True),
        )
    fit(
        estimator,
        pairs,
        key=key,
        steps=4,
        batch_size=16,
        progress=False,
        redraw=lambda pairs, key: random_symmetry(pairs, key=key),
    )


def test_a_few_pairs_of_another_kind_adapt_a_trained_estimator():
    # Twice the noise: as sharp as before would be overconfident.
    names, matrix = ("a",), ((1.0,), (0.5,), (0.8,))
    before = LinearGaussian(matrix, 0.3, names)
    after = LinearGaussian(matrix, 0.75, names)
    prior = Prior({"a": dist.Normal(0.0, 1.0)})
    keys = jax.random.split(jax.random.key(0), 6)
    many = simulate(before, prior, 5_000, key=keys[0], progress=False)
    few = simulate(after, prior, 300, key=keys[1], progress=False)
    test = simulate(after, prior, 1_000, key=keys[2], progress=False)

    def untrained(key):
        encoder = MLPEncoder(3, features=32, width=32, key=key)
        return RatioEstimator(prior, encoder, width=32, key=key)

    options = {"loss": Contrastive(15), "batch_size": 32, "progress": False}
    trained, _ = fit(
        untrained(keys[3]),
        many,
        key=keys[4],
        steps=900,
        learning_rate=2e-3,
        **options,
    )
    scratch, _ = fit(untrained(keys[3]), few, key=keys[4], steps=500, **options)

    @eqx.filter_jit
    def score(estimator):
        """Mean log posterior density of the truths."""
        grid = jnp.linspace(-4.5, 4.5, 200)

        def one(a, x):
            h = estimator.embed(x)
            joint = lambda a: (  # noqa: E731
                estimator.log_ratio({"a": a}, h) + prior.log_prob({"a": a})
            )
            total = jax.nn.logsumexp(jax.vmap(joint)(grid)) + jnp.log(grid[1] - grid[0])
            return joint(a) - total

        return jax.vmap(one)(test.theta["a"], test.x).mean()

    with pytest.raises(TypeError, match="Calibrated around .*`gl15.inference.bare"):
        fit(Calibrated(trained), few, key=keys[5])
    for freeze in (False, True):
        tuned, history = fine_tune(
            Calibrated(trained), few, key=keys[5], progress=False, freeze_encoder=freeze
        )
        assert score(tuned) > max(score(trained), score(scratch)) + 0.01
        same = jax.tree.map(
            np.array_equal,
            jax.tree.leaves(tuned.encoder.mlp.layers[0].weight),
            jax.tree.leaves(trained.encoder.mlp.layers[0].weight),
        )
        assert all(same) == freeze
        np.testing.assert_array_equal(
            tuned.standardization.mean, trained.standardization.mean
        )

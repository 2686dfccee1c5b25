"""Training: known posteriors come out, and the bookkeeping is what it says it is."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.diagnostics import check_ranks
from gl15.inference import (
    AbstractLoss,
    BinaryCrossEntropy,
    Contrastive,
    ConvEncoder,
    fit,
    MLPEncoder,
    RatioEstimator,
)
from gl15.posterior import grid_posterior
from gl15.simulation import Ensemble, LinearGaussian, Prior, simulate


TOYS = {
    1: LinearGaussian(((1.0,), (0.5,)), 0.5, ("a",)),
    2: LinearGaussian(((1.0, 0.3), (-0.5, 1.0), (0.2, 0.4)), 0.5, ("b", "a")),
}

quiet = functools.partial(fit, progress=False)


def normal_prior(toy):
    return Prior({name: dist.Normal(0.0, 1.0) for name in toy.names})


def build(toy, key, width=32):
    encoder_key, key = jax.random.split(key)
    size = toy.matrix.shape[0]
    encoder = MLPEncoder(size, features=width, width=width, key=encoder_key)
    return RatioEstimator(normal_prior(toy), encoder, width=width, key=key)


def pairs(toy, n, seed):
    key = jax.random.key(seed)
    return simulate(toy, normal_prior(toy), n, key=key, progress=False)


@eqx.filter_jit
def tabulate(estimator, x, axes):
    """Mean, standard deviation and distribution function, by sums over a grid."""
    names = estimator.prior.names
    mesh = jnp.meshgrid(*axes, indexing="ij")
    theta = {name: grid.ravel() for name, grid in zip(names, mesh, strict=True)}

    def one(x):
        h = estimator.embed(x)
        log_ratio = jax.vmap(lambda theta: estimator.log_ratio(theta, h))(theta)
        weight = jax.nn.softmax(log_ratio + estimator.prior.log_prob(theta))
        weight = weight.reshape(mesh[0].shape)
        found = []
        for j, axis in enumerate(axes):
            marginal = weight.sum(tuple(k for k in range(len(axes)) if k != j))
            mean = marginal @ axis
            std = jnp.sqrt(marginal @ (axis - mean) ** 2)
            found.append((mean, std, jnp.cumsum(marginal) - marginal / 2))
        return found

    return jax.lax.map(one, x, batch_size=50)


def compare(toy, estimator, test, points):
    """Mean error in standard deviations, median ratio of widths, and SBC ranks."""
    posterior = lambda x: toy.posterior(x, estimator.prior)  # noqa: E731
    means, covariances = jax.jit(jax.vmap(posterior))(test.x)
    stds = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    axes = [np.linspace(-4.5, 4.5, points) for _ in toy.names]
    ranks, errors, ratios = {}, {}, {}
    found = tabulate(estimator, test.x, axes)
    for j, name in enumerate(toy.names):
        mean, std, cdf = found[j]
        errors[name] = float(np.mean(np.abs(mean - means[:, j]) / stds[:, j]))
        ratios[name] = float(np.median(std / stds[:, j]))
        one = lambda truth, cdf, axis=axes[j]: np.interp(truth, axis, cdf)  # noqa: E731
        ranks[name] = jnp.asarray([*map(one, test.theta[name], np.asarray(cdf))])
    return errors, ratios, check_ranks(ranks, key=jax.random.key(0))


# Eight seeds showed errors of 0.04 to 0.12 and widths of 0.97 to 1.02.
@pytest.mark.parametrize(
    ("dimension", "points"), [pytest.param(1, 200, marks=pytest.mark.slow), (2, 60)]
)
def test_a_trained_ratio_gives_the_known_posterior(dimension, points):
    toy = TOYS[dimension]
    estimator, history = quiet(
        build(toy, jax.random.key(1)),
        pairs(toy, 5000, seed=2),
        key=jax.random.key(3),
        loss=Contrastive(15),
        steps=800,
        batch_size=64,
        learning_rate=3e-3,
    )
    test = pairs(toy, 200, seed=4)
    errors, ratios, check = compare(toy, estimator, test, points)
    for name in toy.names:
        assert errors[name] < 0.2
        assert 0.9 < ratios[name] < 1.1
        assert check.ks_p[name] > 0.01
        assert check.deviation_p[name] > 0.01


# Three seeds showed errors of 0.04 to 0.06 and widths of 0.99 to 1.005.
@pytest.mark.slow
@pytest.mark.parametrize("loss", [Contrastive(31), BinaryCrossEntropy(31)], ids=repr)
def test_a_well_trained_ratio_gives_it_sharply(loss):
    toy = TOYS[2]
    estimator, _ = quiet(
        build(toy, jax.random.key(1)),
        pairs(toy, 40_000, seed=2),
        key=jax.random.key(3),
        loss=loss,
        steps=6000,
        batch_size=64,
        learning_rate=2e-3,
    )
    errors, ratios, check = compare(toy, estimator, pairs(toy, 2000, seed=4), 100)
    for name in toy.names:
        assert errors[name] < 0.08
        assert 0.98 < ratios[name] < 1.02
        assert min(check.ks_p[name], check.deviation_p[name]) > 0.01


TOY = TOYS[2]
START = build(TOY, jax.random.key(5), width=4)
TRAIN, HELD_OUT = pairs(TOY, 96, seed=6), pairs(TOY, 64, seed=7)
KEY = jax.random.key(8)

train = functools.partial(
    quiet, START, TRAIN, key=KEY, steps=12, batch_size=32, validation=HELD_OUT
)


@pytest.fixture(name="first", scope="module")
def _first():
    return train()


def test_the_same_key_gives_the_same_bits(first):
    again = train()
    assert eqx.tree_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1].train_loss, again[1].train_loss)
    np.testing.assert_array_equal(first[1].validation_loss, again[1].validation_loss)
    other, _ = train(key=jax.random.key(9))
    assert not eqx.tree_equal(first[0], other)


def loss_of(estimator, ensemble, batch_size, contrasts):
    """The mean cross-entropy over batches, pair by pair."""

    @eqx.filter_jit
    def batch(estimator, theta, x):
        logits = jax.vmap(
            lambda x: jax.vmap(lambda t: estimator(t, x))(theta)  # [observation, theta]
        )(x)
        i = jnp.arange(len(x))
        joint = logits[i, i]
        others = jnp.stack(
            [logits[i, (i + k) % len(x)] for k in range(1, contrasts + 1)], -1
        )
        return jnp.log1p(jnp.exp(-joint)).mean() + jnp.log1p(jnp.exp(others)).mean()

    parts = [ensemble[i : i + batch_size] for i in range(0, len(ensemble), batch_size)]
    return np.mean([batch(estimator, part.theta, part.x) for part in parts])


def test_the_weights_of_the_best_epoch_are_kept():
    # Good at first, then a step size that throws everything away.
    rate = lambda step: jnp.where(step < 12, 1e-2, 3.0)  # noqa: E731
    estimator, history = train(
        steps=24, learning_rate=rate, loss=BinaryCrossEntropy(contrasts=3)
    )
    assert len(history.train_loss) == len(history.validation_loss) == 8
    assert history.steps == 24
    assert history.best_epoch == np.argmin(history.validation_loss) <= 3
    assert history.validation_loss[-1] > history.validation_loss.min() + 0.1
    np.testing.assert_allclose(
        loss_of(estimator, HELD_OUT, 32, 3), history.validation_loss.min(), rtol=1e-10
    )
    np.testing.assert_allclose(history.learning_rate[:4], [0.01, 0.01, 0.01, 3.0])


def test_the_standardisation_is_of_the_training_data_and_stays():
    odd = Ensemble(HELD_OUT.theta, 100 + 7 * HELD_OUT.x)
    estimator, _ = train(validation=odd, steps=12)
    np.testing.assert_allclose(estimator.standardization.mean, TRAIN.x.mean(0))
    np.testing.assert_allclose(estimator.standardization.scale, TRAIN.x.std(0))
    estimator, _ = train(validation=1 / 3)
    # 64 of the 96: some subset's moments, near those of all and not them.
    mean = np.asarray(estimator.standardization.mean)
    assert 1e-6 < np.abs(mean - TRAIN.x.mean(0)).max() < 0.5


def test_training_changes_the_weights_and_nothing_else(first):
    estimator, _ = first
    for branch in ("encoder", "parameter_mlp", "head"):
        assert not eqx.tree_equal(getattr(START, branch), getattr(estimator, branch))
    assert estimator.prior == START.prior
    assert jax.tree.structure(estimator) == jax.tree.structure(START)


def test_what_the_images_were_is_remembered():
    encoder = ConvEncoder(2, widths=(2,), features=3, key=KEY)
    prior = Prior({"eta": dist.Uniform(0.0, 1.0)})
    start = RatioEstimator(prior, encoder, width=3, key=KEY)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(24, 4, 4, 2)) * [1.0, 5.0] + [0.0, 9.0])
    images = Ensemble({"eta": jnp.asarray(rng.uniform(size=24))}, x, 0.25, ("u", "v"))
    estimator, _ = quiet(start, images, key=KEY, steps=2, batch_size=8)
    assert (estimator.spacing, estimator.channel_names) == (0.25, ("u", "v"))
    assert (start.spacing, start.channel_names) == (None, ())
    # A channel is standardised as a whole: every pixel alike.
    np.testing.assert_allclose(estimator.standardization.mean, [0, 9], atol=2)
    np.testing.assert_allclose(estimator.standardization.scale, [1, 5], rtol=0.3)
    with pytest.raises(ValueError, match="`spacing`=0.5"):
        estimator.check_image(x[0], spacing=0.5)


def test_averaged_weights_are_between_those_of_the_steps():
    # One step an epoch, which is the best one: for theirs is the only loss.
    once = functools.partial(
        train, batch_size=96, steps=1, learning_rate=lambda step: 0.1, validation=TRAIN
    )
    last, _ = once()
    average, history = once(averaging=0.75)
    # One step taken: the decay is 1/10, not 3/4 yet.
    prepared = eqx.tree_at(lambda e: e.standardization, START, last.standardization)
    expected = jax.tree.map(
        lambda a, b: 0.1 * a + 0.9 * b if eqx.is_array(a) else a, prepared, last
    )
    for found, leaf in zip(
        jax.tree.leaves(eqx.filter(average, eqx.is_array)),
        jax.tree.leaves(eqx.filter(expected, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_allclose(found, leaf, rtol=1e-12)
    np.testing.assert_allclose(
        loss_of(average, TRAIN, 96, 1), history.validation_loss[0], rtol=1e-10
    )


def test_patience_ends_a_training_that_has_stopped_to_learn():
    _, history = train(steps=3000, learning_rate=lambda step: 0.0, patience=4)
    assert len(history.validation_loss) == 1 + 4
    assert history.steps == 5 * 3
    assert history.best_epoch == 0


def test_the_default_schedule_warms_up_and_ends_at_zero():
    _, history = train(steps=120, learning_rate=0.01)  # 40 epochs of 3 steps
    np.testing.assert_allclose(history.learning_rate[[1, -1]], [0.01, 0], atol=1e-6)
    assert history.learning_rate[0] < 0.01
    assert np.all(np.diff(history.learning_rate[1:]) < 0)


def test_steps_are_rounded_up_to_whole_epochs(first):
    assert first[1].steps == 12
    assert train(steps=4)[1].steps == 6
    assert train(batch_size=96, steps=1)[1].steps == 1


CAUGHT = {}


class Spy(AbstractLoss):
    contrasts: int = 1

    def __call__(self, joint, marginal):
        jax.debug.callback(
            lambda *logits: CAUGHT["logits"].append(logits), joint, marginal
        )
        return joint.mean() - marginal.mean()


@pytest.mark.parametrize("batch_size", [12, 4])
def test_every_observation_meets_its_own_theta_and_others(batch_size):
    CAUGHT["logits"] = []
    part = TRAIN[:12]
    estimator, history = quiet(
        START,
        part,
        key=KEY,
        loss=Spy(contrasts=batch_size - 1),
        steps=2 * 12 // batch_size,
        batch_size=batch_size,
        learning_rate=lambda step: 0.0,
        validation=TRAIN[12:24],
    )
    jax.effects_barrier()
    ratio = lambda t, x: estimator(t, x)  # noqa: E731
    table = jax.vmap(lambda x: jax.vmap(lambda t: ratio(t, x))(part.theta))(part.x)
    pair_of = {f"{value:.9e}": (i, j) for (i, j), value in np.ndenumerate(table)}
    assert len(pair_of) == table.size
    batches = 12 // batch_size
    epochs = []
    for epoch in range(2):
        first = epoch * 2 * batches  # Training and validation take turns.
        seen = []
        for joint, marginal in CAUGHT["logits"][first : first + batches]:
            rows = [pair_of[f"{value:.9e}"] for value in np.asarray(joint)]
            assert all(i == j for i, j in rows)
            batch = {i for i, _ in rows}
            for (i, _), others in zip(rows, np.asarray(marginal), strict=True):
                met = [pair_of[f"{value:.9e}"] for value in others]
                assert {j for _, j in met} == batch - {i}
                assert {k for k, _ in met} == {i}
            seen += [i for i, _ in rows]
        assert sorted(seen) == list(range(12))
        epochs.append(seen)
    assert epochs[0] != epochs[1]  # Shuffled anew.


class Nothing(AbstractLoss):
    contrasts: int = 1

    def __call__(self, joint, marginal):
        return 0.0 * (joint.sum() + marginal.sum())


def test_weight_decay_shrinks_matrices_and_leaves_biases():
    encoder = ConvEncoder(1, widths=(2, 3), features=3, key=KEY)
    prior = Prior({"eta": dist.Uniform(0.0, 1.0)})
    start = RatioEstimator(prior, encoder, width=3, key=KEY)
    images = Ensemble({"eta": jnp.linspace(0.0, 1.0, 16)}, jnp.ones((16, 4, 4, 1)))
    estimator, _ = quiet(
        start,
        images,
        key=KEY,
        loss=Nothing(),
        steps=2,
        batch_size=8,
        learning_rate=lambda step: 0.1,
        weight_decay=0.5,
        validation=images,
    )
    before, after = (
        jax.tree_util.tree_leaves_with_path(eqx.filter(e, eqx.is_array))
        for e in (start, estimator)
    )
    checked = 0
    for (path, old), (_, new) in zip(before, after, strict=True):
        name = jax.tree_util.keystr(path)
        if ".standardization" in name:
            continue
        factor = 0.95**2 if name.endswith(".weight") else 1.0
        np.testing.assert_allclose(new, factor * old, rtol=1e-12, err_msg=name)
        checked += 1
    assert checked == 16


def test_a_loss_that_is_no_longer_finite_is_an_error():
    with pytest.raises(
        FloatingPointError, match="loss became .* lower `learning_rate`"
    ):
        train(learning_rate=lambda step: 1e200, gradient_clip=None)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"batch_size": 97}, "97 pairs for training .* got 96 and 64; simulate more"),
        ({"loss": Contrastive(32)}, "32 contrasts, .* `batch_size`=32 holds 31"),
        ({"validation": 0.0}, "`validation` must be a fraction .* got 0.0"),
        ({"validation": 1.0}, "`validation` must be a fraction .* got 1.0"),
        (
            {"validation": 0.01, "loss": Contrastive(7)},
            "8 for validation, got .* 1;",
        ),
        (
            {"validation": HELD_OUT[:3], "loss": Contrastive(7)},
            "8 for .* got 96 and 3;",
        ),
        (
            {"validation": Ensemble({"a": HELD_OUT.theta["a"]}, HELD_OUT.x)},
            r"missing \['b'\]",
        ),
        (
            {"validation": Ensemble(HELD_OUT.theta, HELD_OUT.x, 0.5)},
            "`validation` holds images of spacing 0.5 .* of None",
        ),
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"learning_rate": -1.0}, "`learning_rate` must be positive, .* got -1.0"),
        ({"weight_decay": -1.0}, "`weight_decay` must not be negative, got -1.0"),
        ({"averaging": 1.0}, r"`averaging` must be in \[0, 1\), got 1.0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        train(**arguments)


def test_what_cannot_be_trained_on_is_refused():
    with pytest.raises(ValueError, match="`data` holds 1 pairs: too few to hold out"):
        quiet(START, TRAIN[:1], key=KEY)
    for kind in ("runs/a.zarr", {"a": [1.0]}):
        with pytest.raises(TypeError, match=r"give an Ensemble, what `open_ensemble"):
            quiet(START, kind, key=KEY)


def test_an_ensemble_of_something_else_is_refused():
    one = lambda theta, x: quiet(START, Ensemble(theta, x), key=KEY)  # noqa: E731
    with pytest.raises(ValueError, match=r"unknown \['c'\] and missing \['a'\]"):
        one({"b": TRAIN.theta["b"], "c": TRAIN.theta["a"]}, TRAIN.x)
    with pytest.raises(ValueError, match="2 channels, but the encoder was made for 3"):
        one(TRAIN.theta, TRAIN.x[:, :2])
    with pytest.raises(ValueError, match=r"shape \(1, 3\), but the encoder takes 1"):
        one(TRAIN.theta, TRAIN.x[:, None])


def test_noise_drawn_anew_at_every_epoch_is_learned():
    # The pairs themselves are free of noise: what is learned is what `redraw` adds.
    toy, noise = TOYS[1], 0.5
    prior = normal_prior(toy)
    theta = prior.sample(jax.random.key(1), (512,))
    x = theta["a"][:, None] * jnp.asarray(toy.matrix)[:, 0]
    keys = []

    def redraw(pairs, key):
        keys.append(jax.random.key_data(key))
        noisy = pairs.x + noise * jax.random.normal(key, pairs.x.shape)
        return eqx.tree_at(lambda e: e.x, pairs, noisy)

    estimator, history = quiet(
        build(toy, jax.random.key(0)),
        Ensemble(theta, x),
        key=jax.random.key(2),
        loss=Contrastive(15),
        steps=900,
        learning_rate=2e-3,
        redraw=redraw,
    )
    # Every epoch's training pairs, and once the held-out pairs.
    assert len(keys) == len(history.train_loss) + 1
    assert len(np.unique(keys, axis=0)) == len(keys)
    posterior = grid_posterior(estimator, jnp.asarray([0.3, 0.15]))
    precision = 1 + np.sum(np.square(toy.matrix)) / noise**2
    np.testing.assert_allclose(posterior.std()["a"], precision**-0.5, rtol=0.15)

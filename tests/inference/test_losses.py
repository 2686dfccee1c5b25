"""Losses: whatever their form, the exact log-ratio is where they are least."""

import itertools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.inference import (
    Balanced,
    BinaryCrossEntropy,
    Contrastive,
    NearMisses,
    Softmax,
)


# A joint law of theta (rows) and x (columns) in counts: every expectation is a finite
# sum over draws that are all listed, with no sampling error.
COUNTS = np.asarray([[1, 2, 0], [1, 0, 1], [1, 1, 2]])
PAIRS = np.repeat(np.indices((3, 3)).reshape(2, -1).T, COUNTS.ravel(), axis=0)
JOINT = COUNTS / COUNTS.sum()
EVIDENCE = JOINT.sum(0) * JOINT.sum(1)[:, None]
# Where p(theta, x) = 0 the ratio is minus infinity: far enough for float64.
EXACT = jnp.asarray(np.log(np.maximum(JOINT, 1e-30) / EVIDENCE))


def expected(loss):
    """The loss of a table of logits, over all pairs and all contrasts."""
    thetas = PAIRS[:, 0]
    contrasts = np.asarray(list(itertools.product(thetas, repeat=loss.contrasts)))
    theta, x = np.repeat(PAIRS, len(contrasts), axis=0).T
    others = np.tile(contrasts, (len(PAIRS), 1))

    @jax.jit
    def value(table):
        return loss(table[theta, x], table[others, x[:, None]])

    return value


LOSSES = [
    BinaryCrossEntropy(),
    BinaryCrossEntropy(contrasts=2),
    Contrastive(contrasts=1),
    Contrastive(contrasts=2),
    Contrastive(contrasts=3),
    Contrastive(contrasts=2, gamma=0.3),
    Contrastive(contrasts=2, gamma=4.0),
    Balanced(BinaryCrossEntropy()),
    Balanced(Contrastive(contrasts=2), strength=3.0),
]


@pytest.fixture(params=LOSSES, ids=repr, name="loss")
def _loss(request):
    return request.param


def test_the_log_ratio_is_stationary_and_nothing_else(loss):
    value = expected(loss)
    slope = jax.jit(jax.grad(value))
    np.testing.assert_allclose(slope(EXACT), 0, atol=1e-14)
    # Shifts by a constant, by a function of theta and by one of x (which classifiers
    # among thetas without a "none of them" would not see), and of a single entry.
    rng = np.random.default_rng(0)
    shifts = [np.full((3, 3), 0.1), np.asarray([[0.1], [0], [0]]) * np.ones(3)]
    shifts += [np.ones((3, 1)) * [0.0, 0.1, 0.0], 0.1 * rng.normal(size=(3, 3))]
    for shift in shifts:
        assert np.abs(slope(EXACT + shift)).max() > 1e-4
        assert value(EXACT + shift) > value(EXACT) + 1e-5


@pytest.mark.parametrize(
    "loss", [BinaryCrossEntropy(), Contrastive(2, gamma=0.3)], ids=repr
)
def test_the_log_ratio_is_found_from_anywhere(loss):
    value = expected(loss)
    table = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)))
    finite = COUNTS > 0
    table = jnp.where(finite, table, EXACT)

    @jax.jit
    def slope_and_curvature(table):
        part = lambda v: value(table.at[finite].set(v))  # noqa: E731
        return jax.grad(part)(table[finite]), jax.hessian(part)(table[finite])

    for _ in range(8):
        slope, curvature = slope_and_curvature(table)
        assert np.linalg.eigvalsh(curvature)[0] > 0
        table = table.at[finite].add(-np.linalg.solve(curvature, slope))
    np.testing.assert_allclose(table[finite], EXACT[finite], atol=1e-8)


LOGITS = hnp.arrays(float, (4, 3), elements=st.floats(-20, 20))


@hypothesis.given(hnp.arrays(float, 4, elements=st.floats(-20, 20)), LOGITS)
def test_one_contrast_at_even_odds_is_half_the_cross_entropy(joint, marginal):
    marginal = jnp.asarray(marginal[:, :1])
    entropy = BinaryCrossEntropy()(jnp.asarray(joint), marginal)
    contrastive = Contrastive(contrasts=1, gamma=1.0)(jnp.asarray(joint), marginal)
    np.testing.assert_allclose(contrastive, entropy / 2, rtol=1e-12)


@hypothesis.given(
    hnp.arrays(float, 4, elements=st.floats(-20, 20)), LOGITS, st.floats(0.1, 10)
)
def test_contrastive_is_the_formula_of_its_paper(joint, marginal, gamma):
    k = marginal.shape[1]
    # q(y | thetas, x) of equation 9: none of them, or the first.
    among = np.concatenate([joint[:, None], marginal[:, 1:]], 1)
    none = k / (k + gamma * np.exp(marginal).sum(1))
    first = gamma * np.exp(joint) / (k + gamma * np.exp(among).sum(1))
    value = -(np.log(none).mean() + gamma * np.log(first).mean()) / (1 + gamma)
    found = Contrastive(k, gamma)(jnp.asarray(joint), jnp.asarray(marginal))
    np.testing.assert_allclose(found, value, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_keep_a_gradient(loss, dtype):
    value_and_slopes = jax.jit(jax.value_and_grad(loss, (0, 1)))
    for logit in (0.0, 30.0, 200.0, 1e4, 1e20, -30.0, -200.0, -1e4, -1e20):
        joint = np.full(4, logit, dtype)
        marginal = np.full((4, loss.contrasts), -logit, dtype)
        value, slopes = value_and_slopes(joint, marginal)
        assert np.isfinite(value) and value.dtype == dtype
        assert all(np.isfinite(slope).all() for slope in slopes)
        if logit < -20:
            # Wrong with certainty: the gradient is at its largest, not gone.
            assert all(np.abs(slope.sum()) > 0.2 for slope in slopes)


def test_the_softmax_finds_the_ratio_up_to_a_function_of_the_observation():
    value = expected(Softmax(contrasts=2))
    slope = jax.grad(value)
    np.testing.assert_allclose(slope(EXACT), 0, atol=1e-15)
    moved = EXACT + np.asarray([[0.3, -1.0, 2.0]])
    np.testing.assert_allclose(value(moved), value(EXACT), rtol=1e-12)
    bent = EXACT + np.asarray([[0.1], [0], [0]])
    assert value(bent) > value(EXACT) + 1e-4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_softmax_keeps_a_gradient_at_extreme_logits(dtype):
    value_and_slopes = jax.jit(jax.value_and_grad(Softmax(3), (0, 1)))
    for logit in (30.0, 200.0, 1e20):
        for sign in (1, -1):
            joint = np.full(4, sign * logit, dtype)
            value, slopes = value_and_slopes(joint, np.zeros((4, 3), dtype))
            assert np.isfinite(value) and value.dtype == dtype
            assert all(np.isfinite(slope).all() for slope in slopes)
        np.testing.assert_allclose(slopes[0].sum(), -1, rtol=1e-5)


def test_balance_is_bought_with_its_strength():
    rng = np.random.default_rng(2)
    joint, marginal = rng.normal(size=6), rng.normal(size=(6, 2))
    sigmoid = lambda s: 1 / (1 + np.exp(-s))  # noqa: E731
    excess = sigmoid(joint).mean() + sigmoid(marginal).mean() - 1
    base = BinaryCrossEntropy(contrasts=2)
    plain, balanced = (
        loss(jnp.asarray(joint), jnp.asarray(marginal))
        for loss in (base, Balanced(base, 7.0))
    )
    np.testing.assert_allclose(balanced - plain, 7 * excess**2, rtol=1e-10)
    with pytest.raises(ValueError, match="`loss` is Softmax"):
        Balanced(Softmax())
    with pytest.raises(ValueError, match="`loss` is Softmax"):
        NearMisses(Softmax())
    with pytest.raises(ValueError, match="`strength` must be .* got -1"):
        Balanced(strength=-1.0)
    with pytest.raises(ValueError, match="`loss` is NearMisses, which draws"):
        NearMisses(NearMisses())


def test_the_loss_of_no_knowledge(loss):
    # All logits 0: every answer has the probability it has without looking, and an
    # even guess is balanced.
    value = loss(jnp.zeros(5), jnp.zeros((5, loss.contrasts)))
    loss = loss.loss if isinstance(loss, Balanced) else loss
    if isinstance(loss, BinaryCrossEntropy):
        expected_value = 2 * np.log(2)
    else:
        k, g = loss.contrasts, loss.gamma
        expected_value = np.log(1 + g) - g / (1 + g) * np.log(g / k)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)

"""Can a classifier tell two samples apart?"""

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.diagnostics._classifier import perceptron
from gl15.diagnostics._posteriors import embed_ensemble, HeldOut
from gl15.posterior import LogRatio


_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class TwoSample:
    """How well a classifier tells two samples apart.

    Attributes:
        accuracy: share of samples told right, by classifiers that were not trained on
            them: 0.5 for samples of one distribution, 1 for disjoint ones.
        null_quantile: 95% quantile of the accuracy for samples of one distribution.
        p: probability of at least this accuracy for samples of one distribution.
        count: number of samples, of both together.
        classifier: what told them apart.
    """

    accuracy: float
    null_quantile: float
    p: float
    count: int
    classifier: str

    def __float__(self) -> float:
        """The accuracy."""
        return self.accuracy


def c2st(
    a: Any,
    b: Any,
    *,
    key: PRNGKeyArray,
    classifier: Literal["auto", "sklearn", "jax"] = "auto",
) -> TwoSample:
    """Classifier two-sample test: accuracy in telling samples of `a` from those of `b`.

    The protocol of the public benchmarks: both standardised by the mean and deviation
    of `a`, which should be the reference; a perceptron with two hidden layers of ten
    times as many units as dimensions; the mean accuracy of five folds. With
    scikit-learn installed it is `MLPClassifier` with its defaults and the benchmarks'
    seed, and figures compare with published ones; without, a like network in JAX,
    trained a fixed time, whose figures differ by about 0.01.

    The null takes test outcomes for independent coin tosses, for which 0.5 ± 1/(2 sqrt
    n) is expected; folds share training data, which widens it by little.

    Args:
        a: reference samples, `[n, d]`.
        b: other samples, `[m, d]`; if there are more of one, the first are taken.
        key: random key of the JAX classifier.
        classifier: which; `"auto"` takes scikit-learn where it is installed.

    Returns:
        A `TwoSample`; `float(...)` of it is the accuracy.

    Raises:
        ValueError: if the samples are no two tables with the same columns.
        ModuleNotFoundError: if scikit-learn was asked for and is not installed.

    Reference:
        Lopez-Paz and Oquab, ICLR 2017; Lueckmann et al., Benchmarking simulation-based
        inference, AISTATS 2021.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if (
        a.ndim != 2
        or b.ndim != 2
        or a.shape[1] != b.shape[1]
        or min(*map(len, (a, b))) < 10
    ):
        raise ValueError(
            "`a` and `b` must be samples [n, d] with the same d and at least 10 rows, "
            f"got shapes {a.shape} and {b.shape}."
        )
    size = min(len(a), len(b))
    std = a.std(0, ddof=1)
    std = np.where(std > 0, std, 1)
    data = np.concatenate([a[:size], b[:size]])
    data = (data - a.mean(0)) / std
    label = np.repeat([0.0, 1.0], size)
    chosen = classifier if classifier != "auto" else _best()
    score = _sklearn if chosen == "sklearn" else _jax
    accuracy = float(score(data, label, key))
    spread = 0.5 / np.sqrt(len(data))
    return TwoSample(
        accuracy=accuracy,
        null_quantile=float(scipy.stats.norm.ppf(0.95, 0.5, spread)),
        p=float(scipy.stats.norm.sf(accuracy, 0.5, spread)),
        count=len(data),
        classifier=chosen,
    )


def reweighting_check(
    estimator: LogRatio,
    marginal: HeldOut,
    conditional: HeldOut,
    *,
    key: PRNGKeyArray,
    directions: int = 4,
) -> TwoSample:
    r"""Are images of all parameters, weighted by their ratio, those of one parameter?

    $$
    p(x)\, r(\theta, x) = p(x \mid \theta)
    $$

    Of the marginal images some are accepted, with probability proportional to their
    ratio at the parameters of the conditional ones; a classifier then tries to tell the
    accepted from the conditional images. It sees the leading directions of their
    features. A ratio that is wrong in width or place fails; what the features do not
    hold it cannot see.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        marginal: pairs with parameters drawn from the prior. Of a posterior with a
            hundredth of the prior's width about one in a hundred is accepted: give
            thousands.
        conditional: pairs that share one true parameter.
        key: random key of the acceptance and of the classifier.
        directions: number of directions.

    Returns:
        A `TwoSample`, with accuracy near 0.5 for a good ratio.

    Raises:
        ValueError: if the conditional parameters differ, or fewer than 40 images are
            accepted.

    Reference:
        Hermans, Begy and Louppe, Likelihood-free MCMC with amortized approximate ratio
        estimators, ICML 2020, arXiv 1903.04057.
    """
    prior = estimator.prior
    truth = {name: np.asarray(conditional.theta[name], float) for name in prior.names}
    if any(np.ptp(value) > 0 for value in truth.values()):
        raise ValueError(
            "`conditional.theta` must be one parameter for all images, got several; "
            "simulate images at one true value."
        )
    theta = {name: jnp.asarray(value[0]) for name, value in truth.items()}
    pool = embed_ensemble(estimator, marginal.x)
    log_ratio = np.asarray(_ratios(estimator, theta, pool), float)
    key_accept, key_test = jax.random.split(key)
    uniform = np.asarray(jax.random.uniform(key_accept, (len(pool),)))
    accepted = np.log(uniform) < log_ratio - log_ratio.max()
    if accepted.sum() < 40:
        raise ValueError(
            f"`marginal` has {len(pool)} images, of which {accepted.sum()} are "
            "accepted; at least 40 are needed: give more."
        )
    pool = np.asarray(pool, float)
    center = pool.mean(0)
    _, length, axes = np.linalg.svd(pool - center, full_matrices=False)
    kept = axes[:directions][length[:directions] > 1e-6 * length[0]]
    held = np.asarray(embed_ensemble(estimator, conditional.x), float)
    views = [(one - center) @ kept.T for one in (held, pool[accepted])]
    return c2st(*views, key=key_test, classifier="jax")


@eqx.filter_jit
def _ratios(estimator: LogRatio, theta: Any, features: Array) -> Float[Array, " n"]:
    return jax.lax.map(lambda h: estimator.log_ratio(theta, h), features, batch_size=64)


def _best() -> str:
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError:
        return "jax"
    return "sklearn"


def _sklearn(data: np.ndarray, label: np.ndarray, key: PRNGKeyArray) -> float:
    del key
    try:
        from sklearn.model_selection import cross_val_score, KFold
        from sklearn.neural_network import MLPClassifier
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            '`classifier="sklearn"` needs scikit-learn, which is not installed: '
            '`pip install "gl15[c2st]"`, or give classifier="jax".'
        ) from error
    width = 10 * data.shape[1]
    network = MLPClassifier((width, width), max_iter=10_000, random_state=1)
    folds = KFold(_FOLDS, shuffle=True, random_state=1)
    return cross_val_score(network, data, label, cv=folds, scoring="accuracy").mean()


def _jax(data: np.ndarray, label: np.ndarray, key: PRNGKeyArray) -> float:
    key_order, key_train = jax.random.split(key)
    order = np.asarray(jax.random.permutation(key_order, len(data)))
    folds = np.array_split(order, _FOLDS)
    shares = []
    for k, held in enumerate(folds):
        rest = np.concatenate([one for j, one in enumerate(folds) if j != k])
        rest = rest[: len(data) - len(folds[0])]  # one size: compiled once
        network = perceptron(
            jnp.asarray(data[rest]),
            jnp.asarray(label[rest]),
            key=jax.random.fold_in(key_train, k),
            width=10 * data.shape[1],
        )
        logit = jax.vmap(network)(jnp.asarray(data[held]))
        shares.append(np.mean((np.asarray(logit) > 0) == (label[held] > 0.5)))
    return float(np.mean(shares))

# %% [markdown]
# # Three couplings from one image
#
# The Josephson coupling, the field and the drag are read off a single image together:
# every marginal of the posterior, by one and by two, and what shapes it.

# %%
import json
from pathlib import Path
from typing import Annotated

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.figure import Figure

import gl15
from gl15 import plotting


# %% [markdown]
# An estimator of the three that comes with gl15 is loaded; `--estimator` names another.
# The image is one of the default sample, at the couplings of the paper's Fig. 3 but for
# the drag, which is better seen away from the edge of its prior.


# %%
def simulated(theta: dict[str, float], key: jax.Array) -> gl15.Observation:
    """An image of the default sample."""
    simulator = gl15.VortexSimulator(
        gl15.Lattice((64, 64), spacing=0.5, boundary="open"),
        gl15.TwoBand(diffusion=(4.0, 1.0)),
        t1=2.0,
        dt=0.05,
        solver=gl15.RungeKuttaChebyshev(stages=5),
    )
    x = np.asarray(simulator(theta, key))
    return gl15.Observation(x, simulator.spacing, simulator.channels)


# %% [markdown]
# A posterior is anisotropic where its principal axes differ in length. In units of the
# prior's widths, so that the three can be compared: standard deviations, correlations,
# and the axes themselves, the stiffest first.


# %%
def shape(posterior, prior: gl15.Prior, key: jax.Array) -> dict:
    """Widths, correlations and principal axes of a posterior."""
    draws = posterior.sample(key, (20_000,))
    names = posterior.names
    scaled = np.stack(
        [
            np.asarray(draws[name]) / (prior.bounds[name][1] - prior.bounds[name][0])
            for name in names
        ],
        1,
    )
    covariance = np.cov(scaled.T)
    variances, axes = np.linalg.eigh(covariance)
    correlation = np.asarray(np.corrcoef(scaled.T))
    return {
        "std": {name: float(posterior.std()[name]) for name in names},
        "std_of_prior_width": dict(
            zip(names, np.sqrt(np.diag(covariance)).tolist(), strict=True)
        ),
        "correlation": {
            f"{names[i]}, {names[j]}": float(correlation[i, j])
            for i, j in zip(*np.triu_indices(len(names), 1), strict=True)
        },
        "axis_lengths": np.sqrt(variances).tolist(),
        "axes": axes.T.tolist(),
    }


# %% [markdown]
# On the diagonal each parameter alone, below it each pair. Every panel is a marginal of
# one density on a grid, so that they agree to rounding.


# %%
def corner(posterior, truth: dict[str, float]) -> Figure:
    """All marginals of one and of two parameters."""
    names = posterior.names
    count = len(names)
    fig, axes = plt.subplots(
        count,
        count,
        figsize=(2.8 * count, 2.5 * count),
        layout="constrained",
        squeeze=False,
    )
    for row in range(count):
        for column in range(count):
            ax = axes[row, column]
            if column > row:
                ax.remove()
            elif column == row:
                plotting.plot_posterior(posterior, names[row], truth=truth, ax=ax)
            else:
                pair = names[column], names[row]
                plotting.plot_joint(posterior, pair, truth=truth, ax=ax)
            if column <= row:
                ax.locator_params(nbins=4)
                ax.get_legend().remove()
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="upper right", frameon=False
    )
    return fig


def main(
    eta: float = 0.8,
    field: float = 0.04,
    drag: float = 0.2,
    estimator: Annotated[Path | None, tyro.conf.arg(metavar="estimator.npz")] = None,
    out: Path = Path("runs/joint_posterior"),
    seed: int = 0,
) -> dict:
    """Read three couplings off one image.

    Args:
        eta: Josephson coupling of the image.
        field: its magnetic field.
        drag: its drag.
        estimator: an estimator's file; by default the one that comes with gl15.
        out: folder of the figures and the numbers.
        seed: seed of the image.
    """
    trained = (
        gl15.load_pretrained("eta-B-nu") if estimator is None else gl15.load(estimator)
    )
    x_key, draw_key = jax.random.split(jax.random.key(seed))
    truth = {"eta": eta, "B": field, "nu": drag}
    for name, (low, high) in trained.prior.bounds.items():
        if not low <= truth[name] <= high:
            raise SystemExit(
                f"{name} = {truth[name]:g} is outside the prior that the estimator was "
                f"trained on, {low:g} to {high:g}: give a value within."
            )
    observation = simulated(truth, x_key)
    # The drag known: the posterior on a sheet so thin that nothing varies across it.
    thin = {"nu": (drag, drag + 1e-3) if drag < 0.2 else (drag - 1e-3, drag)}
    posteriors = {
        "joint": gl15.grid_posterior(trained, observation),
        "drag_known": gl15.grid_posterior(
            trained, observation, {"eta": 128, "B": 128, "nu": 4}, bounds=thin
        ),
    }
    out.mkdir(parents=True, exist_ok=True)
    sha256 = gl15.inference.fingerprint(trained)
    results: dict = {"estimator_sha256": sha256, "truth": truth}
    for name, posterior in posteriors.items():
        results[name] = shape(posterior, trained.prior, draw_key)
        for one, std in results[name]["std"].items():
            mean = float(posterior.mean()[one])
            print(f"{name}: {one} = {mean:.4f} ± {std:.4f}, true {truth[one]:.4f}")
    fig = corner(posteriors["joint"], truth)
    fig.savefig(out / "marginals.png", dpi=150)
    fig, ax = plt.subplots(figsize=(4.2, 3.4), layout="constrained")
    plotting.plot_joint(posteriors["drag_known"], ("eta", "B"), truth=truth, ax=ax)
    fig.savefig(out / "drag_known.png", dpi=150)
    plt.close("all")
    (out / "results.json").write_text(json.dumps(results, indent=2))
    print(f"see {out}")
    return results


if __name__ == "__main__":
    tyro.cli(main)

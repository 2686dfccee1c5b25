# %% [markdown]
# # From an image to a posterior, with an estimator that is trained already
#
# gl15 comes with estimators for the default sample. This reads one image with them, in
# seconds: `make run` starts it, `--image` names a file of your own.

# %%
import json
from pathlib import Path
from typing import Annotated, Literal

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro

import gl15
from gl15 import plotting


# %% [markdown]
# The estimator knows the spacing and the channels of its images, the prior, and which
# images it has never seen the like of: for those there is a warning with the posterior.


# %%
def simulated(estimator, key: jax.Array) -> tuple[gl15.Observation, dict[str, float]]:
    """An image of the default sample, at parameters drawn from the prior."""
    # Euler steps of 0.001, which compile sooner than the Chebyshev steps of training:
    # the two differ by a tenth of a standard deviation of B, by less in eta and nu.
    simulator = gl15.VortexSimulator(
        gl15.Lattice((64, 64), spacing=0.5, boundary="open"),
        gl15.TwoBand(diffusion=(4.0, 1.0)),
        field=0.04,
        t1=2.0,
    )
    theta_key, x_key = jax.random.split(key)
    theta = estimator.prior.sample(theta_key)
    x = np.asarray(simulator(theta, x_key))
    observation = gl15.Observation(x, simulator.spacing, simulator.channels)
    return observation, {name: float(value) for name, value in theta.items()}


def main(
    name: Literal["eta", "eta-B-nu"] = "eta",
    image: Annotated[Path | None, tyro.conf.arg(metavar="observation.npz")] = None,
    out: Path = Path("runs/read_image"),
    seed: int = 0,
) -> dict[str, float | str]:
    """Read the couplings off an image.

    Args:
        name: which trained estimator.
        image: the image: an .npz with x [nx, ny, 3] and spacing, as
            `gl15.save_observation` writes it. By default one is simulated.
        out: folder of the figure and the numbers.
        seed: seed of the simulated image.
    """
    estimator, truth = gl15.load_pretrained(name), {}
    if image is None:
        observation, truth = simulated(estimator, jax.random.key(seed))
    else:
        try:
            observation = gl15.load_observation(image)
            estimator.check_image(
                observation.x,
                spacing=observation.spacing,
                channel_names=observation.channels,
            )
        except (OSError, ValueError) as error:
            raise SystemExit(f"error: {error}") from error
    posterior = gl15.grid_posterior(estimator, observation.x)

    results: dict[str, float | str] = {
        "estimator_sha256": gl15.inference.fingerprint(estimator),
        "p_value": float(estimator.p_value(observation.x)),
    }
    for one in estimator.prior.names:
        low, high = posterior.interval(0.95)[one]
        mean, std = float(posterior.mean()[one]), float(posterior.std()[one])
        results |= {one: mean, f"{one}_std": std}
        true = f", true value {truth[one]:.4f}" if truth else ""
        print(f"{one} = {mean:.4f} ± {std:.4f}, 95% [{low:.4f}, {high:.4f}]{true}")
    print(f"images of the training at least as unusual: {results['p_value']:.2f}")

    out.mkdir(parents=True, exist_ok=True)
    names = estimator.prior.names
    wide = 3 + len(names)
    fig, axes = plt.subplots(1, wide, figsize=(3.2 * wide, 3.2), layout="constrained")
    plotting.plot_image(observation.x, spacing=observation.spacing, axes=axes[:3])
    for one, ax in zip(names, axes[3:], strict=True):
        plotting.plot_posterior(posterior, one, truth=truth.get(one), ax=ax)
    fig.savefig(out / "posterior.png", dpi=150)
    plt.close(fig)
    (out / "results.json").write_text(json.dumps(results, indent=2))
    print(f"see {out / 'posterior.png'}")
    return results


if __name__ == "__main__":
    tyro.cli(main)

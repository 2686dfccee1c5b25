"""Figures and text of the main job's report."""

from pathlib import Path

import jax
import matplotlib.pyplot as plt

import gl15
from gl15 import plotting
from gl15.diagnostics import Coverage, RankCheck, RecoveryTable
from gl15.posterior import GridPosterior


# What others reach with images of the same sample (mean absolute error of eta).
ELSEWHERE = {
    "the paper's network, five images": 0.113,
    "nine hand-made summaries, quadratic and cubic regression": 0.031,
    "121 spectral summaries, perceptron, 18,000 images": 0.0184,
}


def figures(
    out: Path,
    observation: gl15.Observation,
    posterior: GridPosterior,
    truth: float | None,
    examples: dict[float, GridPosterior],
    bins: RecoveryTable,
    ranks: dict[str, jax.Array],
    key: jax.Array,
) -> None:
    """Draw the image, posteriors, error and width over eta, and the SBC curve."""
    fig, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    plotting.plot_image(observation.x, spacing=observation.spacing, axes=axes)
    fig.savefig(out / "image.png", dpi=150)

    fig, axes = plt.subplots(2, 3, figsize=(10, 5.6), layout="constrained")
    panels = {rf"$\eta^* = {true}$": (one, true) for true, one in examples.items()}
    panels["the image read"] = (posterior, truth)
    for ax, (title, (one, true)) in zip(axes.flat, panels.items(), strict=False):
        plotting.plot_posterior(one, truth=true, ax=ax)
        ax.legend().remove()  # one legend below serves all panels
        ax.set_title(title)
    fig.legend(
        *axes.flat[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    fig.savefig(out / "posteriors.png", dpi=150)

    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    plotting.plot_recovery(bins, axes=tuple(axes))
    fig.savefig(out / "recovery.png", dpi=150)

    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    plotting.plot_coverage(ranks, key=key, ax=left)
    plotting.plot_sbc(ranks, key=key, ax=right)
    fig.savefig(out / "sbc.png", dpi=150)
    plt.close("all")


def report(
    simulator: gl15.VortexSimulator,
    results: dict,
    table: RecoveryTable,
    check: RankCheck,
    cover: Coverage,
) -> str:
    """The report as Markdown."""
    image, error = results["image"], results["test"]["mean_abs_error"]
    baselines = "\n".join(f"| {who} | {value} |" for who, value in ELSEWHERE.items())
    truth = "" if image["truth"] is None else f" (true value {image['truth']:.4f})"
    times = results["seconds"] | image["seconds"]
    seconds = "\n".join(f"| {k} | {v:.2f} |" for k, v in times.items())
    low, high = image["interval_95"]
    lattice = simulator.lattice
    return f"""# Recovering the Josephson coupling: plan `{results["plan"]["name"]}`

Sample of {lattice.shape[0]} x {lattice.shape[1]} sites, dx = {lattice.spacing},
{lattice.boundary} boundary, B = {simulator.field}, t = {simulator.t1},
dt = {simulator.dt}; eta ~ U(0, 1.5).
All images below were held out.
gl15 {results["versions"]["gl15"]}, jax {results["versions"]["jax"]}.

## The image read

`{image["path"]}`: eta = {image["mean"]:.4f} ± {image["std"]:.4f}{truth}, 95% interval
[{low:.4f}, {high:.4f}].
By NUTS: {image["nuts_mean"]:.4f} ± {image["nuts_std"]:.4f}.

![The image](image.png)

## Error of eta, uniform in 0-1.5, {results["test"]["images"]} images

| method | mean absolute error |
|---|---|
| **this estimator** | **{error:.4f}** |
| log mean density, cubic regression (this run's images) | {results["baseline"]:.4f} |
{baselines}

## Recovery at fixed eta (the columns of the paper's Table I)

{table.to_markdown()}

![Posteriors](posteriors.png)

![Error and interval width over eta](recovery.png)

## Calibration

On the {results["sbc"]["images"]} calibration images, the figure too:

{check.to_markdown()}

![Coverage and simulation-based calibration](sbc.png)

On the {results["test"]["images"]} test images:

{cover.to_markdown()}

## Time of this run

Stages found in the folder are read, not repeated. Training took
{results["training"]["seconds"]:.0f} s when it was done.

| step | seconds |
|---|---|
{seconds}

Simulation: {results["site_updates_per_second"]:.3g} site-updates/s on all cores.
"""

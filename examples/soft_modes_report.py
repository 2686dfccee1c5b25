"""Figures and text of the report on soft modes."""

import dataclasses
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import gl15
from gl15 import plotting
from gl15.spectra import count_below, DensityOfStates, Hessian, ModeCharacter, Modes


@dataclasses.dataclass(frozen=True)
class Panel:
    """One sample's states and modes, to be drawn."""

    tdgl: gl15.TDGL
    before: Hessian
    after: Hessian
    levels: np.ndarray
    vortices: gl15.observables.Vortices
    modes: Modes
    character: ModeCharacter


KINDS = ("snapshot", "stationary", "uniform")
COLORS = ("#D55E00", "#0072B2", "#7F7F7F")


def pictures(
    out: Path, rows: list[dict], shown: Panel, densities: dict[str, DensityOfStates]
) -> None:
    """Densities of states, counts over flux, and the softest modes."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for (label, one), color in zip(densities.items(), COLORS, strict=True):
        plotting.plot_spectrum(one, label=label, color=color, ax=left)
    grid = np.linspace(-2.0, 2.0, 26)  # not at 0, where the zero mode is
    counts = (
        [count_below(shown.before, x) for x in grid],
        [count_below(shown.after, x) for x in grid],
        np.searchsorted(shown.levels, grid),
    )
    for label, count, color in zip(densities, counts, COLORS, strict=True):
        right.step(grid, count, where="mid", color=color, label=label)
    right.axvline(0, color="0.5", linewidth=0.8, linestyle="--")
    right.set(xlabel=r"$\lambda$", ylabel=r"modes below $\lambda$")
    right.set_yscale("symlog", linthresh=10)
    right.set_ylim(0)
    fig.savefig(out / "densities.png", dpi=150)

    spacing = shown.tdgl.lattice.spacing
    # Without the common phase, which moves nothing.
    soft = [i for i, zero in enumerate(shown.character.zero) if not zero][:6]
    what = {"vortices": shown.vortices, "character": shown.character}
    look = {"spacing": spacing, "longest": 2.0, "legend": False}
    with plotting.style():
        fig, axes = plt.subplots(2, 3, figsize=(9, 5.6), layout="constrained")
        for ax, mode in zip(axes.flat, soft, strict=True):
            plotting.plot_mode(shown.modes, mode, **what, **look, ax=ax)
        fig.savefig(out / "modes.png", dpi=150)

    thresholds = list(rows[0]["uniform"]["fraction_below"])
    fig, axes = plt.subplots(
        1, len(thresholds), figsize=(3.6 * len(thresholds), 3.4), layout="constrained"
    )
    for ax, threshold in zip(axes, thresholds, strict=True):
        for kind, color in zip(KINDS, COLORS, strict=True):
            counts = [r[kind]["fraction_below"][threshold] * r["modes"] for r in rows]
            ax.plot([r["quanta"] for r in rows], counts, "o", color=color, label=kind)
        n = np.linspace(0, max(r["quanta"] for r in rows))
        ax.plot(n, 2 * n + 1, color="0.5", lw=0.8, label="2n + 1")
        ax.set(xlabel="flux quanta n", ylabel=rf"modes below {threshold}")
        ax.set_yscale("symlog", linthresh=10)
        ax.set_ylim(0)
    axes[0].legend(frameon=False)
    fig.savefig(out / "counts.png", dpi=150)
    plt.close("all")


def report(results: dict) -> str:
    """The report as Markdown, every number from the run."""
    rows, plan = results["samples"], results["plan"]
    thresholds = [str(t) for t in plan["thresholds"]]
    middle = thresholds[len(thresholds) // 2]
    size = rows[0]["modes"]
    time = f"t = {plan['snapshot']:g}"
    saddles = sum(row["stationary"]["negative"] > 0 for row in rows)
    percent = {
        kind: _range([100 * row[kind]["fraction_below"][middle] for row in rows], ".2f")
        for kind in KINDS
    }
    shown = next(r for r in rows if [r["eta"], r["quanta"]] == list(plan["shown"]))
    below = round(shown["snapshot"]["fraction_below"][middle] * size)
    norms = _range([row["snapshot"]["gradient_norm"] for row in rows], ".2f")
    negative = _range([row["snapshot"]["negative"] for row in rows], "d")
    moving = [_count(row, "vortex", "translation") / row["quanta"] for row in rows]
    softest = _range([_softest(row) for row in rows])
    uniform = _range([row["uniform"]["softest"] for row in rows])
    versions = results["versions"]
    return f"""# Soft modes of vortex states: plan `{plan["name"]}`

Torus of {plan["sites"]} x {plan["sites"]} sites, dx = 0.5, D = (4, 1), {size} modes;
one quench per flux, the same at every eta. Every count is exact (inertia of a sparse
factorisation). Eigenvalues are of the Hessian per cell, twice the relaxation rates.

## What the proliferation of soft modes amounts to

1. **At the snapshot, {time}, there are no soft modes to count.** It is not stationary:
   its gradient norm is {norms}, and {negative} directions have negative curvature.
   That is where the state is still falling to; negative directions are not soft modes.
   At eta = {shown["eta"]}, n = {shown["quanta"]} they make up
   {shown["snapshot"]["negative"]} of the {below} directions below {middle}. The paper
   does not say that its configuration was stationary.
2. **At the stationary states they are gone:** {saddles} of {len(rows)} states keep any.
   Below {middle} lie {percent["stationary"]}% of all modes, where the snapshot has
   {percent["snapshot"]}% and the uniform state {percent["uniform"]}%. Such a spectrum
   is not dominated by near-zero modes.
3. **What is soft is the motion of vortices.** Per vortex {_range(moving, ".1f")} of the
   lowest modes are named so: a vortex has two displacements, and its two bands' cores
   two more against each other. Some of these modes are soft indeed: the softest lie at
   {softest}, the uniform state's first at {uniform}. But there are no more of them than
   displacements of cores.
4. One mode is zero by symmetry, the common phase. Translations are not zero modes of a
   torus with flux: its vector potential is fixed, and moving all vortices together
   makes a uniform current.

![Densities of states, and modes below a threshold](densities.png)

## Fraction of modes below a threshold, in percent

`uniform` is the uniform state's own fraction at the same eta and size, exactly.

{_fractions(rows, thresholds, time)}

![Modes below each threshold over flux](counts.png)

## The lowest modes of the stationary states

Vortices of each band; modes named vortex motion or translation by their overlap; the
softest mode that is not zero, and the uniform state's; the curvature of the translation
along x; the largest residual.

| eta | n | vortices | vortex motion | softest | uniform | translation | residual |
|---|---|---|---|---|---|---|---|
{_lowest(rows)}

![The softest modes: weight, and how far the vortices move](modes.png)

Of eta = {shown["eta"]}, n = {shown["quanta"]}: squared norm of the mode, 1 on average;
arrows for the displacements of the vortices of band 1 (blue) and band 2 (orange), the
longest drawn 2 long times the root of the share of the mode that moves vortices as they
are, which is said above.

{results["seconds"]:.0f} s, gl15 {versions["gl15"]}, jax {versions["jax"]}.
"""


def _fractions(rows: list[dict], thresholds: list[str], time: str) -> str:
    columns = [f"{kind} < {t}" for t in thresholds for kind in KINDS]
    names = ["eta", "n", f"gradient norm, {time}", "negative there"]
    names += ["negative when stationary", *columns]
    lines = [names, ["---"] * len(names)]
    for row in rows:
        before, after = row["snapshot"], row["stationary"]
        line = [row["eta"], row["quanta"], f"{before['gradient_norm']:.2f}"]
        line += [before["negative"], after["negative"]]
        for t in thresholds:
            line += [f"{100 * row[kind]['fraction_below'][t]:.3f}" for kind in KINDS]
        lines.append(line)
    return _table(lines)


def _lowest(rows: list[dict]) -> str:
    lines = []
    for row in rows:
        state = row["stationary"]
        line = [row["eta"], row["quanta"], state["vortices"]]
        line += [_count(row, "vortex", "translation"), f"{_softest(row):.4f}"]
        line += [f"{row['uniform']['softest']:.4f}"]
        line += [f"{state['symmetries'].get('translation x', np.nan):.3f}"]
        lines.append([*line, f"{state['largest_residual']:.0e}"])
    return _table(lines)


def _table(lines: list[list]) -> str:
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _range(values: list, form: str = ".3f") -> str:
    low, high = (format(end(values), form) for end in (min, max))
    return low if low == high else f"{low} to {high}"


def _count(row: dict, *names: str) -> int:
    return sum(name in names for name in row["stationary"]["names"])


def _softest(row: dict) -> float:
    state = row["stationary"]
    pairs = zip(state["lowest"], state["zero"], strict=True)
    return min(value for value, zero in pairs if not zero)

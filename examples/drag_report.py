"""Figures and text of the report on the drag's fingerprint."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np


COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def pictures(
    out: Path, results: dict, k: np.ndarray, spectra: dict[float, tuple]
) -> None:
    """Ratios over time, spectra with and without drag, and information over time."""
    _draw_ratios(out, results)
    _draw_spectra(out, results, k, spectra)
    _draw_information(out, results)
    plt.close("all")


def _draw_ratios(out: Path, results: dict) -> None:
    rows, centres = results["suppression"], results["centres"]
    times, shown = np.asarray(results["plan"]["times"]), _shown(results)
    one = centres.index(1.0)
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    panels = (
        [(shown, i, f"$k \\approx {k:g}$") for i, k in enumerate(centres)],
        [
            (row, one, f"$\\nu = {row['nu']:g}$")
            for row in rows
            if row["eta"] == shown["eta"]
        ],
        [
            (row, one, f"$\\eta = {row['eta']:g}$")
            for row in rows
            if row["nu"] == shown["nu"]
        ],
    )
    eta, nu = f"$\\eta = {shown['eta']:g}$", f"$\\nu = {shown['nu']:g}$"
    titles = (f"{eta}, {nu}", f"{eta}, $k \\approx 1$", f"{nu}, $k \\approx 1$")
    for ax, curves, title in zip(axes, panels, titles, strict=True):
        for (row, i, label), color in zip(curves, COLORS, strict=False):
            low, high, ratio = (
                np.asarray(row[key])[:, i] for key in ("low", "high", "ratio")
            )
            ax.fill_between(times, low, high, color=color, alpha=0.3, linewidth=0)
            ax.plot(times, ratio, color=color, linewidth=1.3, label=label)
        ax.axhline(1, color="0.5", linewidth=0.8, linestyle="--")
        ax.set(xscale="log", xlabel="$t$", title=title)
    if (others := results["agreement"]) is not None:
        for published in others["published"]:
            axes[1].plot(others["times"], published, "k.", markersize=5, zorder=3)
        axes[1].plot([], [], "k.", label="independent, 24 runs")
    for ax in axes:
        ax.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("$S$ with drag / $S$ without")
    fig.savefig(out / "ratios.png", dpi=150)


def _draw_spectra(out: Path, results: dict, k: np.ndarray, spectra: dict) -> None:
    times = results["plan"]["times"]
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (nu, (near_one, total)), color in zip(spectra.items(), COLORS, strict=False):
        left.plot(times, near_one, ".-", color=color, label=f"$\\nu = {nu:g}$")
        for t, style in zip((1.0, 2.0, times[-1]), (":", "--", "-"), strict=True):
            label = f"$t = {t:g}$" if nu == 0 else None
            at = times.index(t)
            right.plot(k, total[at], style, color=color, marker=".", label=label)
    left.set(yscale="log", xscale="log", xlabel="$t$", ylabel="$S(k \\approx 1)$")
    right.set(yscale="log", xlabel="$k$", ylabel="$S(k)$")
    left.legend(frameon=False)
    right.legend(frameon=False)
    left.set_title(f"$\\eta = {_shown(results)['eta']:g}$")
    right.set_title(left.get_title())
    fig.savefig(out / "spectra.png", dpi=150)


def _draw_information(out: Path, results: dict) -> None:
    found, times = results["information"], results["plan"]["times"]
    eta = f"{_shown(results)['eta']:g}"
    fig, axes = plt.subplots(1, 3, figsize=(11.5, 4.2), layout="constrained")
    for (name, rows), color in zip(found["by_eta"][eta].items(), COLORS, strict=True):
        _draw_errors(axes[0], times, rows, color, name)
    for (one, readings), color in zip(found["by_eta"].items(), COLORS, strict=False):
        rows = list(readings.values())[1]
        _draw_errors(axes[1], times, rows, color, f"$\\eta = {one}$")
    for name, style in (("known", "-"), ("joint", "--")):
        readings = results["regression"][name].items()
        for (reading, rows), color in zip(readings, COLORS, strict=False):
            bits = [row["bits"] for row in rows]
            label = reading if name == "known" else None
            axes[2].plot(times, bits, style, color=color, label=label)
    titles = (f"$\\eta = {eta}$", list(found["by_eta"][eta])[1], "regression")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(xscale="log", xlabel="$t$", title=title)
        ax.plot([], [], "--", color="0.5", label="$\\eta$ unknown")
        ax.legend(frameon=False, fontsize=7)
    for ax in axes[:2]:
        ax.set(
            yscale="log",
            ylabel=f"error of $\\nu$ from one image, $\\nu = {found['nu']:g}$",
        )
    # Room for the legends.
    axes[0].set_ylim(top=200)
    axes[2].set_ylim(top=5)
    axes[2].set_ylabel(r"$I(\nu; x)$ at least, bits")
    fig.savefig(out / "information.png", dpi=150)


def _draw_errors(ax, times: list, rows: list[dict], color: str, label: str) -> None:
    for name, style in (("known", "-"), ("joint", "--")):
        value = np.array([row[name] for row in rows], float)
        error = np.array([row[f"{name}_error"] for row in rows], float)
        shown = label if name == "known" else None
        ax.plot(times, value, style, color=color, linewidth=1.3, label=shown)
        # Where the error reaches the value there is no band on a logarithmic scale.
        low = np.maximum(value - error, 0.3 * value)
        ax.fill_between(times, low, value + error, color=color, alpha=0.2, linewidth=0)


def report(results: dict) -> str:
    """The report as Markdown, every number from the run."""
    plan, shown = results["plan"], _shown(results)
    centres, courses = results["centres"], shown["course"]
    one = centres.index(1.0)
    near, end = courses[one], plan["times"][-1]
    theta = f"eta = {shown['eta']:g}, nu = {shown['nu']:g}"
    by_theta = [
        (f"{row['eta']:g} | {row['nu']:g}", row["course"][one])
        for row in results["suppression"]
    ]
    by_k = [(f"{k:g}", c) for k, c in zip(centres, courses, strict=True)]
    lowest = [ratio[0] for ratio in results["low_k"]["ratio"]]
    versions, seconds = results["versions"], sum(results["seconds"].values())
    return f"""# The fingerprint of the drag: plan `{plan["name"]}`

Torus of {plan["sites"]} x {plan["sites"]} sites, dx = 0.5, D = (4, 1),
{plan["quanta"]} flux quanta, dt = {plan["dt"]:g}; total density; {plan["runs"]} runs
at each theta, begun from the same noise with and without drag. Rings of
|k - centre| < 0.2.

Bands and errors are of a bootstrap over runs that draws both runs of a pair together.
`unpaired` draws them apart: what {plan["runs"]} quenches with drag and as many others
without would show. Half the time step changes no ratio by more than
{results["step_check"]:.4f}.

## What Fig. 4 amounts to

At {theta}:

1. **S(k ~ 1) while the sample condenses.** The suppression begins by t =
   {_time(near["begins"])} (first above 3 sigma; unpaired:
   {_time(near["begins_unpaired"])}). It is deepest at t = {near["peak"]:.2f} ±
   {near["peak_error"]:.2f}, with a ratio of
   {near["ratio"]:.3f} ± {near["error"]:.3f}: {near["sigma"]:.0f} sigma, unpaired
   {near["sigma_unpaired"]:.0f}. The ratio rises through 0.9 at t =
   {_time(near["fades"])}.
2. **What is left of it.** At t = {end:g} the ratio is {near["last"]:.3f} ±
   {near["last_error"]:.3f}; at k ~ {_list(centres)} it is
   {_list([c["last"] for c in courses], ".2f")}. {_left(courses, centres)}
3. **Hyperuniform?** At their deepest these ratios are
   {_list([c["ratio"] for c in courses], ".2f")}; the lowest ring's, k ~
   {results["low_k"]["k"][0]:.2f}, is {min(lowest):.2f}. A tendency to hyperuniformity
   would be strongest as k goes to 0.
4. **In part a delay.** {_delay(results, shown, one)}

![Ratios over time](ratios.png)

![Spectra with and without drag](spectra.png)

{_agreement(results)}## When it begins, is deepest and fades: S(k ~ 1)

`begins`: first saved time above 3 sigma. `fades`: when the ratio rises through 0.9.
`ends`: first saved time after the deepest below 2 sigma. In brackets: unpaired.

{_courses(by_theta, "eta | nu")}

## Other k, {theta}

{_courses(by_k, "k")}

{_information(results)}
{seconds:.0f} s in this call, which takes finished runs from its folder; gl15
{versions["gl15"]}, jax {versions["jax"]}.
"""


def _left(courses: list[dict], centres: list[float]) -> str:
    last = [course["last"] for course in courses]
    if not last[0] > 1 > last[-1]:
        return ""
    # The ratios fall with k, np.interp wants them to rise.
    crossing = np.interp(-1, -np.array(last), centres)
    return (
        "What the drag does\n   to the late S(k) changes sign near k = "
        f"{crossing:.2f}: a trace that stays on either side."
    )


def _agreement(results: dict) -> str:
    if (others := results["agreement"]) is None:
        return ""
    lines = [["nu", "t", "this run", "theirs", "off, paired", "off, unpaired"]]
    lines.append(["---"] * len(lines[0]))
    for i, nu in enumerate(others["nus"]):
        for j, t in enumerate(others["times"]):
            line = [f"{nu:g}", f"{t:g}", f"{others['ratio'][i][j]:.3f}"]
            line.append(f"{others['published'][i][j]:.2f}")
            for kind in ("paired", "unpaired"):
                off, error = (others[kind][key][i][j] for key in ("off", "error"))
                line.append(f"{off:+.1f} of {error:.3f}")
            lines.append(line)
    paired, unpaired = others["paired"], others["unpaired"]
    return f"""## Against an independent implementation, 24 runs each

S(k ~ 1) at eta = 0.8. The errors of the other are not known: they are taken as those
of 24 runs of these, paired or not, with the rounding to two digits. `off` is the
difference in standard errors. All points share their runs: chi-square with the whole
covariance is
{paired["chi_square"]:.1f} for {len(lines) - 2} points, p = {paired["p"]:.2f}; unpaired
{unpaired["chi_square"]:.1f}, p = {unpaired["p"]:.2f}.

{_table(lines)}

"""


def _information(results: dict) -> str:
    found, times = results["information"], results["plan"]["times"]
    eta = f"{_shown(results)['eta']:g}"
    readings, regression = found["by_eta"][eta], results["regression"]
    names = [f"{name}, {kind}" for kind in ("known", "joint") for name in readings]
    lines = [["t", *names], ["---"] * (1 + len(names))]
    for t, when in enumerate(times):
        cells = [
            _sigma(rows[t], kind)
            for kind in ("known", "joint")
            for rows in readings.values()
        ]
        lines.append([f"{when:g}", *cells])
    pairs = [(k, name) for k in ("known", "joint") for name in regression["known"]]
    bits = [["t", *(f"{name}, {kind}" for kind, name in pairs)]]
    bits.append(["---"] * len(bits[0]))
    for t, when in enumerate(times):
        rows = [regression[kind][name][t] for kind, name in pairs]
        cells = [f"{row['error']:.3f} ({row['bits']:.1f})" for row in rows]
        bits.append([f"{when:g}", *cells])
    best = [
        f"- {name}: {_best(rows, times, 'known')}; eta unknown: "
        f"{_best(rows, times, 'joint')}"
        for name, rows in readings.items()
    ]
    smallest = "\n".join(best)
    return f"""## How much of nu one image holds

Cramer-Rao errors of nu at nu = {found["nu"]:g} from the Fisher information
$(\\partial\\mu)^T C^{{-1}} \\partial\\mu$ of what is read, a lower bound on that of the
image; `known`: eta = {eta} is known, `joint`: it is not. The smallest:

{smallest}

Without noise the spectra of the two bands are tied to each other so closely that the
couplings show in the ties; the reading known to 5% is closer to what an instrument
leaves. {_convergence(found["steps"], times)}

![Information over time](information.png)

{_table(lines)}

A quadratic regression on {results["plan"]["random"]} runs with nu uniform in 0 to
{regression["width"]:g}: error on runs left out, and the bits of mutual information that
it proves. `joint`: eta is uniform in 0 to 1.5 and not told. Knowing nothing has an
error of {regression["width"] / np.sqrt(12):.3f}; from
{regression["width"] / np.sqrt(2 * np.pi * np.e):.3f} on the bound is 0, which proves
nothing either way.

{_table(bits)}
"""


def _convergence(steps: dict[str, list[dict]], times: list) -> str:
    *_, (before, coarse), (step, fine) = steps.items()
    worst = {}
    for name in ("known", "joint"):
        changes = [
            (abs(a[name] / b[name] - 1), t)
            for a, b, t in zip(coarse, fine, times, strict=True)
            if a[name] and b[name]
        ]
        worst[name] = max(changes, default=(np.nan, np.nan))
    told = [f"{change:.1%} ({name}, t = {t:g})" for name, (change, t) in worst.items()]
    return (
        f"Derivatives are central differences of step {step};\nwith {before} the "
        f"errors from everything read differ by at most {' and '.join(told)}."
    )


def _best(rows: list[dict], times: list, name: str) -> str:
    known = [(row[name], t) for row, t in zip(rows, times, strict=True) if row[name]]
    if not known:
        return "none"
    error, when = min(known)
    return f"{error:.4f} at t = {when:g}"


def _sigma(row: dict, name: str) -> str:
    if row[name] is None:
        return ""
    error = row[f"{name}_error"]
    return f"{row[name]:.4f}" + ("" if error is None else f" ± {error:.4f}")


def _delay(results: dict, shown: dict, one: int) -> str:
    ratio = np.asarray(shown["ratio"])[:, one]
    density = np.asarray(shown["density"])
    at = int(np.argmin(ratio))
    share = 2 * np.log(density[at]) / np.log(ratio[at])
    return (
        f"With drag there is less condensate at t = {results['plan']['times'][at]:g}: "
        f"{density[at]:.3f} of the mean density\n   without. Its square accounts for "
        f"{share:.0%} of the logarithm of the ratio; S over the density squared has "
        f"a\n   ratio of {ratio[at] / density[at] ** 2:.3f}."
    )


def _courses(rows: list[tuple[str, dict]], head: str) -> str:
    names = ["begins", "deepest at", "ratio there", "sigma", "fades", "ends", "last"]
    lines = [[head, *names], ["---"] * (len(names) + head.count("|") + 1)]
    for name, c in rows:
        fades = _time(c["fades"])
        if c["fades_error"] is not None:
            fades += f" ± {c['fades_error']:.2f}"
        line = [name, f"{_time(c['begins'])} ({_time(c['begins_unpaired'])})"]
        line += [f"{c['peak']:.2f} ± {c['peak_error']:.2f}"]
        line += [f"{c['ratio']:.3f} ± {c['error']:.3f}"]
        line += [f"{c['sigma']:.0f} ({c['sigma_unpaired']:.1f})", fades]
        line += [f"{_time(c['ends'])} ({_time(c['ends_unpaired'])})"]
        lines.append([*line, f"{c['last']:.3f} ± {c['last_error']:.3f}"])
    return _table(lines)


def _shown(results: dict) -> dict:
    """The sample that is looked at closely: eta of the information, the largest nu."""
    rows = [row for row in results["suppression"] if row["eta"] == 0.8]
    return max(rows, key=lambda row: row["nu"])


def _time(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"


def _list(values, form: str = "g") -> str:
    return ", ".join(format(value, form) for value in values)


def _table(lines: list[list]) -> str:
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)

"""What a posterior predicts, beside what was observed: images, and their statistics."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from gl15.diagnostics import HeldOut, PredictiveCheck
from gl15.plotting._axes import fitted, row_of_axes
from gl15.plotting._fields import largest, plot_image
from gl15.plotting._palette import palette_of
from gl15.plotting._posterior import symbol
from gl15.simulation._observation import image_of


def plot_predicted_images(
    x: Any, predicted: HeldOut, *, spacing: float = 0.5, count: int = 3
) -> list[list[Axes]]:
    """The observed image over images that its posterior predicts, on the same scales.

    The posterior and the model behind it expect images like these: where the observed
    one stands out among them, they are not all there is to it.

    Args:
        x: the observed image `[nx, ny, 3]`, an array or an `Observation`.
        predicted: what `posterior_predictive` gave for it.
        spacing: pixel spacing, where neither `x` nor `predicted` knows it.
        count: how many predicted images, the first ones.

    Returns:
        The axes of a new figure, a row for each image, that of `x` first.

    Raises:
        ValueError: if images do not have three channels, or there are not `count`.
    """
    if not 1 <= count <= len(predicted.x):
        raise ValueError(
            f"`count` must be 1 to {len(predicted.x)}, as many as there are predicted "
            f"images, got {count}; `posterior_predictive(..., n=...)` makes more."
        )
    x, known = image_of(x)
    spacing = known.get("spacing") or getattr(predicted, "spacing", None) or spacing
    images = [np.asarray(x), *np.asarray(predicted.x[:count])]
    if any(one.shape[2:] != (3,) for one in images):
        raise ValueError(
            "`x` and `predicted` must be images of three channels, got shapes "
            f"{images[0].shape} and {images[1].shape}."
        )
    labels = ["observed"]
    for row in range(count):
        theta = {name: float(value[row]) for name, value in predicted.theta.items()}
        labels.append(", ".join(f"{symbol(k)} = {v:.3g}" for k, v in theta.items()))
    densities = max(largest(one[..., :2]) for one in images)
    curl = max(largest(np.abs(one[..., 2])) for one in images)
    size = fitted((8, 2.2 * len(images)), 2)
    options = {"sharex": True, "sharey": True, "layout": "constrained"}
    grid = plt.subplots(len(images), 3, figsize=size, **options)[1].tolist()
    for row, one, label in zip(grid, images, labels, strict=True):
        plot_image(one, spacing=spacing, vmax=(densities, curl), axes=row)
        row[0].set_ylabel(label)
        if row is not grid[0]:
            for ax in row:
                ax.set_title("")
        for ax in row:
            ax.label_outer()
    return grid


def plot_predictive_check(
    check: PredictiveCheck, names: tuple[str, ...] | None = None, *, columns: int = 4
) -> list[Axes]:
    """Predicted distribution of each statistic, and the observed value.

    Args:
        check: what `predictive_check` gave.
        names: which statistics; by default those with the smallest p-values.
        columns: how many, by default.

    Returns:
        The axes of a new row of panels.

    Raises:
        ValueError: if a name is unknown.
    """
    if names is None:
        chosen = np.argsort(check.p, kind="stable")[:columns]
    else:
        unknown = sorted(set(names) - set(check.names))
        if unknown or not names:
            raise ValueError(f"`names` must be in {check.names}, got {names}.")
        chosen = [check.names.index(one) for one in names]
    row = row_of_axes(len(chosen), (2.2 * len(chosen), 2.2))
    for ax, j in zip(row, chosen, strict=True):
        palette = palette_of(ax)
        values = check.predicted[:, j]
        # Where weights have vanished there is nothing to see.
        kept = check.weight > 1e-6 * check.weight.max()
        ax.hist(
            values[kept],
            bins=20,
            weights=check.weight[kept],
            density=True,
            color=palette.blue,
            alpha=0.5,
        )
        ax.axvline(check.observed[j], color=palette.vermilion, linewidth=1.6)
        calibrated = check.calibrated_p[j]
        p = check.p[j] if np.isnan(calibrated) else calibrated
        ax.set_xlabel(check.names[j])
        ax.set_title(f"p = {p:.3f}")
        ax.set_yticks([])
    row[0].set_ylabel("predicted density")
    return row

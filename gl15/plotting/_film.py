"""One panel of a film: a field that changes, on one scale throughout."""

from typing import Literal

import numpy as np
from jaxtyping import Array, Complex, Float, Int
from matplotlib.axes import Axes

from gl15.plotting._axes import field
from gl15.plotting._fields import (
    domain_colours,
    largest,
    plot_curl,
    plot_density,
    plot_phase,
)
from gl15.plotting._palette import palette_over
from gl15.plotting._vortices import signs


Kind = Literal["density", "curl", "phase"]
Frames = (
    Float[Array | np.ndarray, "frames nx ny"]
    | Complex[Array | np.ndarray, "frames nx ny"]
)


#: Share of plaquettes that hold a vortex above which vortices are not marked.
CROWDED = 0.03


class Panel:
    """A picture on axes, and how it changes from frame to frame."""

    def __init__(
        self,
        ax: Axes,
        fields: Frames,
        kind: Kind,
        *,
        spacing: float,
        vmax: float | None = None,
        winding: Int[Array | np.ndarray, "frames px py"] | None = None,
        colorbar: bool = True,
    ):
        """Draw the first frame.

        Args:
            ax: the axes.
            fields: one picture per frame.
            kind: what they are.
            spacing: pixel spacing.
            vmax: end of the scale; by default the largest value of all frames.
            winding: windings of each frame, to be marked.
            colorbar: whether to draw a colour bar.
        """
        values = field("fields", fields, axes="frames, nx, ny")
        if (kind == "phase") != np.iscomplexobj(values):
            raise ValueError(
                f'`kind`="{kind}" wants '
                + ("complex" if kind == "phase" else "real")
                + f" fields, got {values.dtype}."
            )
        self.values, self.kind = values, kind
        self.top = largest(np.abs(values)) if vmax is None else vmax
        options = {"spacing": spacing, "ax": ax, "colorbar": colorbar}
        # A frame without a value must not refuse the film: it is grey.
        blank = np.zeros_like(values[0])
        if kind == "density":
            plot_density(blank, vmax=self.top, **options)
        elif kind == "curl":
            plot_curl(blank, vmax=self.top, **options)
        elif kind == "phase":
            plot_phase(blank, **options)
        else:
            raise ValueError(
                f'`kind` must be "density", "curl" or "phase", got {kind!r}.'
            )
        self.picture = ax.images[-1]
        self.marks, self.signs = None, signs(palette_over(ax))
        if winding is not None:
            self.winding, self.spacing = np.asarray(winding), spacing
            if self.winding.ndim != 3 or len(self.winding) != len(values):
                raise ValueError(
                    f"`windings` must be one picture for each of {len(values)} frames, "
                    f"got shape {self.winding.shape}."
                )
            # In noise there is a vortex every few pixels: marks would hide them all.
            filled = np.mean(self.winding != 0, axis=(1, 2), keepdims=True)
            self.crowded = filled > CROWDED
            self.marks = [
                ax.plot(
                    [],
                    [],
                    linestyle="none",
                    marker=marker,
                    markersize=4,
                    color=colour,
                    markeredgecolor="white",
                    markeredgewidth=0.6,
                    label=label,
                )[0]
                for _, marker, colour, label in self.signs
            ]
        self.show(0)

    def show(self, frame: int) -> None:
        """Change to another frame.

        Args:
            frame: its number.
        """
        values = self.values[frame]
        if self.kind == "phase":
            values = domain_colours(values)
        self.picture.set_data(np.swapaxes(values, 0, 1))
        if self.marks is None:
            return
        for (sign, *_), line in zip(self.signs, self.marks, strict=True):
            here = np.sign(self.winding[frame]) == sign
            cells = np.argwhere(here & ~self.crowded[frame])
            line.set_data(*((cells + 0.5) * self.spacing).T)

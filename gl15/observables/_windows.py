r"""Windows: how the edges of an open sample are kept out of its spectrum.

The transform takes a sample as if it were periodic. An open one is not, and the jump
between its opposite edges leaks power along the axes of $\mathbf{k}$, over whatever is
weak there. A window that falls to zero at the edges takes the jump away, at a cost in
resolution: Hann's spreads each wave vector over its neighbours $\pm 2\pi/L$.
"""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float


#: `"hann"` for open samples, `None` for a torus.
Window: TypeAlias = Literal["hann"] | None


def window_weights(
    shape: tuple[int, int], window: Window
) -> Float[np.ndarray, "nx ny"]:
    r"""Weight of each pixel, $2\sin^2(\pi (j + \tfrac12)/n)$ along each axis for Hann.

    Args:
        shape: number of pixels.
        window: which window.

    Returns:
        The weights, of mean one.

    Raises:
        ValueError: if there is no such window.
    """
    check_window(window)
    if window is None:
        return np.ones(shape)
    along_x, along_y = (
        2 * np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in shape
    )
    return along_x[:, None] * along_y


def white_power(weights: Float[np.ndarray, "nx ny"]) -> Float[np.ndarray, "nx ny"]:
    r"""Power at each wave vector of white noise of variance 1, windowed and centred.

    $$
    D(\mathbf{k}) = \sum_r w_r^2\, \Big| e^{-i\mathbf{k}\mathbf{r}} -
    \frac{\hat w(\mathbf{k})}{\hat w(0)} \Big|^2
    $$

    exactly, the subtraction of the weighted mean included: what a spectrum is divided
    by so that independent pixels show their variance at every wave vector.

    Args:
        weights: the window.

    Returns:
        The power in the order of `fft2`; 1 at k = 0, where there is none.
    """
    leak = np.fft.fft2(weights) / np.sum(weights)
    squares = np.fft.fft2(weights**2)
    total = np.sum(weights**2)
    power = total * (1 + np.abs(leak) ** 2) - 2 * np.real(np.conj(leak) * squares)
    power[0, 0] = 1
    return power


def check_window(window: Window) -> None:
    """Refuse a window that does not exist.

    Args:
        window: its name.

    Raises:
        ValueError: if there is none of this name.
    """
    if window not in (None, "hann"):
        raise ValueError(
            f'`window` must be "hann" (open samples) or None (a torus), got {window!r}.'
        )

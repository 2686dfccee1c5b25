"""The trained estimators that come with gl15."""

from importlib.resources import files
from typing import Any

from gl15.inference._files.files import load


def load_pretrained(name: str) -> Any:
    r"""An estimator that was trained, and measured on fresh images, beforehand.

    - `"eta"`: the Josephson coupling $\eta \in (0, 1.5)$ at $B = 0.04$, $\nu = 0$.
    - `"eta-B-nu"`: $\eta$, the field $B \in (0, 0.1)$ and the drag $\nu \in (0, 0.4)$
      together.

    Both for the default sample: an open square of side 32 on 64 x 64 sites (spacing
    0.5), $D = (4, 1)$, a quench from noise of amplitude 0.5, the image
    $(|\psi_1|^2, |\psi_2|^2, \mathrm{curl}\,J)$ at $t = 2$. `gl15.inference.describe`
    of the file shows how it was trained and how well it did; `pretrained_path` says
    where that file is.

    Args:
        name: which one.

    Returns:
        The estimator.

    Raises:
        ValueError: if there is none of that name.
    """
    return load(pretrained_path(name))


def pretrained_path(name: str) -> str:
    """The file of a trained estimator that comes with gl15.

    Args:
        name: which one, as for `load_pretrained`.

    Returns:
        Its path.

    Raises:
        ValueError: if there is none of that name.
    """
    folder = files("gl15") / "pretrained"
    known = sorted(
        one.name.removesuffix(".npz")
        for one in folder.iterdir()
        if one.name.endswith(".npz")
    )
    if name not in known:
        raise ValueError(f"`name`={name!r} is none of the trained estimators: {known}.")
    return str(folder / f"{name}.npz")

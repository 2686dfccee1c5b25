"""Shape aliases shared by the physics files."""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Array, Complex, Real


Boundary: TypeAlias = Literal["open", "periodic"]

#: A coefficient that is one number for the whole sample. Plain Python numbers stay
#: Python numbers, so that a drag of exactly 0 is known when the stencil is built.
Scalar: TypeAlias = Real[Array, ""] | Real[np.ndarray, ""] | np.number | float | int

#: A coefficient that may vary in space (disorder): a number or a map over the sites.
ScalarOrMap: TypeAlias = Scalar | Real[Array, "nx ny"] | Real[np.ndarray, "nx ny"]

#: The two order parameters, band axis first.
Psi: TypeAlias = Complex[Array, "2 nx ny"]

"""Shape aliases shared by the physics files."""

from typing import Literal, TypeAlias

from jaxtyping import Array, Complex, Float


Boundary: TypeAlias = Literal["open", "periodic"]

#: A coefficient that is one number for the whole sample. Plain Python numbers stay
#: Python numbers, so that a drag of exactly 0 is known when the stencil is built.
Scalar: TypeAlias = Float[Array, ""] | float | int

#: A coefficient that may vary in space (disorder): a number or a map over the sites.
ScalarOrMap: TypeAlias = Scalar | Float[Array, "nx ny"]

#: The two order parameters, band axis first.
Psi: TypeAlias = Complex[Array, "2 nx ny"]

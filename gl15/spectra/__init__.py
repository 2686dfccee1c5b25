"""The Hessian of the energy, its lowest modes, and its density of states."""

from gl15.spectra._character import (
    classify_modes as classify_modes,
    ModeCharacter as ModeCharacter,
)
from gl15.spectra._count import (
    count_below as count_below,
    soft_fraction as soft_fraction,
)
from gl15.spectra._density import (
    density_of_states as density_of_states,
    DensityOfStates as DensityOfStates,
)
from gl15.spectra._error import NotConvergedError as NotConvergedError
from gl15.spectra._hessian import (
    hessian as hessian,
    to_complex as to_complex,
    to_real as to_real,
)
from gl15.spectra._modes import lowest_modes as lowest_modes, Modes as Modes
from gl15.spectra._operator import (
    Hessian as Hessian,
    NotStationaryWarning as NotStationaryWarning,
)
from gl15.spectra._relax import relax as relax
from gl15.spectra._symmetry import Symmetries as Symmetries, symmetries as symmetries

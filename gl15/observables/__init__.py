"""What can be measured on a state: densities, currents, vortices, correlations."""

from gl15.observables._image import (
    CHANNELS as CHANNELS,
    current_curl as current_curl,
    densities as densities,
    observe as observe,
)
from gl15.observables._spectrum import (
    cross_power as cross_power,
    cross_structure_factor as cross_structure_factor,
    default_edges as default_edges,
    ring_average as ring_average,
    ring_indices as ring_indices,
    ring_wave_numbers as ring_wave_numbers,
    structure_factor as structure_factor,
    wave_numbers as wave_numbers,
)
from gl15.observables._vortices import (
    Vortices as Vortices,
    vortices as vortices,
    windings as windings,
)

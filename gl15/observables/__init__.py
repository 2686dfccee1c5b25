"""What can be measured on a state: densities, currents, vortices, correlations.

Fields: `observe`, `densities`, `current_curl`; their spectra: `structure_factor` and
its kin. Vortices: `windings`, `vortices`; what they do together: `match_bands`,
`nearest_neighbours`, `pair_correlation`, `bond_order`, `clusters`, `track`; their
spectra: `point_structure_factor`, `hyperuniformity`. The latter take any `Points`.
"""

from gl15.observables._bonds import bond_order as bond_order
from gl15.observables._clusters import Clusters as Clusters, clusters as clusters
from gl15.observables._hyperuniformity import (
    fit_power_law as fit_power_law,
    hyperuniformity as hyperuniformity,
    PowerLaw as PowerLaw,
)
from gl15.observables._image import (
    CHANNELS as CHANNELS,
    current_curl as current_curl,
    densities as densities,
    observe as observe,
)
from gl15.observables._matching import (
    BandMatching as BandMatching,
    match_bands as match_bands,
)
from gl15.observables._pairs import (
    clark_evans as clark_evans,
    ClarkEvans as ClarkEvans,
    nearest_neighbours as nearest_neighbours,
    Neighbours as Neighbours,
    pair_correlation as pair_correlation,
)
from gl15.observables._point_spectrum import (
    point_structure_factor as point_structure_factor,
    point_structure_factor_map as point_structure_factor_map,
)
from gl15.observables._points import Box as Box, Points as Points
from gl15.observables._rings import (
    default_edges as default_edges,
    ring_average as ring_average,
    ring_counts as ring_counts,
    ring_indices as ring_indices,
    ring_wave_numbers as ring_wave_numbers,
    wave_numbers as wave_numbers,
)
from gl15.observables._spectrum import (
    cross_power as cross_power,
    cross_structure_factor as cross_structure_factor,
    density_spectra as density_spectra,
    DensitySpectra as DensitySpectra,
    structure_factor as structure_factor,
    structure_factor_map as structure_factor_map,
)
from gl15.observables._tables import (
    vortex_dataset as vortex_dataset,
    vortex_table as vortex_table,
)
from gl15.observables._tracking import track as track, Tracks as Tracks
from gl15.observables._vortices import (
    Vortices as Vortices,
    vortices as vortices,
    windings as windings,
)

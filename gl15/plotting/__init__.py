"""Figures: axes in, axes out. The only sub-package that needs matplotlib."""

from gl15.plotting._calibration import (
    plot_coverage as plot_coverage,
    plot_sbc as plot_sbc,
)
from gl15.plotting._fields import (
    plot_curl as plot_curl,
    plot_density as plot_density,
    plot_image as plot_image,
    plot_phase as plot_phase,
    plot_vortices as plot_vortices,
    plot_windings as plot_windings,
)
from gl15.plotting._posterior import (
    plot_joint as plot_joint,
    plot_posterior as plot_posterior,
    plot_recovery as plot_recovery,
)
from gl15.plotting._spectrum import (
    plot_modes as plot_modes,
    plot_spectrum as plot_spectrum,
)
from gl15.plotting._structure_factor import (
    plot_structure_factor as plot_structure_factor,
)

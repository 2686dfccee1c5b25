"""Figures: axes in, axes out. The only sub-package that needs matplotlib.

Of a state: `plot_density`, `plot_phase`, `plot_curl`, `plot_image`, `plot_current`;
over it `plot_windings`, `plot_vortices`, `plot_matching`, `plot_tracks`. In Fourier
space and of pairs: `plot_structure_factor` and its kin, `plot_pair_correlation`. Of the
Hessian: `plot_spectrum`, `plot_modes`, `plot_mode`. Of inference: `plot_posterior` and
its kin; of checks `plot_sbc`, `plot_coverage`, `plot_binned_coverage`, `plot_tarp`,
`plot_local_c2st`, `plot_predicted_images`, `plot_predictive_check`,
`plot_misspecification`, `plot_information`. Films: `animate_quench`, `animate_fields`,
`save_animation`. All of them in one `style`, or in yours.
"""

from gl15.plotting._animation import (
    animate_fields as animate_fields,
    animate_quench as animate_quench,
)
from gl15.plotting._calibration import (
    plot_coverage as plot_coverage,
    plot_sbc as plot_sbc,
)
from gl15.plotting._checks import (
    plot_binned_coverage as plot_binned_coverage,
    plot_local_c2st as plot_local_c2st,
    plot_misspecification as plot_misspecification,
    plot_tarp as plot_tarp,
)
from gl15.plotting._current import plot_current as plot_current
from gl15.plotting._fields import (
    plot_curl as plot_curl,
    plot_density as plot_density,
    plot_image as plot_image,
    plot_phase as plot_phase,
)
from gl15.plotting._information import plot_information as plot_information
from gl15.plotting._mode import plot_mode as plot_mode
from gl15.plotting._pair_correlation import (
    plot_pair_correlation as plot_pair_correlation,
)
from gl15.plotting._posterior import (
    plot_joint as plot_joint,
    plot_posterior as plot_posterior,
    plot_recovery as plot_recovery,
)
from gl15.plotting._predictive import (
    plot_predicted_images as plot_predicted_images,
    plot_predictive_check as plot_predictive_check,
)
from gl15.plotting._save import save_animation as save_animation
from gl15.plotting._spectrum import (
    plot_modes as plot_modes,
    plot_spectrum as plot_spectrum,
)
from gl15.plotting._structure_factor import (
    plot_power_law as plot_power_law,
    plot_structure_factor as plot_structure_factor,
    plot_structure_factor_map as plot_structure_factor_map,
)
from gl15.plotting._style import style as style
from gl15.plotting._tracks import plot_tracks as plot_tracks
from gl15.plotting._vortices import (
    plot_matching as plot_matching,
    plot_vortices as plot_vortices,
    plot_windings as plot_windings,
)

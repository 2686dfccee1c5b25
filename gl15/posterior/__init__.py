r"""Posteriors $p(\theta \mid x) \propto r(\theta, x)\,p(\theta)$ from a log-ratio.

- `grid_posterior`: everything in closed form on a grid, for one to three parameters.
- `sample_posterior`: NUTS, for any number; `potential` for other samplers.
- `resample_posterior`: thousands of draws at once, over separate peaks too.
- `laplace`: the highest point, and the normal density that fits it.
- `RatioLikelihood`: the log-ratio as a distribution in a NumPyro model.
- `to_arviz`: results as ArviZ `InferenceData`.

Each embeds an image once and reuses its features for every parameter it asks about.
"""

from gl15.posterior._grid import (
    grid_posterior as grid_posterior,
    grid_posterior_from_features as grid_posterior_from_features,
)
from gl15.posterior._grid_posterior import GridPosterior as GridPosterior
from gl15.posterior._laplace import Laplace as Laplace, laplace as laplace
from gl15.posterior._likelihood import RatioLikelihood as RatioLikelihood
from gl15.posterior._nuts import sample_posterior as sample_posterior
from gl15.posterior._potential import Potential as Potential, potential as potential
from gl15.posterior._protocol import LogRatio as LogRatio, Points as Points
from gl15.posterior._resample import (
    Draws as Draws,
    resample_posterior as resample_posterior,
)
from gl15.posterior._results import to_arviz as to_arviz

"""gl15: from a picture of vortices to the couplings that made it.

A sample defines an energy, its gradient flow is the dynamics, a snapshot is observed
as an image, pairs (theta, image) make an ensemble, an ensemble teaches an estimator
of the log-ratio, and the estimator with a prior gives posteriors that held-out pairs
check.
"""

from importlib.metadata import version as _version

from gl15.diagnostics import (
    coverage as coverage,
    recovery_table as recovery_table,
    sbc_ranks as sbc_ranks,
    summarize as summarize,
    tarp as tarp,
)
from gl15.inference import (
    BinaryCrossEntropy as BinaryCrossEntropy,
    Contrastive as Contrastive,
    ConvEncoder as ConvEncoder,
    fit as fit,
    JetEncoder as JetEncoder,
    load as load,
    load_pretrained as load_pretrained,
    MLPEncoder as MLPEncoder,
    RatioEstimator as RatioEstimator,
    save as save,
    SpectralEncoder as SpectralEncoder,
    Summarised as Summarised,
)
from gl15.observables import (
    density_spectra as density_spectra,
    match_bands as match_bands,
    observe as observe,
    structure_factor as structure_factor,
    track as track,
    vortices as vortices,
    windings as windings,
)
from gl15.physics import (
    evolve as evolve,
    evolve_batch as evolve_batch,
    Lattice as Lattice,
    quench as quench,
    RungeKuttaChebyshev as RungeKuttaChebyshev,
    TDGL as TDGL,
    TwoBand as TwoBand,
)
from gl15.posterior import (
    grid_posterior as grid_posterior,
    potential as potential,
    RatioLikelihood as RatioLikelihood,
    sample_posterior as sample_posterior,
)
from gl15.simulation import (
    Ensemble as Ensemble,
    load_observation as load_observation,
    Observation as Observation,
    open_ensemble as open_ensemble,
    Prior as Prior,
    save_observation as save_observation,
    simulate as simulate,
    StoredEnsemble as StoredEnsemble,
    VortexSimulator as VortexSimulator,
)
from gl15.spectra import (
    classify_modes as classify_modes,
    density_of_states as density_of_states,
    hessian as hessian,
    lowest_modes as lowest_modes,
    relax as relax,
)


__version__ = _version("gl15")

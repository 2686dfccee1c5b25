"""Priors, simulators theta -> observation, and the ensembles they produce."""

from gl15.simulation._ensemble import Ensemble as Ensemble
from gl15.simulation._instrumented import (
    Instrumented as Instrumented,
    observe_with as observe_with,
)
from gl15.simulation._observation import (
    load_observation as load_observation,
    Observation as Observation,
    save_observation as save_observation,
)
from gl15.simulation._prior import Prior as Prior, Theta as Theta
from gl15.simulation._simulate import (
    NonFiniteSimulationError as NonFiniteSimulationError,
    simulate as simulate,
    Simulator as Simulator,
)
from gl15.simulation._tasks import (
    GaussianLinearUniform as GaussianLinearUniform,
    SLCP as SLCP,
    TwoMoons as TwoMoons,
)
from gl15.simulation._toys import (
    ExactRatio as ExactRatio,
    LinearGaussian as LinearGaussian,
)
from gl15.simulation._vortex import VortexSimulator as VortexSimulator

"""Priors, simulators theta -> observation, and the ensembles they produce."""

from gl15.simulation._concatenate import concatenate as concatenate
from gl15.simulation._disorder import Disorder as Disorder
from gl15.simulation._ensemble import Ensemble as Ensemble
from gl15.simulation._exact_ratio import ExactRatio as ExactRatio
from gl15.simulation._fresh import Fresh as Fresh, fresh as fresh
from gl15.simulation._inspect import (
    inspect_ensemble as inspect_ensemble,
    Inspection as Inspection,
)
from gl15.simulation._instrumented import (
    Instrumented as Instrumented,
    observe_with as observe_with,
)
from gl15.simulation._linear_quench import LinearQuench as LinearQuench
from gl15.simulation._lock import StoreInUseError as StoreInUseError
from gl15.simulation._nonfinite import (
    NonFiniteSimulationError as NonFiniteSimulationError,
)
from gl15.simulation._observation import (
    load_observation as load_observation,
    Observation as Observation,
    save_observation as save_observation,
)
from gl15.simulation._prior import Prior as Prior, Theta as Theta
from gl15.simulation._randomised import Randomised as Randomised
from gl15.simulation._resample import resample as resample
from gl15.simulation._simulate import (
    simulate as simulate,
    Simulator as Simulator,
    UnfinishedEnsembleError as UnfinishedEnsembleError,
)
from gl15.simulation._snapshots import Snapshots as Snapshots
from gl15.simulation._stored import (
    open_ensemble as open_ensemble,
    StoredEnsemble as StoredEnsemble,
)
from gl15.simulation._tasks import (
    GaussianLinearUniform as GaussianLinearUniform,
    SLCP as SLCP,
    TwoMoons as TwoMoons,
)
from gl15.simulation._toys import (
    LinearGaussian as LinearGaussian,
)
from gl15.simulation._truncate import truncated_prior as truncated_prior
from gl15.simulation._vortex import VortexSimulator as VortexSimulator

"""Neural ratio estimation: encoders, the estimator, losses, training, files."""

from gl15.inference._calibration.calibrate import calibrate as calibrate
from gl15.inference._calibration.calibrated import Calibrated as Calibrated
from gl15.inference._calibration.detector import (
    Detector as Detector,
    Directions as Directions,
    Line as Line,
)
from gl15.inference._calibration.guarded import (
    Guarded as Guarded,
    MisspecificationWarning as MisspecificationWarning,
)
from gl15.inference._encoders.encoder import AbstractEncoder as AbstractEncoder
from gl15.inference._encoders.jet_encoder import JetEncoder as JetEncoder
from gl15.inference._encoders.networks import (
    ConvEncoder as ConvEncoder,
    MLPEncoder as MLPEncoder,
)
from gl15.inference._encoders.regressed import (
    regressed as regressed,
    RegressedEncoder as RegressedEncoder,
)
from gl15.inference._encoders.snapshots import SnapshotEncoder as SnapshotEncoder
from gl15.inference._encoders.spectral import SpectralEncoder as SpectralEncoder
from gl15.inference._encoders.summarised import Summarised as Summarised
from gl15.inference._estimators.averages import (
    disagreement as disagreement,
    model_pairs as model_pairs,
    ModelAverage as ModelAverage,
)
from gl15.inference._estimators.estimator import RatioEstimator as RatioEstimator
from gl15.inference._estimators.members import EstimatorEnsemble as EstimatorEnsemble
from gl15.inference._estimators.peaks import Peaks as Peaks
from gl15.inference._estimators.standardization import (
    Standardization as Standardization,
)
from gl15.inference._estimators.wrapper import bare as bare
from gl15.inference._files.files import (
    describe as describe,
    fingerprint as fingerprint,
    load as load,
    save as save,
)
from gl15.inference._files.pretrained import (
    load_pretrained as load_pretrained,
    pretrained_path as pretrained_path,
)
from gl15.inference._losses.losses import (
    AbstractLoss as AbstractLoss,
    Balanced as Balanced,
    BinaryCrossEntropy as BinaryCrossEntropy,
    Contrastive as Contrastive,
    Softmax as Softmax,
)
from gl15.inference._losses.near_misses import NearMisses as NearMisses
from gl15.inference._training.fine_tune import fine_tune as fine_tune
from gl15.inference._training.fit import fit as fit, History as History
from gl15.inference._training.symmetry import random_symmetry as random_symmetry
from gl15.inference._training.truncation import (
    leaning as leaning,
    truncate as truncate,
    truncated_rounds as truncated_rounds,
    TruncationWarning as TruncationWarning,
)

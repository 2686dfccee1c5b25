"""Neural ratio estimation: encoders, the estimator, losses, training, files."""

from gl15.inference._encoders import (
    AbstractEncoder as AbstractEncoder,
    ConvEncoder as ConvEncoder,
    MLPEncoder as MLPEncoder,
)
from gl15.inference._estimator import RatioEstimator as RatioEstimator
from gl15.inference._files import load as load, save as save
from gl15.inference._fit import fit as fit, History as History
from gl15.inference._losses import (
    AbstractLoss as AbstractLoss,
    BinaryCrossEntropy as BinaryCrossEntropy,
    Contrastive as Contrastive,
)
from gl15.inference._spectral import SpectralEncoder as SpectralEncoder
from gl15.inference._standardize import Standardization as Standardization

"""What a laboratory would see of an image: instruments, one by one or in a row.

An instrument is an Equinox module that is called with an image, its pixel spacing and
a key. `Chain` puts several in a row; `InNanometres` lets their lengths be nanometres.
The blur, the counts and the noise of each can be switched off, and then it returns the
channels it looks at unchanged. `gl15.simulation.Instrumented` puts an instrument behind
a simulator, `gl15.simulation.observe_with` applies one to a whole ensemble.
"""

from gl15.instruments._chain import Chain as Chain
from gl15.instruments._detector import Detector as Detector
from gl15.instruments._instrument import AbstractInstrument as AbstractInstrument
from gl15.instruments._lorentz import LorentzTEM as LorentzTEM
from gl15.instruments._neutrons import NeutronScattering as NeutronScattering
from gl15.instruments._stm import STM as STM
from gl15.instruments._units import InNanometres as InNanometres, Units as Units

"""The physics: lattice and links, material, energy, TDGL flow and its evolution."""

from gl15.physics import exact as exact
from gl15.physics._chebyshev import RungeKuttaChebyshev as RungeKuttaChebyshev
from gl15.physics._evolve import evolve as evolve, evolve_batch as evolve_batch
from gl15.physics._lattice import Lattice as Lattice
from gl15.physics._links import Links as Links
from gl15.physics._material import TwoBand as TwoBand
from gl15.physics._quench import quench as quench
from gl15.physics._tdgl import TDGL as TDGL

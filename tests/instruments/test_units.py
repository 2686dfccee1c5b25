"""Units: flux quanta and nanometres come out as they must."""

import jax.numpy as jnp
import numpy as np
import pytest

from gl15.instruments import (
    Chain,
    Detector,
    InNanometres,
    LorentzTEM,
    NeutronScattering,
    STM,
    Units,
)
from gl15.physics import Lattice, TwoBand


def test_a_flux_quantum_is_a_flux_quantum():
    lattice = Lattice((16, 16), spacing=0.5, boundary="periodic")
    units = Units(7.0)
    teslas = float(lattice.field_from_quanta(3)) * units.field_tesla
    side = 16 * 0.5 * 7.0
    # h/2e in T nm^2, from the exact h and e of the SI.
    quantum = 6.62607015e-34 / (2 * 1.602176634e-19) * 1e18
    np.testing.assert_allclose(teslas * side**2, 3 * quantum, rtol=1e-9)


def test_units_follow_from_a_coherence_length():
    material = TwoBand(diffusion=(4.0, 1.0), alpha=(-1.0, -0.25))
    assert Units.from_coherence_length(50.0, material).length_nm == 25.0
    assert Units.from_coherence_length(50.0, material, band=1).length_nm == 25.0
    assert Units(25.0).wave_number_per_nm == 0.04


def test_lengths_in_nanometres_are_lengths(x):
    units = Units(10.0)
    chain = Chain([STM(3.0), Detector(pixel_size=10.0, drift=(6.0, 0.0))])
    nm = InNanometres(chain, units)
    plain = Chain([STM(0.3), Detector(pixel_size=1.0, drift=(0.6, 0.0))])
    np.testing.assert_allclose(nm(x, spacing=0.5), plain(x, spacing=0.5), rtol=1e-12)
    assert nm.output_spacing(0.5) == plain.output_spacing(0.5) == 1.0
    assert nm.output_channels(("a",)) == ("density",)
    # Inside a chain too, beside an instrument in the simulation's units.
    mixed = Chain([InNanometres(STM(3.0), units), Detector(2, drift=(0.6, 0.0))])
    np.testing.assert_allclose(mixed(x, spacing=0.5), nm(x, spacing=0.5), rtol=1e-12)


def test_areas_fields_and_wave_numbers_follow(x, getkey):
    units, key = Units(10.0), getkey()
    per_area = InNanometres(STM(counts=2.0), units)(x, spacing=0.5, key=key)
    np.testing.assert_array_equal(per_area, STM(counts=200.0)(x, spacing=0.5, key=key))
    lorentz = LorentzTEM(thickness=50.0, field_unit=units.field_tesla)
    flux = InNanometres(lorentz, units)(x, spacing=0.5)
    np.testing.assert_allclose(flux, 50 * 3.2910598 * x[..., 2:], rtol=1e-6)
    neutrons = InNanometres(NeutronScattering(edges=(0.06, 0.18, 0.3)), units)
    plain = NeutronScattering(edges=(0.6, 1.8, 3.0))
    np.testing.assert_allclose(
        neutrons(x, spacing=0.5), plain(x, spacing=0.5), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Units(0.0), "`length_nm` must be a positive length"),
        (lambda: Units(float("inf")), "`length_nm`"),
        (
            lambda: Units.from_coherence_length(
                5.0, TwoBand(alpha=(jnp.ones((4, 4)), -1.0))
            ),
            "map",
        ),
        (
            lambda: Units.from_coherence_length(5.0, TwoBand(alpha=(0.0, -1.0))),
            "infinite",
        ),
    ],
)
def test_units_that_cannot_be_are_refused(build, match):
    with pytest.raises(ValueError, match=match):
        build()

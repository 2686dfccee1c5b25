# %% [markdown]
# # First vortices
#
# One sample, quenched in a magnetic field, looked at from several sides. This page is a
# program: it ran when the page was built, and the build fails where an assertion does.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import gl15
from gl15 import plotting


# %% [markdown]
# The sample is a torus. It carries a whole number of flux quanta, here seven.

# %%
lattice = gl15.Lattice((64, 64), spacing=0.5, boundary="periodic")
material = gl15.TwoBand(diffusion=(4.0, 1.0), josephson=0.8)
field = lattice.field_from_quanta(7)
tdgl = gl15.TDGL(lattice, material, field=field)
print(f"largest stable time step: {float(tdgl.max_stable_step()):.4f}")

# %% [markdown]
# Right after the quench both order parameters are noise; then the flow runs downhill in
# the energy.

# %%
psi0 = gl15.quench(lattice, key=jax.random.key(0), amplitude=0.5)
times = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0])
solution = gl15.evolve(tdgl, psi0, t1=16.0, dt=4e-3, ts=times)
energies = np.asarray(jax.vmap(tdgl.energy)(solution.ys))
for t, energy in zip(times, energies, strict=True):
    print(f"t = {t:4.1f}   F_K = {energy:9.2f}")
assert np.all(np.diff(energies) < 0)

# %% [markdown]
# An image has three channels: the two densities, and the curl of the supercurrent,
# which stands for the local magnetic field. At $t = 2$, when the main job takes its
# images, the pattern is still young; by $t = 16$ only the vortices that carry the flux
# are left.

# %%
young, old = (gl15.observe(tdgl, psi) for psi in solution.ys[np.array([3, 6])])
fig, rows = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
for row, x, t in zip(rows, (young, old), (2, 16), strict=True):
    plotting.plot_image(x, spacing=lattice.spacing, axes=row)
    row[0].set_title(f"t = {t}")
plt.show()

# %% [markdown]
# The winding number of every plaquette is an integer and gauge invariant; over the
# torus it adds up to the number of flux quanta, in either band and at any time, also in
# the noise.

# %%
for t, psi in zip(times, solution.ys, strict=True):
    winding = np.asarray(gl15.windings(tdgl, psi))
    print(f"t = {t:4.1f}   vortices and antivortices: {np.abs(winding).sum((1, 2))}")
    assert np.all(winding.sum((1, 2)) == 7)

# %%
fig, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for band, ax in enumerate(axes):
    plotting.plot_phase(solution.ys[-1, band], spacing=lattice.spacing, ax=ax)
    found = gl15.vortices(tdgl, solution.ys[-1])
    plotting.plot_vortices(found, band, ax=ax)
    ax.set_title(f"phase of band {band + 1} at t = 16")
plt.show()

# %% [markdown]
# The structure factor of the total density is what a scattering experiment would see,
# against the physical wave number.

# %%
fig, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
for x, t, color in ((young, 2, "C0"), (old, 16, "C1")):
    k, S = gl15.structure_factor(x[..., 0] + x[..., 1], spacing=lattice.spacing)
    plotting.plot_structure_factor(k, S, label=f"t = {t}", color=color, ax=ax)
ax.legend()
plt.show()

# %% [markdown]
# All of this differentiates. How does the energy at the end answer to the couplings?

# %%
couplings = (0.8, 0.1)


def final_energy(josephson, drag):
    tdgl = gl15.TDGL(lattice, gl15.TwoBand(josephson=josephson, drag=drag), field)
    end = gl15.evolve(tdgl, psi0, t1=1.0, dt=1e-2).ys[-1]
    return tdgl.energy(end)


d_eta, d_nu = jax.grad(final_energy, argnums=(0, 1))(*couplings)
print(f"dF/d eta = {d_eta:.1f}, dF/d nu = {d_nu:.1f}")

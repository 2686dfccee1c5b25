# %% [markdown]
# # Pictures
#
# A gallery of what `gl15.plotting` draws. Every function takes axes, or makes some, and
# gives them back, so that pictures are laid over each other and side by side as any of
# matplotlib's are. This page is a program: it drew its pictures when it was built.

# %%
import base64
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML

import gl15
from gl15 import observables, plotting, spectra


jax.config.update("jax_enable_x64", True)  # soft modes want it
lattice = gl15.Lattice((64, 64), spacing=0.5, boundary="periodic")
material = gl15.TwoBand(diffusion=(4.0, 1.0), josephson=0.3)
tdgl = gl15.TDGL(lattice, material, field=lattice.field_from_quanta(9))
times = np.linspace(0, 14, 57)
psi0 = gl15.quench(lattice, key=jax.random.key(2))
solution = gl15.evolve(tdgl, psi0, t1=14.0, dt=1e-2, ts=times)
young, old = solution.ys[10], solution.ys[-1]

# %% [markdown]
# ## One style, on paper and on a dark screen
#
# `plotting.style()` holds inside a `with` block and leaves nothing behind: letters of 8
# points at the width of a column, colours that differ for every kind of sight. With
# `dark=True` all that is not a picture is light on dark.

# %%
for dark in (False, True):
    with plotting.style(dark=dark):
        plotting.plot_image(gl15.observe(tdgl, old))
        plt.show()

# %% [markdown]
# Functions choose their colours by the ground of the axes they are given: they draw in
# your own style too. The rest of this page is in the light one.
#
# ## A state
#
# Currents as streamlines show where they go; as arrows, how much there is. The phase is
# the hue, the modulus the brightness, and rings mark the vortices.

# %%
density = observables.densities(old)
with plotting.style():
    fig, axes = plt.subplots(1, 3, figsize=(9.6, 2.8), layout="compressed")
    current = tdgl.current(old)
    plotting.plot_current(current, density=density[1], ax=axes[0])
    plotting.plot_current(current, density=density[1], kind="arrows", ax=axes[1])
    plotting.plot_phase(old[1], ax=axes[2])
    plotting.plot_vortices(gl15.vortices(tdgl, old), 1, ax=axes[2])
    plt.show()

# %% [markdown]
# ## Vortices of both bands, and through time
#
# A line joins the two cores of a composite vortex; a fractional one, which winds in one
# band alone, is filled. To the right, all that happened to the vortices of band 2
# between $t = 1.5$ and the density that is drawn.

# %%
film = jax.jit(jax.vmap(lambda psi: gl15.vortices(tdgl, psi, 64)))(solution.ys[6:])
tracks = gl15.track(film, times[6:])
found = gl15.vortices(tdgl, young)
with plotting.style():
    fig, axes = plt.subplots(1, 2, figsize=(7.4, 4.2), layout="compressed")
    plotting.plot_density(observables.densities(young)[1], ax=axes[0])
    plotting.plot_matching(found, gl15.match_bands(found), ax=axes[0])
    axes[0].set_title(f"t = {times[10]:g}")
    plotting.plot_density(density[1], ax=axes[1])
    plotting.plot_tracks(tracks, 1, ax=axes[1])
    axes[1].set_title(f"t = 1.5 to {times[-1]:g}")
    plt.show()

# %% [markdown]
# ## Structure factors and pairs
#
# Of several runs, the mean and its standard error; a power law with the band of two
# standard errors of its fit; the pair correlation against the line at 1.


# %%
@jax.jit
@jax.vmap
def snapshot(key):
    start = gl15.quench(lattice, key=key)
    return gl15.evolve(tdgl, start, t1=2.0, dt=1e-2).ys[-1]


states = snapshot(jax.random.split(jax.random.key(0), 16))
points = jax.jit(jax.vmap(lambda psi: gl15.vortices(tdgl, psi, 128).points(1)))(states)
total = jnp.sum(jax.vmap(observables.densities)(states), axis=1)
k, S = jax.vmap(gl15.structure_factor)(total)
k_x, k_y, maps = jax.vmap(observables.structure_factor_map)(total)
r, g = jax.vmap(observables.pair_correlation)(points)
edges = 2 * np.pi / 32 * (np.arange(17) + 0.5)
k_v, S_v = jax.vmap(lambda one: observables.point_structure_factor(one, edges))(points)
law = observables.hyperuniformity(points, k_max=1.0)
with plotting.style():
    fig, axes = plt.subplots(2, 2, figsize=(7, 5.4), layout="constrained")
    plotting.plot_structure_factor(k[0], S, label="density", ax=axes[0, 0])
    plotting.plot_structure_factor_map(
        k_x[0], k_y[0], jnp.mean(maps, 0), k_max=3, ax=axes[0, 1]
    )
    plotting.plot_structure_factor(
        k_v[0], S_v, label="vortices of band 2", log_k=True, ax=axes[1, 0]
    )
    plotting.plot_power_law(law, (0.2, 1.0), ax=axes[1, 0])
    plotting.plot_pair_correlation(r[0], g, label="band 2", ax=axes[1, 1])
    plt.show()

# %% [markdown]
# ## Soft modes
#
# At a stationary state the soft modes move vortices. The squared norm of a mode says
# where it acts, arrows which way the cores of each band go.

# %%
still = spectra.relax(tdgl, old)
H = gl15.hessian(tdgl, still)
modes = gl15.lowest_modes(H, 6)
there = gl15.vortices(tdgl, still)
character = spectra.classify_modes(H, modes, there.positions)
with plotting.style():
    fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.3), layout="compressed")
    for ax, index in zip(axes, (0, 1, 5), strict=True):
        plotting.plot_mode(modes, index, vortices=there, character=character, ax=ax)
    plt.show()

# %% [markdown]
# ## Films
#
# `animate_quench` makes a film of a solution with several times. It is saved as a
# `.gif`, or as an `.mp4` where there is ffmpeg (`pip install imageio-ffmpeg` brings
# it). The noise at the start has too many vortices to be marked.

# %%
with plotting.style(dark=True), tempfile.TemporaryDirectory() as folder:
    animation = plotting.animate_quench(tdgl, solution, every=2, fps=8)
    path = plotting.save_animation(animation, Path(folder) / "quench.gif", dpi=110)
    film_as_text = base64.b64encode(path.read_bytes()).decode()
plt.close()
HTML(f'<img alt="A quench" src="data:image/gif;base64,{film_as_text}">')

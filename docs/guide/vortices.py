# %% [markdown]
# # Vortices, from a state to statistics
#
# One quench on a torus, followed from the moment its vortices are many and pairs of
# them annihilate. This page is a program: it ran when the page was built.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import gl15
from gl15 import observables, plotting


lattice = gl15.Lattice((64, 64), spacing=0.5, boundary="periodic")
material = gl15.TwoBand(diffusion=(4.0, 1.0), josephson=0.3)
tdgl = gl15.TDGL(lattice, material, field=lattice.field_from_quanta(9))
times = np.linspace(1.5, 15.0, 91)
psi0 = gl15.quench(lattice, key=jax.random.key(2))
states = gl15.evolve(tdgl, psi0, t1=15.0, dt=1e-2, ts=times).ys

# %% [markdown]
# ## Where they are
#
# The windings are integers on every plaquette, and sum to the flux quanta in either
# band. A zero of the order parameter is located inside its plaquette. In compiled code
# the number of slots is fixed, and a mask tells which of them hold a vortex.

# %%
assert np.all(np.sum(gl15.windings(tdgl, states[0]), axis=(1, 2)) == 9)
film = jax.jit(jax.vmap(lambda psi: gl15.vortices(tdgl, psi, max_vortices=128)))(states)
for frame in (0, 10, 90):
    first, second = film.counts[frame]
    print(
        f"t = {times[frame]:4.1f}   band 1: {first:3d} vortices   band 2: {second:3d}"
    )

# %% [markdown]
# ## Composite and fractional
#
# A composite vortex winds in both bands; what winds in one alone is fractional. Pairs
# are the best assignment of all, with distances across the seam of the torus. While
# the Josephson coupling is weak the cores of one vortex may lie apart.

# %%
matching = jax.vmap(observables.match_bands)(film)
for frame in (0, 10, 90):
    print(
        f"t = {times[frame]:4.1f}   composite: {matching.composite_count[frame]:2d}, "
        f"cores {matching.mean_separation[frame]:.2f} apart   "
        f"fractional: {np.asarray(matching.fractional_counts[frame])}"
    )
assert np.all(matching.fractional_counts[-1] == 0)

# %% [markdown]
# ## Through time
#
# On a torus vortices vanish in pairs only. `tracks.trajectory` gives the path of any
# one, which runs on across the seam.

# %%
tracks = observables.track(film, times)
print(f"pairs that annihilate, per band: {np.asarray(tracks.annihilated).sum(0)}")
fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for band, ax in enumerate(axes):
    rho = observables.densities(states[-1])[band]
    plotting.plot_density(rho, spacing=lattice.spacing, ax=ax)
    plotting.plot_tracks(tracks, band, ax=ax)
    ax.set_title(f"band {band + 1}: density at t = 15, and all tracks")
plt.show()

# %% [markdown]
# Everything so far as a table, one row per vortex and frame:

# %%
table = observables.vortex_table(tracks, matching=matching)
print(table.groupby("band").agg({"identity": "nunique", "separation": "median"}))

# %% [markdown]
# ## Statistics of the pattern
#
# From here on vortices are points, and any points will do. At the end the nine that
# carry the flux repel each other: neighbours are further apart than at random (the
# ratio is 1 for random points and 2.15 for a triangular lattice), and none are close
# enough to be linked into a cluster.

# %%
last = jax.tree.map(lambda leaf: leaf[-1], film).points(1)
neighbours = observables.nearest_neighbours(last)
index = observables.clark_evans(last)
print(f"nearest neighbour: {neighbours.mean:.2f} +- {neighbours.std:.2f}")
print(f"Clark-Evans ratio: {index.ratio:.2f}, {index.z:.1f} standard errors from 1")
order = np.abs(observables.bond_order(last))
print(f"hexagonal order |psi_6|: {np.nanmean(order):.2f} (random points: 0.36)")
print(f"clusters: {observables.clusters(last, linking_length=3.0).count}")

# %% [markdown]
# One sample has few vortices. The pair correlation and the structure factor want an
# ensemble; under `jax.vmap` that is one call each.


# %%
@jax.jit
@jax.vmap
def pattern(key):
    start = gl15.quench(lattice, key=key)
    psi = gl15.evolve(tdgl, start, t1=2.0, dt=1e-2).ys[-1]
    return gl15.vortices(tdgl, psi, max_vortices=128).points(1)


patterns = pattern(jax.random.split(jax.random.key(0), 24))
step = 2 * np.pi / film.box.lengths[0]
edges = step * (np.arange(17) + 0.5)
r, g = jax.vmap(observables.pair_correlation)(patterns)
k, S = jax.vmap(lambda one: observables.point_structure_factor(one, edges))(patterns)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
plotting.plot_pair_correlation(r[0], g, label="band 2, t = 2", ax=left)
plotting.plot_structure_factor(k[0], S, label="vortices of band 2", ax=right)
plt.show()

# %% [markdown]
# ## Hyperuniformity
#
# Does S vanish towards $k = 0$, and how fast? The exponent comes with the error that
# the scatter of the powers implies. It belongs to the range fitted: a trend with
# `k_max` says that S is no power law there.

# %%
for k_max in (0.6, 0.8, 1.0):
    law = observables.hyperuniformity(patterns, k_max)
    print(f"k < {k_max}:   alpha = {law.exponent:.2f} +- {law.exponent_std:.2f}")

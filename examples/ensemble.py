# %% [markdown]
# # An ensemble and an estimator, wherever there are processors
#
# Simulates images of the default sample into a store and trains an estimator of eta
# from it. The same file serves a laptop, a workstation with several devices, a SLURM
# array and a job of many hosts. Started again after whatever stopped it, it goes on.

# %%
import os
from pathlib import Path

import jax
import numpyro.distributions as dist
import tyro

import gl15


# %% [markdown]
# Everything that uses JAX is in functions: where several processes train together, they
# must have found each other before.


# %%
def simulated(prior: gl15.Prior, n: int, size: int, path: Path, key: jax.Array):
    """The part of the ensemble that is this process's, on disk."""
    simulator = gl15.VortexSimulator(
        gl15.Lattice((size, size), spacing=0.5, boundary="open"),
        gl15.TwoBand(diffusion=(4.0, 1.0)),
        field=0.04,
        t1=2.0,
        dt=0.05,
        solver=gl15.RungeKuttaChebyshev(stages=5),
    )
    return gl15.simulate(simulator, prior, n, key=key, path=path, load=False)


def trained(prior: gl15.Prior, stored, steps: int, folder: Path, key: jax.Array):
    """An estimator, on all devices of all processes."""
    encoder_key, head_key, fit_key = jax.random.split(key, 3)
    # A sample of few sites has few wavenumbers.
    rings = min(21, stored.x_shape[0] // 2 - 1)
    encoder = gl15.SpectralEncoder(key=encoder_key, rings=rings)
    return gl15.fit(
        gl15.RatioEstimator(prior, encoder, key=head_key),
        stored,
        key=fit_key,
        loss=gl15.Contrastive(15),
        steps=steps,
        batch_size=128,
        checkpoint=folder,
        checkpoint_every=200,
        devices=jax.devices() if jax.device_count() > 1 else None,
    )


def main(
    n: int = 20_000,
    steps: int = 0,
    out: Path = Path("runs/ensemble"),
    size: int = 64,
    seed: int = 0,
    together: str | None = None,
) -> None:
    """Simulate an ensemble and train on it, or go on with that.

    Args:
        n: number of simulations; a larger one adds to what is there.
        steps: training steps; 0 only simulates.
        out: folder of the store and of the training, which all processes see.
        size: sites along a side of the sample.
        seed: seed of everything.
        together: processes that are to train together: `auto` where SLURM or Open MPI
            started them, or else the first one's host:port, the numbers being those
            of GL15_PROCESS.
    """
    if together == "auto":
        jax.distributed.initialize()
    elif together is not None:
        number, count = os.environ["GL15_PROCESS"].split("/")
        jax.distributed.initialize(together, int(count), int(number))

    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
    simulate_key, train_key = jax.random.split(jax.random.key(seed))
    stored = simulated(prior, n, size, out / "eta.zarr", simulate_key)
    if together is not None and steps:
        stored.wait()
    missing = sum(rows.stop - rows.start for rows in stored.missing)
    print(f"{n - missing} of {n} simulations are done", flush=True)
    if not steps:
        return
    if missing:
        raise SystemExit("training needs all of them: start this again when they are")

    name = f"eta-{n}-{steps}"  # a folder is of one training
    estimator, history = trained(prior, stored, steps, out / name, train_key)
    if jax.process_index() == 0:
        loss = float(history.validation_loss[history.best_epoch])
        provenance = {"n": n, "steps": history.steps, "seed": seed, "loss": loss}
        gl15.save(out / f"{name}.npz", estimator, provenance=provenance)
        print(f"trained to a validation loss of {loss:.4f}: {out / name}.npz")


if __name__ == "__main__":
    tyro.cli(main)

"""How the solver's loops are compiled."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax


@functools.cache
def compiled(function: Callable) -> Callable:
    """`eqx.filter_jit`, once, with the options that suit the stencil here."""
    jit: Callable[..., Any] = eqx.filter_jit  # its overloads leave out JAX's options
    if jax.default_backend() != "cpu":
        return jit(function)
    options = {
        # The stencil is made of long vector runs: 512-bit registers where they exist.
        "xla_cpu_prefer_vector_width": 512,
        # Its loops are too short to be worth spreading over the cores; simulations are.
        "xla_disable_hlo_passes": "cpu-parallel-task-assigner",
        "xla_cpu_multi_thread_eigen": False,
    }
    return jit(function, compiler_options=options)

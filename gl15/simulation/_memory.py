"""How much memory a request would take, and refusing it before any is taken."""

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from gl15.simulation._simulator import Simulator, trace_batch


Device: TypeAlias = Any
"""A `jax.Device`, which type checkers see as a variable."""

_KEYS = 32  # bytes that drawing a simulation's keys takes
_UNLIMITED = 2**62  # what version 1 of cgroups says where there is no limit


def refuse_result(
    simulator: Simulator,
    names: Sequence[str],
    n: int,
    key: PRNGKeyArray,
    *,
    stored: bool = False,
) -> int:
    """Refuse more simulations than memory can hold, before the first is drawn.

    Nothing is simulated: JAX traces the simulator for the shape of an observation.
    Where the device is a CPU the observations are counted twice, once as they are
    collected and once as the JAX array that is returned.

    Args:
        simulator: draws an observation at theta.
        names: the parameters.
        n: how many simulations are asked for.
        key: JAX random key; its device is where the ensemble will be.
        stored: whether they are kept on disk, and need not be in memory as well.

    Returns:
        Bytes of one observation; 0 if it cannot be traced.

    Raises:
        MemoryError: if they do not fit, with how many do.
    """
    try:
        image = trace_batch(simulator, names, key)
        shape, size = image.shape[1:], math.prod(image.shape[1:]) * image.dtype.itemsize
    except Exception:
        # What is wrong is said where the simulator is run, or by the store before.
        shape, size = (), 0
    device = device_of(key)
    drawn = 2 * len(names) * jnp.result_type(float).itemsize + _KEYS
    if device.platform == "cpu":
        needs = [(None, 2 * size + drawn)]
    else:
        needs = [(None, size + drawn), (device, size + drawn)]
    for place, each in needs:
        free = host_memory() if place is None else device_memory(place)
        if free is None or n * each <= free:
            continue
        fit = free // each
        remedy = f"at most `n`={fit} fit" if fit else "not a single one fits"
        if stored:
            remedy += "; `load=False` leaves them on disk"
        raise MemoryError(
            f"`n`={n} simulations need about {_text(n * each)} of {_name(place)} "
            f"memory, {_text(each)} each with observations of shape "
            f"{shape}, but {_text(free)} are free: {remedy}."
        )
    return size


def refuse_batch(
    needed: int | None, size: int, workers: int, result: int, device: Device
) -> None:
    """Refuse batches that are too large for the device, before the first is run.

    Args:
        needed: bytes that the compiled program of one batch takes; None if unknown.
        size: simulations per batch.
        workers: batches that run at the same time.
        result: bytes of the observations that are still to be allocated.
        device: where the batches run.

    Raises:
        MemoryError: if they do not fit, with the batch size that does.
    """
    free = device_memory(device)
    if needed is None or free is None:
        return
    place, shared = device, ""
    if device.platform == "cpu":
        place, free = None, max(0, free - result)
        shared = f" beside the {_text(result)} of the result" if result else ""
    if needed * workers <= free:
        return
    raise MemoryError(
        f"`batch_size`={size} needs about {_text(needed)} of {_name(place)} memory "
        f"for each of {workers} `workers`, {_text(needed * workers)} in all, but "
        f"{_text(free)} are free{shared}: {_smaller(needed / size, free, workers)}"
    )


def refuse_one(workers: int) -> str:
    """What to say where a batch of one simulation runs out of memory.

    Args:
        workers: batches that run at the same time.

    Returns:
        The message.
    """
    fewer = f"`workers`=1 instead of {workers}, or " if workers > 1 else ""
    return (
        "a single simulation runs out of memory, and so there is no smaller "
        f"`batch_size`: use {fewer}a smaller simulation, such as fewer lattice sites."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is how JAX says that the memory of a device is exhausted.

    Args:
        error: what was raised.

    Returns:
        Whether fewer simulations at once could help.
    """
    # Some errors of compiled programs reach Python as a ValueError of the same text.
    known = isinstance(error, jax.errors.JaxRuntimeError | ValueError)
    return known and "RESOURCE_EXHAUSTED" in str(error)


def program_memory(compile_: Callable[[], Any]) -> int | None:
    """Bytes that a compiled program takes while it runs, its arguments included.

    Args:
        compile_: gives the program.

    Returns:
        The bytes; None where JAX does not tell.
    """
    try:
        program = compile_()
    except Exception as error:
        # Some devices try kernels as they compile, and may run out of memory then.
        if is_out_of_memory(error):
            return None
        raise
    executable = program.runtime_executable()
    return None if executable is None else _executable_memory(executable)


@functools.lru_cache(maxsize=64)
def _executable_memory(executable: Any) -> int | None:
    # Asking takes as long as half a simulation does. Some devices do not tell.
    try:
        stats = executable.get_compiled_memory_stats()
    except (AttributeError, jax.errors.JaxRuntimeError):
        return None
    return (
        stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        + stats.temp_size_in_bytes
        - stats.alias_size_in_bytes
    )


def device_of(array: jax.Array) -> Device:
    """Where an array is.

    Args:
        array: any array.

    Returns:
        Its device, or one of them.
    """
    return next(iter(array.devices()))


def device_memory(device: Device) -> int | None:
    """Free memory of a device in bytes.

    Args:
        device: the device.

    Returns:
        What JAX may still allocate there; the host's where the device does not say,
        as a CPU does not.
    """
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return host_memory()
    return max(0, stats["bytes_limit"] - stats.get("bytes_in_use", 0))


def host_memory(root: Path = Path("/")) -> int | None:
    """Free memory of the host in bytes, within the limits of this process's cgroup.

    What the system would give up for it, such as cached files, counts as free.

    Args:
        root: where the system's files are.

    Returns:
        The bytes; None on a system that does not tell.
    """
    free = [*_meminfo(root), *_cgroup_room(root)]
    return max(0, min(free)) if free else None


def _meminfo(root: Path) -> Iterator[int]:
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                yield int(value.split()[0]) * 1024
    except OSError:
        # Without Linux's file, all that there is: too much rather than nothing.
        names = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
            yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_room(root: Path) -> Iterator[int]:
    """What each cgroup that holds this process leaves, of either version."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if not controllers:
            folder, names = "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            folder = "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        # A container may see its own group at the root, under another's path.
        place = Path(path.strip("/"))
        for part in (place, *place.parents):
            yield from _room(root / folder / part, *names)


def _room(folder: Path, limit_name: str, usage_name: str) -> Iterator[int]:
    try:
        limit = int((folder / limit_name).read_text())
        usage = int((folder / usage_name).read_text())
        stats = (folder / "memory.stat").read_text().split()
    except (OSError, ValueError):
        return  # no such group, or "max": no limit
    if limit < _UNLIMITED:
        values = dict(zip(stats[::2], stats[1::2], strict=False))
        cached = values.get("total_inactive_file", values.get("inactive_file", 0))
        yield limit - usage + int(cached)


def _smaller(each: float | int, free: int, workers: int) -> str:
    for count in (workers, 1):
        if free >= each * count:
            # A smaller program is not smaller in proportion, to a few per cent.
            fit = max(1, int(0.95 * free / (each * count)))
            with_workers = f"with `workers`={count} " if count < workers else ""
            return f"{with_workers}`batch_size`={fit} fits."
    return "not a single simulation fits."


def _name(place: Device | None) -> str:
    return "the host's" if place is None else f"{place.device_kind}'s"


def _text(size: float | int) -> str:
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    # 999.9 would be rounded to 1e+03.
    power = min(int(math.log10(max(1.0005 * size, 1))) // 3, len(units) - 1)
    return f"{size / 1000**power:.3g} {units[power]}"

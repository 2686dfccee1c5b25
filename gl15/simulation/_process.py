"""Which part of the work is this process's: said, or found in its environment."""

import os
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gl15.simulation._arguments import whole_number


def find_process(
    process: tuple[int, int] | None = None, environment: Mapping[str, str] | None = None
) -> tuple[int, int]:
    """This process's number and how many share the work.

    The first of these that is there: `process`; the variable `GL15_PROCESS`, such as
    `0/8`; a SLURM job array and the tasks of an `srun` step, alone or together;
    `jax.distributed`. A process that none of them speaks of is the only one.

    Args:
        process: (number from 0, how many), if it is known.
        environment: the environment variables, by default this process's.

    Returns:
        Number from 0, how many.

    Raises:
        ValueError: if they make no sense.
    """
    env = os.environ if environment is None else environment
    if process is not None:
        return _given(process)
    if "GL15_PROCESS" in env:
        return parse_process(env["GL15_PROCESS"], "GL15_PROCESS")
    part, parts = 0, 1
    # SLURM_NTASKS is there for the batch script itself too, which is one process;
    # variables of a step mean that srun started this one.
    if "SLURM_STEP_NUM_TASKS" in env and "SLURM_PROCID" in env:
        part, parts = _number(env, "SLURM_PROCID"), _number(env, "SLURM_STEP_NUM_TASKS")
    if "SLURM_ARRAY_TASK_ID" in env and "SLURM_ARRAY_TASK_COUNT" in env:
        job, jobs = _array(env)
        part, parts = job * parts + part, jobs * parts
    if parts == 1:
        part, parts = jax.process_index(), jax.process_count()
    return _checked(part, parts, "SLURM's number of this process")


def parse_process(text: str, name: str) -> tuple[int, int]:
    """Read `i/n`.

    Args:
        text: the text.
        name: what to call it in a message.

    Returns:
        Number from 0, how many.

    Raises:
        ValueError: if it is none.
    """
    if (match := re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)) is None:
        raise ValueError(
            f"{name}={text!r} must be a process's number from 0 and how many there "
            "are, such as 0/8."
        )
    return _checked(int(match[1]), int(match[2]), name)


def _array(env: Mapping[str, str]) -> tuple[int, int]:
    count = _number(env, "SLURM_ARRAY_TASK_COUNT")
    first = _number(env, "SLURM_ARRAY_TASK_MIN", 0)
    last = _number(env, "SLURM_ARRAY_TASK_MAX", first + count - 1)
    step = (last - first) // (count - 1) if count > 1 else 1
    number, rest = divmod(_number(env, "SLURM_ARRAY_TASK_ID") - first, max(step, 1))
    if rest or (count > 1 and first + step * (count - 1) != last):
        raise ValueError(
            "the tasks of this SLURM array are not evenly numbered, so that this one's "
            "part is unknown; set GL15_PROCESS=i/n, or pass `process=(i, n)`."
        )
    return number, count


def _given(process: Any) -> tuple[int, int]:
    if isinstance(process, str) or np.shape(process) != (2,):
        raise TypeError(
            f"`process`={process!r} must be a pair of this process's number from 0 and "
            "how many there are, such as (0, 8)."
        )
    part, parts = (whole_number("process", one, 0) for one in process)
    return _checked(part, parts, "`process`")


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name, default)
    try:
        return int(text)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}={text!r} is no number, so that this process's part is unknown; "
            "set GL15_PROCESS=i/n, or pass `process=(i, n)`."
        ) from None


def _checked(part: int, parts: int, name: str) -> tuple[int, int]:
    if parts == 0:
        raise ValueError(
            f"{name} says that 0 processes share the work; at least 1 does."
        )
    if not 0 <= part < parts:
        raise ValueError(
            f"{name}: {part} of {parts} is no process; they are numbered from 0 to "
            f"{parts - 1}."
        )
    return part, parts

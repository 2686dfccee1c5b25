"""Who is at work on a store: one file per process, which shows that it lives.

Locks save work; what is stored does not rest on them. Two processes that run the same
shard all the same write the same simulations, each a whole file under its final name,
and no call here is one that network file systems lack: a lock is a file created
exclusively, and a sign of life the time at which it was last touched.
"""

import json
import math
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


_BEAT = 10.0  # seconds between two signs of life
_STALE = 60.0  # without one for so long, a process of another host is dead


class StoreInUseError(RuntimeError):
    """Another process is at work on the same part of a store."""


@contextmanager
def hold(folder: Path, part: int, parts: int) -> Iterator[None]:
    """Be the one process at work on a part of a store.

    A lock left behind by a process that died is taken over: at once if it was one of
    this host, after a minute without a sign of life if of another.

    Args:
        folder: the store.
        part: this process's number; its shards are `part`, `part + parts`, ...
        parts: how many processes share the work.

    Yields:
        None, while no other process holds a shard of this part.

    Raises:
        StoreInUseError: if a living process does.
    """
    locks = folder / "locks"
    mine = locks / f"{part}-of-{parts}.json"
    while not _claim(mine):
        _take_over(folder, mine)
    stop = threading.Event()
    pulse = threading.Thread(target=_beat, args=(mine, stop), daemon=True)
    try:
        # First of all: looking at the others may take a minute.
        pulse.start()
        for other in locks.glob("*-of-*.json"):
            if other != mine and _overlap(_numbers(other), (part, parts)):
                _take_over(folder, other)
        yield
    finally:
        stop.set()
        pulse.join()
        # One that slept for long may have been replaced.
        owner, ours = _read(mine), _identity()
        if all(owner.get(name) == ours[name] for name in ("host", "pid", "started")):
            mine.unlink(missing_ok=True)


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """Be the one process that does something short to a store; others wait.

    Args:
        folder: the store.
        name: what is done.

    Yields:
        None, while no other process does it.
    """
    mine = folder / "locks" / f"{name}.json"
    while not _claim(mine):
        if _alive(mine) is False:
            mine.unlink(missing_ok=True)
        time.sleep(0.05)
    try:
        yield
    finally:
        mine.unlink(missing_ok=True)


def holders(folder: Path) -> list[dict[str, Any]]:
    """The processes that are at work on a store, or were when they died.

    Args:
        folder: the store.

    Returns:
        For each `part`, `parts`, `host`, `pid`, `since` and whether it is `alive`;
        None where that cannot be known from here yet.
    """
    found = []
    for lock in sorted((folder / "locks").glob("*-of-*.json")):
        part, parts = _numbers(lock)
        try:
            alive = _alive(lock)
        except OSError:
            alive = None  # a folder that cannot be written has no clock
        found.append({"part": part, "parts": parts, **_read(lock), "alive": alive})
    return found


def _claim(lock: Path) -> bool:
    """Create a lock, unless it is there."""
    lock.parent.mkdir(exist_ok=True)
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "w") as stream:
            json.dump(_identity(), stream)
    except OSError:
        lock.unlink(missing_ok=True)  # no name on it: all would wait for its owner
        raise
    return True


def _take_over(folder: Path, lock: Path) -> None:
    """Remove the lock of a dead process, or refuse."""
    alive = _alive(lock)
    if alive is None:
        alive = _watch(lock)
    owner = _read(lock)
    part, parts = _numbers(lock)
    who = f"process {owner.get('pid')} on {owner.get('host')}"
    if alive:
        raise StoreInUseError(
            f"`path`={str(folder)!r} is being written by {who} since "
            f"{owner.get('since')} (part {part} of {parts}). Wait until it is done, or "
            "stop it and call again; to share the work among several processes, start "
            "each with its own `process=(i, n)`."
        )
    if owner.get("host") != socket.gethostname() and lock.exists():
        warnings.warn(
            f"{who}, which was writing `path`={str(folder)!r}, has given no sign of "
            "life for a minute; this process goes on in its place.",
            stacklevel=2,
        )
    lock.unlink(missing_ok=True)


def _alive(lock: Path) -> bool | None:
    """Whether the process that holds a lock lives, as far as it can be told at once."""
    owner, ours = _read(lock), _identity()
    try:
        if (owner.get("host"), owner.get("boot")) != (ours["host"], ours["boot"]):
            return False if _age(lock) > _STALE else None
    except FileNotFoundError:
        return False
    return _started(owner["pid"]) == owner["started"]


def _watch(lock: Path) -> bool:
    """Wait for a sign of life."""
    try:
        first = _touched(lock)
        while _age(lock) <= _STALE:
            if _touched(lock) != first:
                return True
            time.sleep(0.5)
    except FileNotFoundError:
        pass
    return False


def _beat(lock: Path, stop: threading.Event) -> None:
    while not stop.wait(_BEAT):
        try:
            os.utime(lock)
        except OSError:
            continue  # a full or sleeping file system is no reason to stop


def _touched(lock: Path) -> float:
    # Opened: a network file system then asks its server and not its memory.
    with open(lock, "rb") as stream:
        return os.fstat(stream.fileno()).st_mtime


def _age(lock: Path) -> float:
    """Seconds since the last sign of life, by the clock of the file system."""
    here = f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
    probe = lock.with_name(f"clock-{here}")
    try:
        probe.touch()
        now = _touched(probe)
    finally:
        probe.unlink(missing_ok=True)
    return now - _touched(lock)


def _read(lock: Path) -> dict[str, Any]:
    try:
        return json.loads(lock.read_text())
    except (OSError, ValueError):
        return {}  # just created, or its disk was full


def _identity() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": _boot(),
        "started": _started(os.getpid()),
        "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process of this host began; None if there is none: numbers come again."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        text = None
    if text is not None:
        # After the name, which may hold anything: the state, and 19 fields on the time.
        fields = text[text.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else fields[19]
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"


def _numbers(lock: Path) -> tuple[int, int]:
    part, _, parts = lock.stem.partition("-of-")
    return int(part), int(parts)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two parts of the work share a shard."""
    return (one[0] - other[0]) % math.gcd(one[1], other[1]) == 0

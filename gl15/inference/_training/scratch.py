"""Summaries that memory has no room for, on disk while training lasts."""

import errno
import math
import os
import shutil
import tempfile
import warnings
import weakref
from typing import Any

import jax
import numpy as np


class Scratch:
    """Summaries of all pairs of a store, in a file without a name.

    The file is gone when nothing holds it any longer, also where the process is killed.
    What the system keeps of it in memory it takes back when it needs the room.

    Attributes:
        usable: whether all that was to be written could be.
    """

    def __init__(self, folder: str | os.PathLike, n: int, shape: jax.ShapeDtypeStruct):
        """Make the file.

        Args:
            folder: where.
            n: number of pairs.
            shape: shape and type of one summary.

        Raises:
            OSError: if it cannot be made there.
        """
        self.usable = True
        self._folder, self._shape = folder, shape
        self._each = math.prod(shape.shape) * shape.dtype.itemsize
        needed = n * self._each
        # What is less than half of what is free nobody else will miss.
        free = shutil.disk_usage(folder).free
        if 2 * needed > free:
            raise OSError(
                f"they take {needed / 1e9:.3g} GB, and of the {free / 1e9:.3g} GB "
                "that are free half may be used"
            )
        with tempfile.TemporaryFile(dir=folder, prefix="gl15-") as file:
            self._file = os.dup(file.fileno())
        self._close = weakref.finalize(self, os.close, self._file)

    def write(self, rows: slice, z: Any) -> None:
        """Keep the summaries of some pairs, if there is room for them.

        Args:
            rows: which.
            z: their summaries.
        """
        left = memoryview(np.asarray(z, self._shape.dtype).tobytes())
        at = rows.start * self._each
        try:
            while self.usable and left:
                done = os.pwrite(self._file, left, at)
                left, at = left[done:], at + done
        except OSError as error:
            self.usable = False
            self._close()
            _warn(self._folder, error)

    def read(self, rows: slice) -> np.ndarray:
        """The summaries of some pairs.

        Args:
            rows: which; all of them were written.

        Returns:
            `[rows, ...]`.

        Raises:
            OSError: if they are not there any more.
        """
        z = np.empty((rows.stop - rows.start, *self._shape.shape), self._shape.dtype)
        left, at = z.reshape(-1).view(np.uint8).data, rows.start * self._each
        while left:
            done = os.preadv(self._file, [left], at)
            if not done:
                raise OSError(errno.EIO, "the summaries kept on disk are cut short")
            left, at = left[done:], at + done
        return z


def open_scratch(
    folder: str | os.PathLike | None, n: int, shape: jax.ShapeDtypeStruct
) -> Scratch | None:
    """A file for the summaries of a store, if there is room for it.

    Args:
        folder: where; None for the system's folder of temporary files.
        n: number of pairs.
        shape: shape and type of one summary.

    Returns:
        The file; None, with a warning, where it would take more than half of what is
        free, or cannot be made.
    """
    where = tempfile.gettempdir() if folder is None else folder
    try:
        return Scratch(where, n, shape)
    except OSError as error:
        _warn(where, error)
    return None


def _warn(folder: Any, error: OSError) -> None:
    warnings.warn(
        f"`scratch`={str(folder)!r} cannot keep the summaries ({error}): they are made "
        "anew at every epoch, which takes longer. Give a folder with room, or more "
        "`cache`.",
        stacklevel=7,
    )

"""A line per batch, for machines: when, which simulations, how fast, how many fail."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any


class Log:
    """A file of JSON lines that only grows.

    A line is lost at most, never half of the ensemble for it: what cannot be written
    is left out.
    """

    def __init__(self, file: Path):
        """Prepare to append.

        Args:
            file: which file.
        """
        self._file = file
        self._who = {"host": socket.gethostname(), "pid": os.getpid()}

    def write(self, event: str, **values: Any) -> None:
        """Append a line.

        Args:
            event: what happened.
            values: more to say.
        """
        now = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "unix": round(time.time(), 3),
        }
        line = json.dumps({**now, "event": event, **values, **self._who})
        try:
            with open(self._file, "ab+") as stream:
                if stream.seek(0, os.SEEK_END):
                    stream.seek(-1, os.SEEK_END)
                    # A kill may have cut the last line off: it must not take this one.
                    line = line if stream.read(1) == b"\n" else f"\n{line}"
                stream.write(f"{line}\n".encode())
        except OSError:
            return


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All lines that the processes wrote about a store, in order of time.

    Args:
        folder: the store.

    Returns:
        The lines; those cut off by a kill are left out.
    """
    lines = []
    for file in sorted(folder.glob("log-*.jsonl")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return sorted(lines, key=lambda line: line.get("unix", 0.0))

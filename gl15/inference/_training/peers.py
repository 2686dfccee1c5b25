"""Noticing that another process of a training has died."""

import atexit
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable


_TOKEN = 16
_GRACE = 3.0  # seconds that JAX is given to raise by itself
_PATIENCE = 60.0  # seconds to wait for the others to connect


class Peers:
    """A connection between the first process and each of the others.

    The system closes it when a process dies, in whatever way. Collectives may wait for
    the dead for minutes, where no exception reaches: then this ends the process.
    """

    def __init__(self, share: Callable[[bytes | None], bytes | None], first: bool):
        """Connect; every process calls this.

        Args:
            share: gives every process what the first one holds.
            first: whether this process is the first.
        """
        self._closing = threading.Event()
        self._say: Callable[[], str] = lambda: ""
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None
        if first:
            self._listener = socket.create_server(("", 0))
            self._token = secrets.token_bytes(_TOKEN)
            port = self._listener.getsockname()[1]
            hello = self._token + f"{port} {socket.gethostname()}".encode()
            share(hello)
            _start(self._accept)
        else:
            hello = share(None) or b""
            self._token = hello[:_TOKEN]
            port, _, host = hello[_TOKEN:].decode().partition(" ")
            hosts = ["127.0.0.1"] if host == socket.gethostname() else []
            self._connect([host, *hosts], int(port))

    def watch(self, say: Callable[[], str]) -> None:
        """Begin to end this process when another one dies.

        Args:
            say: what to print first.
        """
        self._say = say

    def close(self, *, done: bool, lost: bool = False) -> None:
        """Let go: whoever dies now is none of this process's business.

        Args:
            done: whether the training is; if not, the others end too.
            lost: whether one of them is known to have died.
        """
        self._closing.set()
        if lost:
            leave()
        for one in self._sockets:
            try:
                if done:
                    # An end without it is a death.
                    one.sendall(b"!")
                one.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            one.close()
        if self._listener is not None:
            self._listener.close()

    def _accept(self) -> None:
        listener = self._listener
        assert listener is not None
        while not self._closing.is_set():
            try:
                other, _ = listener.accept()
            except OSError:
                return
            other.settimeout(_PATIENCE)
            try:
                known = other.recv(_TOKEN, socket.MSG_WAITALL) == self._token
            except OSError:
                known = False
            if not known:
                other.close()
                continue
            self._hold(other)

    def _connect(self, hosts: list[str], port: int) -> None:
        for host in hosts:
            try:
                other = socket.create_connection((host, port), timeout=5.0)
                other.sendall(self._token)
            except OSError:
                continue
            self._hold(other)
            return
        # Behind a wall: JAX's own heartbeat remains.

    def _hold(self, other: socket.socket) -> None:
        other.settimeout(None)
        self._sockets.append(other)
        _start(lambda: self._listen(other))

    def _listen(self, other: socket.socket) -> None:
        try:
            left = other.recv(1) == b"!"
        except OSError:
            left = False
        if left or self._closing.is_set():
            return
        # At once: where the first process died, JAX aborts this one in a moment.
        print(self._say(), file=sys.stderr, flush=True)
        time.sleep(_GRACE)
        if not self._closing.is_set():
            os._exit(1)


def leave() -> None:
    """Have this process end soon after its last line, though another one has died.

    JAX would take leave of all the others then, and wait for the dead for minutes.
    """
    ending = threading.Event()
    atexit.register(ending.set)

    def end() -> None:
        ending.wait()
        time.sleep(_GRACE)
        os._exit(1)

    _start(end)


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="gl15 peers", daemon=True).start()

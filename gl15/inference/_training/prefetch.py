"""A generator run in a background thread, some items ahead."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

import jax


_Item = TypeVar("_Item")
_END = object()


def prefetch(items: Iterable[_Item], ahead: int) -> Generator[_Item, None, None]:
    """The items, made in a background thread while others are used.

    Closing the generator ends the thread after the item in hand.

    Args:
        items: where they are from; nothing else may use it.
        ahead: how many may wait.

    Yields:
        The items in order. What making them raises is raised here.
    """
    ready: queue.Queue[Any] = queue.Queue(ahead)
    stop = threading.Event()
    # Such settings are the thread's own in JAX.
    double = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]

    def put(what: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(what, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        source = iter(items)
        try:
            with jax.enable_x64(double):
                for item in source:
                    if not put((item, None)):
                        break
                else:
                    put((_END, None))
        except BaseException as error:
            put((_END, error))
        finally:
            if isinstance(source, Generator):
                source.close()

    thread = threading.Thread(target=work, name="gl15 prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
            # Or it would stay in memory while the next one is waited for.
            del item
    finally:
        stop.set()
        thread.join()

"""Reading, computing and writing side by side: threads that run ahead of or behind the main one, in order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, NamedTuple, TypeVar

Item = TypeVar("Item")


class Failed(NamedTuple):
    """Stands for what a thread raised."""

    error: BaseException


END = object()
PATIENCE = 0.1
"""Seconds after which a thread that waits looks whether it is still needed."""


def ahead(items: Iterator[Item], count: int) -> Iterator[Item]:
    """Pass items on that another thread takes beforehand, at most `count` of them; what it raises is raised in turn."""
    queue: Queue[Any] = Queue(count)
    stopped = Event()

    def put(item: object) -> None:
        while not stopped.is_set():
            if fits(queue, item):
                return

    def take() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(END)
        except BaseException as error:
            put(Failed(error))

    thread = Thread(target=take, daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not END:
            if isinstance(item, Failed):
                raise item.error
            yield item
    finally:
        stopped.set()
        thread.join()


@contextmanager
def behind(function: Callable[[Item], object], count: int) -> Iterator[Callable[[Item], None]]:
    """A function that hands items over to `function` in another thread; at most `count` of them wait.

    At the end of the block all items are done. What `function` raises is raised at the next item or at the end; after
    an error, in the block or in `function`, items that wait are left.
    """
    queue: Queue[Any] = Queue(count)
    failed: list[BaseException] = []
    stopped = Event()

    def work() -> None:
        while (item := queue.get()) is not END:
            if stopped.is_set():
                continue
            try:
                function(item)
            except BaseException as error:
                failed.append(error)
                stopped.set()

    def hand_over(item: Item) -> None:
        if failed:
            raise failed[0]
        queue.put(item)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        yield hand_over
    except BaseException:
        stopped.set()
        raise
    finally:
        queue.put(END)
        thread.join()
    if failed:
        raise failed[0]


def fits(queue: "Queue[Any]", item: object) -> bool:
    """Put an item into a queue, unless it stays full for a moment."""
    try:
        queue.put(item, timeout=PATIENCE)
    except Full:
        return False
    return True

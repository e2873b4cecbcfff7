"""Work shared among threads so that results have the same bits whatever their number.

A matrix product may round differently when the library splits it among threads. So the work is cut
into parts that do not depend on the number of threads, and each part runs on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

ForEach = Callable[[Callable[[Any], None], Iterable[Any]], None]


@contextmanager
def shared_among_threads() -> Iterator[ForEach]:
    """Give a function that calls another on each item, on as many threads as PyTorch may use.

    While the context lasts, PyTorch's own operations run on one thread each, in the whole process.
    """
    workers = torch.get_num_threads()
    if workers == 1:
        yield _one_by_one
        return
    inference = torch.is_inference_mode_enabled()  # belongs to a thread, so it is handed on
    torch.set_num_threads(1)
    try:
        # OpenMP, which some of PyTorch's libraries use, has a number for each thread.
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:

            def for_each(function: Callable[[Any], None], items: Iterable[Any]) -> None:
                def call(item: Any) -> None:
                    with torch.inference_mode(inference), torch.no_grad():
                        function(item)

                for _ in pool.map(call, items):
                    pass

            yield for_each
    finally:
        torch.set_num_threads(workers)


def _one_by_one(function: Callable[[Any], None], items: Iterable[Any]) -> None:
    with torch.no_grad():
        for item in items:
            function(item)

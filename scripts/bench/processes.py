"""A new process for each measurement of memory."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_in_new_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a process of its own.

    Peak memory may be that of the whole process, so no earlier work may have happened in it. A fork would start with
    the memory of its parent.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()

"""End workers whose starter is gone: a process that is killed cannot end its own workers."""

import os
import threading
import time
from contextlib import suppress
from functools import cache

import psutil

PERIOD = 0.5
"""Seconds between two looks."""


def end_with(process_id: int) -> None:
    """Let this process end as soon as another one has ended, if it descends from that one; else do nothing.

    It is killed with all processes that it has started. A run loses no more than its last updates: all files are
    written completely or not at all, and it resumes from its last checkpoint. This works on every system that psutil
    knows.
    """
    _watch(process_id, os.getpid())


@cache
def _watch(ancestor_id: int, own_id: int) -> None:
    """Start one watching thread for each pair of processes; a forked process has a number of its own."""
    ancestor = next((each for each in psutil.Process(own_id).parents() if each.pid == ancestor_id), None)
    if ancestor is not None:
        threading.Thread(target=_end_after, args=(ancestor,), daemon=True).start()


def _end_after(ancestor: psutil.Process) -> None:
    while is_alive(ancestor):
        time.sleep(PERIOD)
    this = psutil.Process()
    for each in (*this.children(recursive=True), this):
        with suppress(psutil.NoSuchProcess):
            each.kill()


def is_alive(process: psutil.Process) -> bool:
    """Whether a process is there and has not ended; one that nobody has waited for yet is a zombie."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

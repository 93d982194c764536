"""Work in a process beside this one, which has all that this one has in memory."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from junkdna.files import DataError


def beside(processes: int, function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Start a call in a process of its own, or make it at once where ``processes`` is 1; returns what gives its value.

    That raises DataError as the call did, and EOFError where the process ended otherwise: it has said why on stderr.
    """
    if processes < 2:
        made = function(*arguments)
        return lambda: made
    gc.freeze()  # else collecting there would copy every page that is shared
    fork = multiprocessing.get_context("fork")
    channel, end = fork.Pipe(duplex=False)
    fork.Process(target=_send, args=(end, function, arguments), daemon=True).start()
    end.close()  # now only the process itself holds it open, and its death closes it

    def value() -> Any:
        found = channel.recv()
        if isinstance(found, DataError):
            raise found
        return found

    return value


def _send(channel: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it goes with the process that asked for it
    try:
        channel.send(function(*arguments))
    except DataError as error:
        channel.send(error)

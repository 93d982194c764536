"""Logging of a script, set up once: a line per event on stderr, which the rules send to the job's log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from junkdna.files import DataError


def run(main: Callable[[], None]) -> None:
    """Run a script's main with logging; bad input ends with its message alone, any other error with its traceback."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        main()
    except DataError as error:
        logging.getLogger("junkdna").error("%s", error)
        sys.exit(1)

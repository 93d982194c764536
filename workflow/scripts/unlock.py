"""Remove the lock that a killed Snakemake left in this directory, unless another run is alive here."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from pathlib import Path

import psutil

from junkdna.logs import run

log = logging.getLogger("unlock")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="working directory of the runs")
    return parser.parse_args(argv)


def running(directory: Path) -> list[int]:
    """Process ids of the Snakemake runs that work in ``directory``."""
    found = []
    for process in psutil.process_iter():
        try:
            if "snakemake" in " ".join(process.cmdline()[:4]) and Path(process.cwd()) == directory.resolve():
                found.append(process.pid)
        except psutil.Error:  # it ended meanwhile, or belongs to somebody else
            continue
    return found


def main(argv: list[str] | None = None) -> None:
    directory = parse_args(argv).directory
    if not any((directory / ".snakemake" / "locks").glob("*")):
        return
    if alive := running(directory):
        log.warning("another Snakemake (process %s) works here; its lock stays", ", ".join(map(str, alive)))
        return
    log.info("removing the lock of a run that was killed")
    subprocess.run([sys.executable, "-m", "snakemake", "--unlock", "--directory", str(directory)], check=True)


if __name__ == "__main__":
    run(main)

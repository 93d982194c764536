from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from simulated import options_plan, trained, write_cells
from test_tables import aggregated, probability

from junkdna.beside import beside
from junkdna.files import DataError
from junkdna.gathering import gather


def fractions_plan(root: Path) -> dict[str, Any]:
    """Evaluated cells of two shares of the training data, and a panel of each."""
    plan, fractions = trained(options_plan(root)), ("1.00", "0.50")
    cells = [c | {"fraction": f, "path": f"{c['path']}/{f}"} for c in plan["cells"] for f in fractions]
    panels = [{"label": fraction, "where": {"fraction": fraction}} for fraction in fractions]
    plan |= {"cells": cells, "experiment": plan["experiment"] | {"panels": panels}}
    write_cells(plan, probability, examples=40)
    return plan


def test_two_processes_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, started = fractions_plan(tmp_path), []
    start = multiprocessing.context.ForkProcess.start
    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", lambda self: started.append(1) or start(self))
    alone = aggregated(tmp_path, plan)
    assert not started
    assert aggregated(tmp_path, plan, "--threads", "2") == alone and len(started) == 2


def test_what_another_process_finds_damaged_is_named(tmp_path: Path) -> None:
    plan = fractions_plan(tmp_path)
    (damaged,) = [c["path"] for c in plan["cells"] if (c["level"], c["fraction"], c["seed"]) == ("0.70", "0.50", 1)]
    Path(damaged, "predictions.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=rf"{damaged}/predictions\.parquet.*delete"):
        gather(plan, 2)


def test_a_process_that_is_killed_ends_the_wait() -> None:
    value = beside(2, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(EOFError):
        value()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends when it has nobody to send to")
def test_a_process_goes_with_the_one_that_asked_for_it(tmp_path: Path) -> None:
    code = (
        "import time; from junkdna.beside import beside; beside(2, time.sleep, 600); print(flush=True); time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(gather.__code__.co_filename).parents[1])}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout.readline() == b"\n"
    (child,) = psutil.Process(parent.pid).children()
    time.sleep(0.2)  # for it to ask to be told
    parent.kill()
    parent.wait()
    child.wait(timeout=10)

"""A second run in the same folder, and a clock that jumps."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from provoke import RANDOM, TUNED, alive, check_whole, completes, eventually, remove, run, start

import unlock
from micro import Project


def test_a_second_run_is_refused_and_the_first_goes_on(
    finished: Project, done: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remove(done, RANDOM, f"finetune/{TUNED}/0", f"finetune/{TUNED}/1")
    locks = done.root / ".snakemake/locks"
    first = start(done, tmp_path / "first", "all_figures")
    assert eventually(lambda: any(locks.glob("*")))
    second = done.snakemake("all_figures", check=False, timeout=900)
    assert first.poll() is None, "the first run ended before the second was refused"
    assert second.returncode != 0
    said = second.stdout + second.stderr
    assert "Directory cannot be locked" in said and "--unlock" in said and "Traceback" not in said
    unlock.main(["--directory", str(done.root)])
    assert f"another Snakemake (process {first.pid}" in caplog.text and any(locks.glob("*"))
    assert first.wait(900) == 0, (tmp_path / "first").read_text()
    assert eventually(lambda: not alive(done.root))
    assert done.tables() == finished.tables() and check_whole(done, finished)


def files(project: Project) -> list[Path]:
    folders = ("workflow", "config", "resources", "results")
    return [f for folder in folders for f in sorted((project.root / folder).rglob("*")) if f.is_file()]


def test_times_from_the_past_and_the_future(finished: Project, done: Project) -> None:
    """After a clock that jumped: any file may be years older or newer than what was made from it."""
    draw, now, years = random.Random(3), time.time(), 3 * 365 * 86400
    for file in files(done):
        os.utime(file, (now + draw.uniform(-years, years),) * 2)
    assert done.plan() == []
    # Snakemake stops a job whose input is from the future.
    remove(done, RANDOM)
    state = done.root / "results/compress/organism-decoder/random/0.50/state.safetensors"
    os.utime(state, (now + years,) * 2)
    status, said = run(done, "all_figures")
    assert status != 0 and f"than input {state.relative_to(done.root)}" in said and "clock skew" in said
    check_whole(done, finished)
    # What the README says to do.
    for file in files(done):
        if file.stat().st_mtime > time.time():
            file.touch()
    assert {job.rule for job in done.plan()} >= {"evaluate_compressed", "aggregate"}
    completes(done, finished)

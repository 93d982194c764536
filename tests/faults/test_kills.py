"""kill -9 at random moments: what is there stays whole, nothing stays alive, the next run goes on."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from provoke import DEADLINE, alive, check_whole, completes, eventually, start

from micro import Project

ROUNDS = 20
VICTIMS = ("everything", "snakemake", "server", "job")  # in turns
MOST_JOBS = 5  # have ended when the kill comes: the rounds are spread over the whole run, which has 50


def ended(log: Path) -> int:
    """How many jobs Snakemake has seen succeed."""
    return len(re.findall(r"^\d+ of \d+ steps ", log.read_text(), re.MULTILINE))


def told(process: psutil.Process) -> tuple[int, list[str]]:
    """Parent and command line of a process; of one that has ended, none."""
    try:
        return process.ppid(), process.cmdline()
    except psutil.Error:
        return 0, []


def victims(kind: str, snakemake: int, root: Path) -> list[psutil.Process]:
    """The processes of a run to kill; none while there is no such process."""
    found = {process: told(process) for process in alive(root)}
    # A forked job has the server's command line.
    servers = {process: parent for process, (parent, command) in found.items() if "--serve" in command}
    server = [process for process, parent in servers.items() if parent == snakemake]
    return {
        "everything": list(found),
        "snakemake": [process for process in found if process.pid == snakemake],
        "server": server,
        "job": [process for process, parent in servers.items() if server and parent == server[0].pid][:1],
    }[kind]


def kill(processes: list[psutil.Process]) -> bool:
    """Kill -9; whether there was anything to kill."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return bool(processes)


def strike(project: Project, log: Path, kind: str, draw: random.Random) -> bool:
    """Start a run, kill at a random moment, wait for the end; whether the kill came before the run's own end."""
    jobs, delay = draw.randint(0, MOST_JOBS), draw.uniform(0, 1)
    snakemake = start(project, log, "--rerun-incomplete", "all_figures")

    def over() -> bool:
        return snakemake.poll() is not None

    assert eventually(lambda: over() or ended(log) >= jobs)
    time.sleep(delay)
    assert eventually(lambda: over() or kill(victims(kind, snakemake.pid, project.root)))
    status = snakemake.wait(DEADLINE)
    assert eventually(lambda: not alive(project.root)), (kind, alive(project.root))
    return status != 0


def test_twenty_kills(finished: Project, fresh: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    draw, kills, ends, counts = random.Random(3), 0, 0, []
    while kills < ROUNDS:
        kind = VICTIMS[kills % len(VICTIMS)]
        if strike(fresh, tmp_path / "log", kind, draw):
            kills += 1
            counts.append(check_whole(fresh, finished))
            print(f"kill {kills}, {kind}: {counts[-1]} results")
        else:  # it was quicker: once more from the beginning
            ends += 1
            assert fresh.tables() == finished.tables()
            shutil.rmtree(fresh.root / "results")
        if kills == 1:
            subprocess.run([fresh.python, "workflow/scripts/unlock.py"], cwd=fresh.root, check=True)
            assert not any((fresh.root / ".snakemake/locks").glob("*"))
        # What that does, without a start of Snakemake.
        shutil.rmtree(fresh.root / ".snakemake/locks", ignore_errors=True)
    assert ends < ROUNDS and max(counts) > 100, "the kills have not come far into the run"
    completes(fresh, finished)

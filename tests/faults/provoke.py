"""What the tests of faults share: processes of a run, damage to files, and the check that no file is half written."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from micro import Project

DEADLINE = 300  # seconds; a run that a fault has struck ends within seconds, on a loaded machine in minutes
RANDOM = "evaluate/organism-decoder/random/0.50/none/options"
TUNED = "organism-encoder/magnitude/0.50/sparse/lexical/0.50"


def eventually(condition: Callable[[], bool], deadline: float = DEADLINE) -> bool:
    """Poll ``condition`` until it holds or the deadline has passed."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def alive(root: Path) -> list[psutil.Process]:
    """The processes that work in a folder: Snakemake, its shells and jobs, the warm-start server and its children."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it ended meanwhile
            if Path(process.cwd()).is_relative_to(root):
                found.append(process)
    return found


def start(project: Project, log: Path, *arguments: str) -> subprocess.Popen:
    """Start Snakemake; what it says goes to ``log``."""
    with log.open("w") as handle:
        command = project.command(*arguments)
        return subprocess.Popen(command, cwd=project.root, env=project.environment(), stdout=handle, stderr=handle)


def run(project: Project, *arguments: str) -> tuple[int, str]:
    """Run Snakemake to its end, which leaves no process behind: exit status and what it said."""
    done = project.snakemake(*arguments, check=False, timeout=4 * DEADLINE)
    assert eventually(lambda: not alive(project.root)), alive(project.root)
    return done.returncode, done.stdout + done.stderr


def completes(project: Project, finished: Project) -> None:
    """The next run completes, gives the undisturbed run's results, and leaves nothing to do."""
    status, said = run(project, "--rerun-incomplete", "all_figures")
    assert status == 0, said[-6000:]
    assert project.tables() == finished.tables()
    assert check_whole(project, finished) >= 100
    assert project.plan() == []


def check_whole(project: Project, finished: Project) -> int:
    """Every result is byte for byte the undisturbed run's, or absent; return how many there are."""
    results, count = project.root / "results", 0
    for file in sorted(results.rglob("*")):
        relative = file.relative_to(results)
        hidden = any(part.startswith((".", "resume-")) for part in relative.parts)
        if not file.is_file() or hidden or relative.parts[0] in ("logs", "benchmarks"):
            continue
        count += 1
        if relative.parts[0] == "sources" or file.name == "provenance.json":  # they hold paths, times and memory
            assert file.suffix != ".json" or json.loads(file.read_text()), relative
        else:
            assert file.read_bytes() == (finished.root / "results" / relative).read_bytes(), relative
    return count


def remove(project: Project, *folders: str) -> None:
    """Delete the files of cells, so that there is something to do."""
    for folder in folders:
        for file in (project.root / "results" / folder).iterdir():
            file.unlink()


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file's bytes but not its time, as a failing disk does."""
    times = path.stat()
    path.write_bytes(change(path.read_bytes()))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncated(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def flipped(content: bytes) -> bytes:
    """One bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]

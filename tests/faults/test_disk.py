"""A results folder on a disk that cannot be written, and on one that is full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from provoke import TUNED, check_whole, completes, remove, run

from micro import Project

ROOM = 300_000  # bytes that are left: enough for logs, too few for the weights of a fine-tuning, a megabyte


def mount(*arguments: str) -> bool:
    if os.geteuid() or not shutil.which("mount"):
        return False
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(done: Project, tmp_path: Path) -> Iterator[Project]:
    """A finished run whose results lie on a small disk of their own, less one fine-tuned cell."""
    disk, results = tmp_path / "disk", done.root / "results"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)):
        pytest.skip("NO DISK FULL AND NO READ-ONLY RESULTS TESTED: mounting a tmpfs needs root")
    try:
        shutil.copytree(results, disk / "results", symlinks=True)  # with its times
        shutil.rmtree(results)
        results.symlink_to(disk / "results")
        remove(done, f"finetune/{TUNED}/0", f"evaluate/{TUNED}/0/lexical")
        yield done
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_read_only_then_full_then_roomy(finished: Project, small_disk: Project, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    assert mount("-o", "remount,ro", str(disk))
    status, said = run(small_disk, "all_figures")
    assert status != 0 and "Write-protected output files" in said and "results/" in said
    assert mount("-o", "remount,rw", str(disk))

    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - ROOM))
    status, said = run(small_disk, "--keep-going", "all_figures")
    log = f"results/logs/finetune/{TUNED}/0.log"
    assert status != 0 and log in said
    assert "No space left on device" in (small_disk.root / log).read_text()
    assert [p for p in (small_disk.root / f"results/finetune/{TUNED}/0").glob("*") if p.is_file()] == []
    check_whole(small_disk, finished)

    ballast.unlink()
    completes(small_disk, finished)

"""Copies of the project with the micro configuration: untouched, and after a finished run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from micro import Project, copy_project


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A copy that has computed nothing."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy with a finished run; tests must not change it, but copy it (see ``done``)."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    project.snakemake("all_figures", timeout=1200)  # on a busy machine
    return project


@pytest.fixture
def done(finished: Project, tmp_path: Path) -> Project:
    """A private copy of the finished run, times and metadata included."""
    shutil.copytree(finished.root, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")

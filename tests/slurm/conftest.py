"""A cluster for the tests of this folder, a project to run on it, and one that ran without it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import Cluster, UnavailableError
from remote import PATIENCE, TABLES, TRAINING, Remote, configure

from micro import Project, copy_project


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run without a cluster."""
    project = configure(copy_project(tmp_path_factory.mktemp("local") / "project"))
    project.snakemake(*TABLES, f"results/finetune/{TRAINING}/manifest.json", timeout=PATIENCE)
    return project


def started(accounting: bool) -> Iterator[Cluster]:
    cluster = Cluster(accounting)
    try:
        cluster.start()
    except UnavailableError as error:
        pytest.skip(f"NOTHING TESTED ON SLURM: {error}")
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield from started(accounting=False)


@pytest.fixture
def cluster_with_accounting() -> Iterator[Cluster]:
    yield from started(accounting=True)


@pytest.fixture(scope="module")
def remote(cluster: Cluster, local: Project, tmp_path_factory: pytest.TempPathFactory) -> Remote:
    """A project that has computed nothing yet; each test of a module goes on where the one before it ended."""
    return Remote(configure(copy_project(tmp_path_factory.mktemp("remote") / "project")), local, cluster)

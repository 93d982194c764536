"""The same profile where there is a slurmdbd."""

from __future__ import annotations

from cluster import Cluster, capture, wait_for
from remote import PATIENCE, Remote, configure

from micro import Project, copy_project


def test_a_cancelled_job_is_tried_again_and_gpus_are_accounted_for(
    cluster_with_accounting: Cluster, local: Project, tmp_path
) -> None:
    remote = Remote(configure(copy_project(tmp_path / "project")), local, cluster_with_accounting)
    cell = "evaluate/organism-decoder/dense/dense/none/options/metrics.json"
    capture("scontrol", "update", "PartitionName=gpu", "State=DOWN")  # jobs may come, and wait
    run = remote.start(f"results/{cell}")
    wait_for("the job", lambda: run.jobs or run.process.poll() is not None, PATIENCE)
    capture("scancel", *run.jobs)
    capture("scontrol", "update", "PartitionName=gpu", "State=UP")
    run.wait()
    remote.assert_same(cell)
    cancelled, completed = run.jobs

    def record(number: str) -> list[str]:
        return capture("sacct", "-nXPj", number, "-o", "Account,State,AllocTRES").strip().split("|")

    wait_for("the record", lambda: record(completed)[1] == "COMPLETED")
    assert record(cancelled)[:2] == ["junkdna", "CANCELLED by 0"]
    assert record(completed)[0] == "junkdna" and "gres/gpu=1" in record(completed)[2]

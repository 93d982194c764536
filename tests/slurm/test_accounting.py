"""The same profile where there is a slurmdbd."""

from __future__ import annotations

from cluster import capture, wait_for
from remote import Remote, configure

from micro import copy_project


def test_gpus_are_accounted_for(cluster_with_accounting, local, tmp_path) -> None:
    remote = Remote(configure(copy_project(tmp_path / "project")), local, cluster_with_accounting)
    cell = "evaluate/organism-decoder/dense/dense/none/options/metrics.json"
    run = remote.start(f"results/{cell}")
    run.wait()
    remote.assert_same(cell)
    (number,) = run.jobs
    record = ["sacct", "-nXPj", number, "-o", "Account,State,AllocTRES"]
    wait_for("the record", lambda: "COMPLETED" in capture(*record))
    account, _, resources = capture(*record).strip().split("|")
    assert account == "junkdna" and "gres/gpu=1" in resources

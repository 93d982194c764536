"""The shipped profile on a real cluster without accounting: same bytes as a local run, whatever happens to the jobs."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from cluster import capture, wait_for
from remote import PATIENCE, STEPS, TABLES, TRAINING, Remote, Run, job_fields, progress

LOG = f"results/logs/finetune/{TRAINING}.log"


def test_results_are_those_of_a_local_run(remote: Remote) -> None:
    run = remote.start(*TABLES)
    run.wait()
    for name in ("metrics.json", "predictions.parquet"):
        remote.assert_same(f"evaluate/**/{name}")
    for name in ("manifest.json", "model.safetensors"):
        remote.assert_same(f"finetune/**/{name}")
    remote.assert_same("compress/**/state.safetensors")
    remote.assert_same("tables/*.csv")

    jobs = [job_fields(number) for number in run.jobs]
    rules = sorted(re.sub("_wildcards.*", "", job["Comment"]) for job in jobs)
    cells = ["rule_cell_evaluate_finetuned_finetune"] * 2
    suites = [
        f"rule_suites_organism-decoder_{state}_evaluate_compressed" for state in ("dense_dense", "magnitude_0.60")
    ]
    alone = ["rule_compress"] * 2 + ["rule_index_magnitudes"] * 2 + ["rule_index_magnitudes_zero_shot"]
    assert rules == sorted(["rule_zero_shot_compress_zero_shot_evaluate_zero_shot", *cells, *suites, *alone])
    for job in jobs:
        # One GPU and one CPU also for two suites at once; none where a rule does not use any.
        gpu = "evaluate" in job["Comment"]
        assert (job["Partition"], job.get("TresPerJob")) == (("gpu", "gres:gpu:1") if gpu else ("cpu", None))
        assert job["NumCPUs"] == "1" and 6000 < int(job["MinMemoryNode"].removesuffix("M")) < 6100
        assert Path(job["StdOut"]).is_relative_to(remote.project.root / "results/logs/slurm")
        if "suites" in job["Comment"]:
            assert job["TimeLimit"] == "00:42:00", "twice that of a suite"


def signal_job(number: str, sent: signal.Signals, *daemons: str) -> None:
    """Signal every process of a job, and those whose command begins so."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        its_own = (process.info["environ"] or {}).get("SLURM_JOB_ID") == number
        if its_own or " ".join(process.info["cmdline"] or []).startswith(daemons):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(sent)


def strike(run: Run, log: Path, least: float, blow: Callable[[str], object]) -> str:
    """Let a training come to an epoch, strike its job, return what was logged until then."""
    wait_for(f"epoch {least}", lambda: progress(log) >= least or run.process.poll() is not None, PATIENCE)
    assert run.process.poll() is None, run.output[-6000:]
    (number,) = capture("squeue", "-h", "-t", "RUNNING", "-p", "gpu", "-o", "%i").split()
    blow(number)
    wait_for("the end of the job", lambda: job_fields(number)["JobState"] not in ("RUNNING", "COMPLETING"), PATIENCE)
    return log.read_text()


def test_a_training_survives_all_that_a_cluster_does_to_its_job(remote: Remote) -> None:
    cluster, log = remote.cluster, remote.project.root / LOG
    run = remote.start(f"results/finetune/{TRAINING}/manifest.json")

    def goes_on_after(logged: str) -> None:
        (saved,) = re.findall(rf"SIGTERM: saved at step (\d+) of {STEPS}", logged)
        wait_for("the next job", lambda: f"goes on at step {saved} of" in log.read_text(), PATIENCE)

    def preempt(number: str) -> None:
        capture("sbatch", "-p", "urgent", "-N2", "--gpus-per-node=1", "--mem=10", "-o", "/dev/null", "--wrap", "true")

    def fail(number: str) -> None:
        """Kill the node's daemon and all that the job runs there, as if the power were cut."""
        node = job_fields(number)["NodeList"]
        cluster.kill(node, signal.SIGKILL)
        signal_job(number, signal.SIGKILL, f"slurmstepd: [{number}.")
        capture("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        failed.append(node)

    def end(number: str) -> None:
        """Let the job's time be over, halted: the controller looks each half minute, in which a training could end."""
        signal_job(number, signal.SIGSTOP)
        capture("scontrol", "update", f"JobId={number}", "EndTime=now")
        wait_for("the time's end", lambda: job_fields(number)["JobState"] != "RUNNING", PATIENCE)
        signal_job(number, signal.SIGCONT)

    failed: list[str] = []
    goes_on_after(strike(run, log, 0.2, lambda number: capture("scancel", number)))
    goes_on_after(strike(run, log, 0.6, end))
    goes_on_after(strike(run, log, 1.2, preempt))
    assert "SIGTERM" not in strike(run, log, 2, fail)
    (saved,) = (remote.project.root / "results/finetune" / TRAINING).glob("resume-*/checkpoint-*")
    step = saved.name.removeprefix("checkpoint-")
    wait_for("the next job", lambda: f"goes on at step {step} of" in log.read_text(), PATIENCE)
    cluster.kill("slurmctld")
    time.sleep(3)
    cluster.launch("slurmctld")
    cluster.launch(failed[0])
    run.wait()
    for name in ("manifest.json", "model.safetensors"):
        remote.assert_same(f"finetune/{TRAINING}/{name}")
    assert len(run.jobs) == 3, "only what was cancelled and what ran out of time is submitted again"
    minutes = [job_fields(number)["TimeLimit"] for number in run.jobs]
    assert minutes[0] < minutes[2], "the next attempt gets more time"
    assert run.output.count(LOG) >= 3, "each failure names the log"
    wait_for("the failed node", lambda: set(capture("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}, 60)


def test_more_memory_for_the_next_attempt_and_three_failures_are_the_end(remote: Remote) -> None:
    root, cell = remote.project.root, "results/evaluate/organism-decoder/dense/dense/none/closed_book/metrics.json"
    index = "results/compress/organism-encoder/magnitudes.json"
    (root / cell).unlink()
    (root / index).unlink()
    script = root / "workflow/scripts/index_magnitudes.py"
    whole = script.read_text()
    script.write_text('raise SystemExit("broken on purpose")\n')
    run = remote.start(cell, index, options=("--set-resources", "evaluate_compressed:mem_mb=150 * attempt ** 4"))
    run.wait(1)
    script.write_text(whole)
    remote.assert_same(cell.removeprefix("results/"))
    jobs = [job_fields(number) for number in run.jobs]
    memory = [job["MinMemoryNode"] for job in jobs if "evaluate" in job["Comment"]]
    assert memory == ["150M", "2400M"]
    broken = [job for job in jobs if "index" in job["Comment"]]
    assert len(broken) == 3 and {job["JobState"] for job in broken} == {"FAILED"}
    log = "results/logs/compress/organism-encoder/magnitudes.log"
    assert run.output.count(log) >= 3 and (root / log).read_text() == "broken on purpose\n"
    for job in broken:
        assert job["StdOut"] in run.output and log in Path(job["StdOut"]).read_text()

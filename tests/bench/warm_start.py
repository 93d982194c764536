"""Time jobs that build a small RoBERTa, cold against warm, and print a table.

Run it as ``python tests/bench/warm_start.py --jobs 20``; the jobs run one after another on one thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))
from junkdna import warm

JOB = """
from transformers import RobertaConfig, RobertaForSequenceClassification, Trainer
sizes = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 384}
RobertaForSequenceClassification(RobertaConfig(vocab_size=320, **sizes))
"""


def seconds(python: str, job: Path, jobs: int) -> list[float]:
    """Wall-clock seconds of each of ``jobs`` runs of ``job`` by the interpreter ``python``."""
    taken = []
    for _ in range(jobs):
        begun = time.perf_counter()
        subprocess.run([python, job], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        taken.append(time.perf_counter() - begun)
    return taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.py"
        job.write_text(JOB)
        cold = seconds(sys.executable, job, jobs)
        server = warm.Server()
        server.start()
        warmed = seconds(os.environ[warm.VARIABLE], job, jobs)
        server.stop()
    rows = [("cold", cold), ("warm", warmed)]
    print(f"{'':6}{'all':>9}{'first':>9}{'median':>9}   seconds, {jobs} jobs")
    for name, taken in rows:
        print(f"{name:6}{sum(taken):9.2f}{taken[0]:9.2f}{sorted(taken)[jobs // 2]:9.3f}")


if __name__ == "__main__":
    main()

"""Print, per experiment, how many cells are done, missing or stale, and which. Computes nothing."""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from junkdna import grid
from junkdna.config import calibrated, read_merged
from junkdna.files import DataError
from junkdna.logs import run

SHOWN = 10


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snakefile", type=Path, required=True)
    parser.add_argument("--config", required=True, help="the workflow's configuration as JSON")
    parser.add_argument("--all", action="store_true", help=f"list every cell, not the first {SHOWN} of each kind")
    return parser.parse_args(argv)


def summary(snakefile: Path, config: str) -> dict[str, str]:
    """Output file to "done", "missing" or "stale", as Snakemake itself sees it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(config)
        file.flush()
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--configfile", file.name]
        done = subprocess.run([*command, "--summary", "all_figures"], capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"snakemake --summary failed:\n{done.stderr}")
    rows = csv.DictReader(done.stdout.splitlines(), delimiter="\t")
    pending = {"no update": "done", "update pending": "stale"}
    return {r["output_file"]: "missing" if r["status"] == "missing" else pending[r["plan"]] for r in rows}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    settings, catalog, experiments = read_merged(json.loads(args.config))
    states = summary(args.snakefile, args.config)
    results = settings.pathvars.get("results", "results")
    lines = [f"{'experiment':24}{'cells':>7}{'done':>7}{'missing':>9}{'stale':>7}"]
    for name, cells in grid.expand_all(experiments, calibrated(catalog)).items():
        found: dict[str, list[str]] = {"done": [], "missing": [], "stale": []}
        for cell in cells:
            path = f"{results}/evaluate/{cell.path}/metrics.json"
            found[states.get(path, "missing")].append(path)
        counts = [len(found[kind]) for kind in ("done", "missing", "stale")]
        lines.append(f"{name:24}{len(cells):7}{counts[0]:7}{counts[1]:9}{counts[2]:7}")
        for kind in ("missing", "stale"):
            shown = found[kind] if args.all else found[kind][:SHOWN]
            lines += [f"  {kind}: {path}" for path in shown]
            if len(shown) < len(found[kind]):
                lines.append(f"  {kind}: and {len(found[kind]) - len(shown)} more")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    run(main)

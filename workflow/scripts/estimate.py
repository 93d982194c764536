"""Print what a configuration would cost: cells, jobs, hours and disk per experiment. Runs nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from junkdna.config import PROJECT, calibrated, read_all, read_yaml
from junkdna.estimate import Job, Prices, jobs_of
from junkdna.grid import expand_all
from junkdna.logs import run

HEAD = "| experiment | protocol | cells | jobs | hours | GB | extrapolated |\n|---|---|---:|---:|---:|---:|---:|"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, nargs="*", default=[], help="as given to snakemake")
    parser.add_argument("--units", type=Path, default=PROJECT / "resources/unit_costs.yaml", help="unit costs")
    return parser.parse_args(argv)


def row(name: str, protocol: str, cells: int, jobs: list[Job], prices: Prices) -> str:
    costs = [prices.cost(job) for job in jobs]
    seconds, guessed = (sum(c.seconds for c in some) for some in (costs, [c for c in costs if c.extrapolated]))
    size, share = sum(cost.bytes for cost in costs), round(100 * guessed / seconds) if seconds else 0
    return (
        f"| {name} | {protocol} | {cells:,} | {len(jobs):,} | {seconds / 3600:,.2f} | {size / 1e9:,.2f} | {share} % |"
    )


def table(configfiles: list[Path], units: Path) -> str:
    """The table in Markdown; the last line counts what experiments share once."""
    _, catalog, experiments = read_all(configfiles)
    drawing, prices = calibrated(catalog), Prices(read_yaml(units), catalog)
    lines, every = [HEAD], set()
    for name, cells in expand_all(experiments, drawing).items():
        every.update(cells)
        lines.append(row(f"`{name}`", experiments[name].id, len(cells), jobs_of(cells, catalog, drawing), prices))
    jobs = jobs_of(sorted(every), catalog, drawing)
    return "\n".join([*lines, row("all, shared cells once", "", len(every), jobs, prices)])


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    sys.stdout.write(table(args.configfile, args.units) + "\n")


if __name__ == "__main__":
    run(main)

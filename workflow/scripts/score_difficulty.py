"""Score the difficulty of every series and example of the configured experiments, and what it predicts."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from junkdna import flips, responses, twins
from junkdna.agreement import agreement
from junkdna.difficulty import score_difficulty
from junkdna.files import atomic_path
from junkdna.logs import run
from junkdna.outcomes import read_outcomes
from junkdna.tidy import read_plan, write_csv

logger = logging.getLogger("junkdna.difficulty")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=Path, nargs="+", required=True, help="plans of the experiments")
    parser.add_argument("--human", type=Path, required=True, help="human scores")
    parser.add_argument("--table", type=Path, required=True, help="scores of the series to write")
    parser.add_argument("--pretraining", type=Path, required=True, help="dense models and untrained twins to write")
    parser.add_argument("--agreement", type=Path, required=True, help="rank agreement of the scores to write")
    parser.add_argument("--items", type=Path, required=True, help="difficulty of each example to write")
    parser.add_argument("--flips", type=Path, required=True, help="regressions of lost answers on it to write")
    parser.add_argument("--thirds", type=Path, required=True, help="share of lost answers by third of it to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    plans = [read_plan(path) for path in args.plans]
    difficulties = responses.estimate(responses.read_responses(plans))
    dense = [read_outcomes(plan, dense_only=True) for plan in plans]
    compared = [twins.compare(plan, outcomes) for plan, outcomes in zip(plans, dense, strict=True)]
    table = score_difficulty(plans, dense, compared, args.human, difficulties)
    observed = flips.observe(difficulties)
    with atomic_path(args.items) as aside:
        difficulties.table().to_parquet(aside, index=False)
    write_csv(args.flips, flips.predict(observed))
    write_csv(args.thirds, flips.by_third(observed))
    write_csv(args.agreement, agreement(table))
    write_csv(args.pretraining, twins.merge(compared))
    write_csv(args.table, table)
    answers = sum(part.lost.size for part in observed)
    logger.info("%d series, %d answers to examples of known difficulty", len(table), answers)


if __name__ == "__main__":
    run(main)

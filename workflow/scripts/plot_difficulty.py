"""Draw how the difficulty scores agree, and whether an example's difficulty predicts its loss, from their tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from junkdna.difficulty_figures import draw_agreement, draw_flips
from junkdna.figures import save
from junkdna.logs import run
from junkdna.tidy import read_csv, read_plan


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=Path, nargs="+", required=True, help="plans of the experiments")
    parser.add_argument("--agreement", type=Path, required=True, help="rank agreement of the scores")
    parser.add_argument("--flips", type=Path, required=True, help="regressions of lost answers on difficulty")
    parser.add_argument("--thirds", type=Path, required=True, help="share of lost answers by third of difficulty")
    parser.add_argument("--agreement-figures", type=Path, nargs="+", required=True, help="figures of it to write")
    parser.add_argument("--flips-figures", type=Path, nargs="+", required=True, help="figures of these to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    plans = [read_plan(path) for path in args.plans]
    titles = {plan["experiment"]["name"]: plan["experiment"]["title"] for plan in plans}
    labels = {name: method["label"] for plan in plans for name, method in plan["methods"].items()}
    agreement = draw_agreement(read_csv(args.agreement), titles)
    flips = draw_flips(read_csv(args.thirds), read_csv(args.flips), labels)
    for figure, paths in ((agreement, args.agreement_figures), (flips, args.flips_figures)):
        for path in paths:
            save(figure, path)


if __name__ == "__main__":
    run(main)

"""Judge the claims: tables of verdicts and their evidence, and a text that explains them beside other scales'."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from junkdna import claims_text, drops, telling, verdicts
from junkdna.claims import read_claims
from junkdna.files import atomic_path
from junkdna.logs import run
from junkdna.tidy import read_csv, read_plan, write_csv

logger = logging.getLogger("junkdna.judge")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=Path, required=True, help="the claims and their rules")
    parser.add_argument("--plans", type=Path, nargs="+", required=True)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="tables of points, in the order of plans")
    parser.add_argument("--drops", type=Path, nargs="+", required=True, help="their drops, in the same order")
    parser.add_argument("--difficulty", type=Path, required=True)
    parser.add_argument("--pretraining", type=Path, required=True, help="dense models beside their untrained twins")
    parser.add_argument("--scale", required=True, help="name of the scale that was run")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="kept verdicts of other scales")
    parser.add_argument("--table", type=Path, required=True, help="table of verdicts to write")
    parser.add_argument("--sets", type=Path, required=True, help="table of the evidence to write")
    parser.add_argument("--markdown", type=Path, required=True, help="text to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    claims = read_claims(args.claims)
    studies = [(read_plan(plan), read_csv(table)) for plan, table in zip(args.plans, args.tables, strict=True)]
    told = telling.find(claims.rules, read_csv(args.difficulty), read_csv(args.pretraining))
    arranged = verdicts.arrange_all(claims, studies, told)
    findings = verdicts.find(claims, arranged, [drops.read(path) for path in args.drops])
    judged = verdicts.judge(claims, findings, args.scale)
    write_csv(args.sets, verdicts.sets(findings))
    with atomic_path(args.markdown) as aside:
        others = [read_csv(path) for path in args.others]
        aside.write_text(claims_text.render(claims, findings, judged, others, told.untested), encoding="utf-8")
    write_csv(args.table, judged)
    for row in judged.itertuples():
        logger.info("%s: %s", row.claim, row.verdict)


if __name__ == "__main__":
    run(main)

"""Compress one model with one method at one level."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from junkdna.catalog import Model
from junkdna.files import read_json
from junkdna.logs import run
from junkdna.state import base_of, create, save

log = logging.getLogger("compress")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-manifest", type=Path, required=True, help="manifest of the base model's files")
    parser.add_argument("--model", type=Model.model_validate_json, required=True, help="its catalog entry as JSON")
    parser.add_argument("--method", required=True, help="name of the method")
    parser.add_argument("--module", required=True, help="its module, such as pruning.magnitude")
    parser.add_argument("--level", required=True, help="such as 0.50 or 2of4")
    parser.add_argument("--params", type=json.loads, default={}, help="what the method reads, as JSON")
    parser.add_argument("--index", type=Path, nargs="?", help="index of global magnitudes, for methods that read it")
    parser.add_argument("--output", type=Path, required=True, help="state to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    source, checkpoint, names = base_of(args.model_manifest, args.model)
    state = create(
        source,
        checkpoint,
        names,
        method=args.method,
        module=args.module,
        level=args.level,
        params=args.params,
        index=read_json(args.index) if args.index else None,
    )
    save(state, args.output)
    log.info("%s %s: sparsity %.6f of %d weights", args.method, args.level, state.manifest["sparsity"], len(names))


if __name__ == "__main__":
    run(main)

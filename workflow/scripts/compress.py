"""Compress one model with one method, at one level or at several in one sweep."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
from dataclasses import replace
from pathlib import Path

from junkdna.catalog import CalibrationData, Model
from junkdna.checkpoint import Calibration, is_diverged
from junkdna.files import read_json
from junkdna.logs import run
from junkdna.state import NOTHING, base_of, create, save

log = logging.getLogger("compress")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-manifest", type=Path, required=True, help="manifest of the base model's files")
    parser.add_argument("--model", type=Model.model_validate_json, required=True, help="its catalog entry as JSON")
    parser.add_argument("--method", required=True, help="name of the method")
    parser.add_argument("--module", required=True, help="its module, such as pruning.magnitude")
    parser.add_argument("--levels", nargs="+", required=True, help="such as 0.50 or 2of4")
    parser.add_argument("--params", type=json.loads, default={}, help="what the method reads, as JSON")
    parser.add_argument("--index", type=Path, nargs="?", help="index of global magnitudes, for methods that read it")
    parser.add_argument("--weights", type=Path, nargs="?", help="fine-tuned model.safetensors to compress instead")
    parser.add_argument("--calibration", type=CalibrationData.model_validate_json, nargs="?", help="as JSON")
    parser.add_argument("--calibration-manifest", type=Path, nargs="?", help="manifest of its data set")
    parser.add_argument("--calibration-seed", type=int, nargs="?", help="of the draw of sequences")
    parser.add_argument("--outputs", type=Path, nargs="+", required=True, help="states to write, one per level")
    return parser.parse_args(argv)


def calibration(args: argparse.Namespace) -> Calibration:
    """The sequences that a calibrated method sees."""
    # By name: the other methods neither load a tokenizer nor rerun when this module changes.
    module = importlib.import_module("junkdna.calibration")
    folders = (Path(read_json(manifest)["path"]) for manifest in (args.model_manifest, args.calibration_manifest))
    return Calibration(module.draw(*folders, args.calibration, args.calibration_seed), args.model.dtype)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.weights and is_diverged(args.weights):
        for output in args.outputs:
            save(NOTHING, output)
        return
    source, base = base_of(args.model_manifest, args.model, args.weights)
    base = replace(
        base,
        index=read_json(args.index) if args.index else None,
        calibration=calibration(args) if args.calibration else None,
    )
    given = {"method": args.method, "module": args.module, "params": args.params}
    for state, output in zip(create(source, base, levels=args.levels, **given), args.outputs, strict=True):
        save(state, output)
        made = state.manifest
        log.info("%s %s: sparsity %.6f of %d weights", args.method, made["level"], made["sparsity"], made["weights"])


if __name__ == "__main__":
    run(main)

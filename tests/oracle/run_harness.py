"""Run tasks of lm-evaluation-harness on a model and write what it asked and scored. Knows nothing of this project.

The harness takes the tokens of the prompt alone, and of prompt and option together those beyond that number. Where a
token spans the two, the model then reads what no text would give. --joint splits the tokens of the whole instead.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager


class Joint(HFLM):
    """Scores the tokens after those that the prompt has with and without the option."""

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        alone, whole = self.tok_encode(context), self.tok_encode(context + continuation)
        begin = next((i for i, pair in enumerate(zip(alone, whole, strict=False)) if len(set(pair)) > 1), len(alone))
        return whole[:begin], whole[begin:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of a model")
    parser.add_argument("--tasks", required=True, help="folder of task files; all of them are run")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write: task to its examples")
    parser.add_argument("--joint", action="store_true")
    args = parser.parse_args()
    manager = TaskManager(include_path=args.tasks, include_defaults=False)
    model = (Joint if args.joint else HFLM)(pretrained=args.model, dtype="float32", batch_size=16, device="cpu")
    found = lm_eval.simple_evaluate(
        model=model, tasks=manager.all_subtasks, task_manager=manager, log_samples=True, bootstrap_iters=0
    )
    examples = {
        name: [
            {
                "prompt": sample["arguments"][0][0],
                "options": [option for _, option in sample["arguments"]],
                "scores": [score for score, _ in sample["filtered_resps"]],
                "right": sample["target"],
            }
            for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        ]
        for name, samples in found["samples"].items()
    }
    args.output.write_text(json.dumps(examples))


if __name__ == "__main__":
    main()

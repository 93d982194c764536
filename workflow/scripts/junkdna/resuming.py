"""What an interrupted training needs to end as if it had not been: a checkpoint on SIGTERM, and its loss so far.

SLURM sends SIGTERM when it preempts or cancels a job and when its time is over, and kills it 30 s later (KillWait).
"""

from __future__ import annotations

import logging
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from junkdna.files import DataError, read_json

log = logging.getLogger(__name__)


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint whose last file is whole; those cut short by an interruption are removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]), reverse=True):
        try:
            read_json(checkpoint / "trainer_state.json")
            return str(checkpoint)
        except DataError:
            log.warning("%s: not whole, removed", checkpoint)
            shutil.rmtree(checkpoint)
    return None


class Resumable(TrainerCallback, ExportableState):
    """Saves a checkpoint and stops once :meth:`stop` was called; carries the loss since the last logged point over.

    Without that, the first point after an interruption would be the mean of the steps after it alone.
    """

    trainer: Trainer
    asked = False

    def stop(self, *_: Any) -> None:
        """Save and stop after the step that is running; a signal handler."""
        self.asked = True

    def state(self) -> dict[str, Any]:
        """What goes into the checkpoint."""
        begun = hasattr(self, "trainer") and hasattr(self.trainer, "_tr_loss")
        carried = [self.trainer._tr_loss.item(), self.trainer._globalstep_last_logged] if begun else [0.0, 0]
        return {"args": {}, "attributes": {"carried": carried}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        loss, self.trainer._globalstep_last_logged = saved["attributes"]["carried"]
        self.trainer._tr_loss.fill_(loss)
        if state.global_step:
            log.info("goes on at step %d of %d", state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.asked and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_save = False  # else the end of the epoch saves once more

    @contextmanager
    def heeding_sigterm(self) -> Iterator[None]:
        """Let SIGTERM save and stop within the block.

        Raises:
            SystemExit: the training was stopped; the status is a shell's for a process that SIGTERM ended.
        """
        before = signal.signal(signal.SIGTERM, self.stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
        state = self.trainer.state
        if self.asked and state.global_step < state.max_steps:
            log.warning(
                "SIGTERM: saved at step %d of %d, where the next run goes on", state.global_step, state.max_steps
            )
            raise SystemExit(128 + signal.SIGTERM)

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from junkdna import files
from junkdna.files import atomic_path, write_json

WRITER = """
import sys
from junkdna.files import atomic_path
with atomic_path("table.v1.json") as aside:
    aside.mkdir() if sys.argv[1] == "folder" else aside.touch()
    if sys.argv[1] == "folder":
        (aside / "part").touch()
    print(aside.name, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_aside_goes_with_the_next_write(tmp_path: Path, kind: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[1])}
    keys = {"cwd": tmp_path, "env": environment, "text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, kind], **keys) for _ in range(2)]
    killed, busy = (writer.stdout.readline().strip() for writer in writers)
    writers[0].send_signal(signal.SIGKILL)
    writers[0].wait()
    elsewhere = killed.replace(files._machine(), "0" * 8)
    kept = [elsewhere, killed.replace("table.v1", "table.v2"), ".table.v1.deadbeef.json", ".table.v1.json"]
    for name in kept:
        (tmp_path / name).touch()
    write_json(tmp_path / "table.v1.json", {})
    assert {file.name for file in tmp_path.iterdir()} == {*kept, busy, "table.v1.json"}
    (tmp_path / "table.v1.json").unlink()
    writers[1].communicate("", timeout=20)
    assert writers[1].returncode == 0 and not (tmp_path / busy).exists()


def test_an_error_leaves_the_target_and_nothing_aside(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.json") as aside:
        aside.write_text("half")
        _ = 1 / 0
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "1\n"

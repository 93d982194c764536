"""Warm starts: a job run through the server ends, prints and computes as a cold one; nothing stays behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from junkdna import warm, warm_client

DEADLINE = 90  # seconds: the imports on a loaded machine are most of it


@pytest.fixture(scope="module")
def server() -> Iterator[warm.Server]:
    """A running server; JUNKDNA_PYTHON names its client."""
    server = warm.Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Write a script into a folder whose name has a space."""

    def write(text: str) -> Path:
        path = tmp_path / "a folder" / "script.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def run(python: str, *argv: object, **options: object) -> subprocess.CompletedProcess:
    """Run ``argv`` by the interpreter ``python`` with one thread; ``env`` adds variables."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [python, *map(str, argv)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE, **options)


def client() -> str:
    return os.environ[warm.VARIABLE]


def eventually(condition: Callable[[], bool]) -> bool:
    """Poll ``condition`` until it holds or the deadline has passed."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def pid_in(path: Path) -> int:
    """The process id that a script writes into ``path``."""
    assert eventually(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


SLEEPER = """
import os, sys, time
open(sys.argv[1], "w").write(f"{os.getpid()}\\n")
time.sleep(600)
"""

ENDINGS = {
    "success": "print('done')",
    "exit without a code": "import sys; sys.exit()",
    "exit 0": "import sys; sys.exit(0)",
    "exit 7": "import sys; sys.exit(7)",
    "exit with a message": "import sys; sys.exit('what is wrong')",
    "exception": "def inner():\n    raise ValueError('no')\n\ninner()",
    "chained exception": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('k') from e",
    "syntax error": "if True print(1)",
    "hard exit": "import os; os._exit(9)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    # With this import Python exits with 1, not by the signal, cold or warm.
    "interrupted": "import transformers.trainer, os, signal, time; os.kill(os.getpid(), 2); time.sleep(9)",
    "at exit": "import atexit; atexit.register(print, 'late'); print('early')",
    "a thread goes on": "import threading; threading.Timer(0.1, print, ['late']).start()",
    "a temporary folder": "import tempfile; kept = tempfile.TemporaryDirectory(dir='.'); print('made')",
    "an open file": "handle = open('left.txt', 'w'); handle.write('kept'); print(open(__file__).read())",
    "its own imports": "import helper; print(helper.__file__, __name__, __file__)",
    "no safe path": "import sys; print(sys.path, sys.argv)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_ends_as_a_cold_run(server, script, ending):
    path = script(ENDINGS[ending])
    (path.parent / "helper.py").write_text("")
    runs = [run(python, path.name, "x", cwd=path.parent) for python in (sys.executable, client())]
    cold, warmed = [(r.returncode, r.stdout, r.stderr) for r in runs]
    assert warmed == cold
    if ending == "an open file":
        assert (path.parent / "left.txt").read_text() == "kept"
    assert not list(path.parent.glob("tmp*"))


def test_missing_script(server):
    result = run(client(), "absent.py")
    assert result.returncode == 2
    assert "absent.py" in result.stderr


def test_passes_arguments_streams_folder_and_environment(server, script, tmp_path):
    path = script(
        "import json, os, sys\n"
        "mask = os.umask(0)\n"
        "seen = [sys.argv, os.getcwd(), os.environ.get('JUNKDNA_TEST'), 'HOME' in os.environ, mask]\n"
        "print(json.dumps([*seen, sys.stdin.read()]))\n"
        "print('to stderr', file=sys.stderr)\n"
    )
    argv = ["two words", "a\nline", "quo'te\"s", "$HOME", "*", "", "\udcff"]
    env = {k: v for k, v in os.environ.items() if k != "HOME"}
    env |= {"JUNKDNA_TEST": "é\n'", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [client(), path, *argv],
        env=env,
        cwd=tmp_path,
        umask=0o027,
        input="line 1\nline 2",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    seen = [[str(path), *argv], str(tmp_path), "é\n'", False, 0o027, "line 1\nline 2"]
    assert json.loads(result.stdout) == seen
    assert result.stderr == "to stderr\n"


def test_a_rules_command_line(server, script, tmp_path):
    """As in a rule: through a shell, redirected into a log, in a pipe."""
    path = script("import sys; print(sys.argv[1]); print('warning', file=sys.stderr)")
    command = f'set -euo pipefail; "${{JUNKDNA_PYTHON:-python}}" "{path}" "a b" 2> log.txt | tr a-z A-Z'
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = subprocess.check_output(["bash", "-c", command], cwd=tmp_path, env=env, text=True, timeout=DEADLINE)
    assert out == "A B\n"
    assert (tmp_path / "log.txt").read_text() == "warning\n"


def test_other_scripts_do_not_see_the_library(server, script):
    path = script("import sys; print([name for name in sys.modules if name.startswith('junkdna')])")
    assert run(client(), path).stdout == "[]\n"


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A copy of our scripts, to edit, with one more that tells what it found."""
    folder = tmp_path / "scripts"
    shutil.copytree(warm.SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tell.py").write_text(
        "import sys\nloaded = 'junkdna.scoring' in sys.modules\n"
        "from junkdna import files\nprint(loaded, getattr(files, 'EDITED', None), files.__file__)\n"
    )
    return folder


SERVED = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
from junkdna import warm
server = warm.Server()
server.start()
for line in sys.stdin:
    command = [os.environ[warm.VARIABLE], sys.argv[1] + "/tell.py"]
    print(subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout, end="", flush=True)
server.stop()
"""


def served(scripts: Path) -> subprocess.Popen:
    """A process that has ``tell.py`` run by a server of its own for each line that it gets."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", SERVED, scripts], env=env, **pipes)


def test_our_scripts_have_the_library_until_a_module_of_it_changes(scripts):
    files, process = scripts / "junkdna/files.py", served(scripts)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == f"True None {files}\n"
    files.write_text(files.read_text() + "\nEDITED = 1\n")
    (scripts / "junkdna/figures.py").write_text("not loaded")
    said, warned = process.communicate("go\n", timeout=DEADLINE)
    assert said == f"False 1 {files}\n"
    assert f"A cold start, since {files} changed\n" in warned


def test_a_library_that_cannot_be_imported_is_the_jobs_error(scripts):
    files = scripts / "junkdna/files.py"
    files.write_text(files.read_text() + "\nif True print(1)\n")
    said, warned = served(scripts).communicate("go\n", timeout=DEADLINE)
    assert said == ""
    assert "tell.py" in warned and "SyntaxError" in warned and "does not answer" not in warned


def test_what_libraries_make_at_first_use_is_there(server, script):
    text = """
        import sys
        from transformers import conversion_mapping
        print(conversion_mapping._checkpoint_conversion_mapping_cache is not None)
        before = set(sys.modules)
        from pydantic import BaseModel
        class Model(BaseModel):
            number: int
        print(set(sys.modules) - before)
    """
    assert run(client(), script(textwrap.dedent(text))).stdout.split("\n")[:2] == ["True", "set()"]


def test_nothing_ran_before_the_fork(server, script):
    path = script(
        "import os, torch\n"
        "tasks = f'/proc/{os.getppid()}/task'\n"
        "names = [open(f'{tasks}/{t}/comm').read().strip() for t in os.listdir(tasks)]\n"
        "print(sorted(n for n in names if n != 'jemalloc_bg_thd'))\n"
        "print(torch.cuda.is_initialized(), torch.get_num_threads())\n"
    )
    if not Path("/proc/self/task").exists():
        pytest.skip("the threads of another process are listed on Linux only")
    names, state = run(client(), path).stdout.splitlines()
    assert names in ("['python']", "['python3']")
    assert state == "False 1"


def test_unseeded_draws_differ_between_jobs(server, script):
    path = script("import random, numpy, torch; print(random.random(), numpy.random.rand(), torch.rand(1))")
    first, second = (run(client(), path).stdout.split() for _ in range(2))
    assert all(one != other for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_the_jobs(server, script, threads):
    path = script(
        "import torch, numpy, threadpoolctl\n"
        "print(torch.get_num_threads(), {p['num_threads'] for p in threadpoolctl.threadpool_info()})"
    )
    result = run(client(), path, env={"OMP_NUM_THREADS": str(threads)})
    assert result.stdout == f"{threads} {{{threads}}}\n"


def test_variables_read_at_import_make_a_cold_start(server, script):
    path = script("import huggingface_hub.constants as c; print(c.HF_HUB_OFFLINE)")
    other = "0" if os.environ.get("HF_HUB_OFFLINE", "0") == "1" else "1"
    result = run(client(), path, env={"HF_HUB_OFFLINE": other})
    assert result.stdout == f"{other == '1'}\n"
    assert "HF_HUB_OFFLINE" in result.stderr


TRAINING = """
import sys, torch
from safetensors.torch import save_file
from transformers import RobertaConfig, RobertaForSequenceClassification, set_seed
set_seed(3)
config = RobertaConfig(
    vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
)
model = RobertaForSequenceClassification(config).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for _ in range(8):
    ids = torch.randint(4, 64, (8, 12))
    loss = model(input_ids=ids, labels=ids[:, 0] % 2).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
save_file(model.state_dict(), sys.argv[1])
print(loss.item())
"""


def test_training_gives_the_same_bytes(server, script, tmp_path):
    path = script(TRAINING)
    cold = run(sys.executable, path, tmp_path / "cold", check=True)
    warmed = run(client(), path, tmp_path / "warm", check=True)
    assert warmed.stdout == cold.stdout
    assert (tmp_path / "warm").read_bytes() == (tmp_path / "cold").read_bytes()


def test_twenty_clients_at_once(server, script):
    path = script("import sys, time; time.sleep(0.2); print(sys.argv[1]); sys.exit(int(sys.argv[1]) // 17)")
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda n: run(client(), path, n), range(20)))
    assert [(r.returncode, r.stdout) for r in results] == [(n // 17, f"{n}\n") for n in range(20)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on(server, script, tmp_path, number):
    path = script(
        "import signal, sys, time\n"
        "def end(number, frame):\n    print('got', number, flush=True)\n    sys.exit(5)\n"
        "signal.signal(signal.SIGINT, end); signal.signal(signal.SIGTERM, end)\n"
        "open(sys.argv[1], 'w').write('1\\n')\n"
        "time.sleep(600)\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([client(), path, tmp_path / "pid"], env=env, stdout=subprocess.PIPE, text=True)
    pid_in(tmp_path / "pid")
    process.send_signal(number)
    assert process.communicate(timeout=DEADLINE)[0] == f"got {number.value}\n"
    assert process.returncode == 5


def test_a_killed_client_kills_its_child(server, script, tmp_path):
    path = script("import subprocess, sys\nsubprocess.Popen(['sleep', '600'])\n" + SLEEPER)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([client(), path, tmp_path / "pid"], env=env)
    child = pid_in(tmp_path / "pid")
    (grandchild,) = psutil.Process(child).children()
    process.kill()
    process.wait()
    assert eventually(lambda: gone(child) and gone(grandchild.pid))


SNAKEMAKE = """
import os, subprocess, sys, time
sys.path.insert(0, {scripts!r})
from junkdna import warm
server = warm.Server()
server.start()
open("server", "w").write(f"{{server.process.pid}}\\n")
open("folder", "w").write(server.folder)
env = {{**os.environ, "OMP_NUM_THREADS": "1"}}
subprocess.Popen([os.environ[warm.VARIABLE], {script!r}, "child"], env=env)
time.sleep(600)
"""


@pytest.mark.parametrize("victim", ["parent", "server"])
def test_nothing_outlives_a_kill(script, tmp_path, victim):
    scripts = str(Path(warm.__file__).parents[1])
    (tmp_path / "parent.py").write_text(SNAKEMAKE.format(scripts=scripts, script=str(script(SLEEPER))))
    process = subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path)
    server, child = pid_in(tmp_path / "server"), pid_in(tmp_path / "child")
    (waiting,) = [p for p in psutil.Process(process.pid).children() if p.pid != server]
    os.kill(process.pid if victim == "parent" else server, signal.SIGKILL)
    assert eventually(lambda: gone(child) and gone(server) and gone(waiting.pid))
    process.kill()
    process.wait()
    folder = Path((tmp_path / "folder").read_text())
    if victim == "parent":
        assert eventually(lambda: not folder.exists())
    shutil.rmtree(folder, ignore_errors=True)


def test_stop_leaves_nothing():
    server = warm.Server()
    server.stop()  # not started: nothing happens
    server.start()
    process, python = server.process, client()
    server.stop()
    assert process.poll() is not None
    assert not Path(server.folder).exists()
    assert os.environ.get(warm.VARIABLE) != python


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the client finds of a server that is not there."""
    (tmp_path / "environment").write_text("".join(f"{e}\0" for e in warm_client.read_at_import(os.environ)))
    return tmp_path


def test_a_server_that_does_not_answer_is_an_error(script, folder):
    result = run(sys.executable, "-IS", warm_client.__file__, folder, script("print(1)"))
    assert result.returncode == 1
    assert result.stdout == ""
    assert "warm_start=false" in result.stderr


@pytest.mark.parametrize("differing", [{"HF_TEST": "a"}, {"OMP_NUM_THREADS": "2,2"}])
def test_a_cold_start_does_not_wait_for_the_server(script, folder, differing):
    path = script("import sys; print(sys.argv[1:], sys.flags.isolated); sys.exit(3)")
    result = run(sys.executable, "-IS", warm_client.__file__, folder, path, "a b", env=differing)
    assert (result.returncode, result.stdout) == (3, "['a b'] 0\n")
    assert result.stderr == f"A cold start, for the sake of {next(iter(differing))}\n"

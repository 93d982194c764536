"""Warm starts: jobs forked from a process that has imported torch and transformers already.

Why: a grid of a few hundred small cells would spend most of its time importing the same libraries, 4-7 CPU
seconds a job. The Snakefile starts a ``Server`` when a local run begins. JUNKDNA_PYTHON then names a client
that stands for the interpreter in every rule's command: the command's text stays the same, so nothing reruns.

The client passes its arguments, environment, working directory, umask and file descriptors 0-2 through a
unix socket. The server forks; the child takes them over, runs the script as ``python script.py`` would and
ends as it would: exit code, signal and traceback are those of a cold run. A request that a warm child could
not serve faithfully, because it sets a variable that libraries read at import (HF_HUB_OFFLINE, say)
otherwise than Snakemake does, is run cold: by the client itself, while the server may be importing still. So is
a script of ours when a module of ``junkdna`` that the server has loaded is no longer as it was on disk.

Nothing survives: a client that dies takes its child's process group with it, and the server goes when its
pipe from Snakemake closes. Snakemake's benchmark files see the client alone: their memory and CPU time are
not the job's.

This file is Snakemake's side and the server's, ``warm_client.py`` the client's.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import struct
import sys

VARIABLE = "JUNKDNA_PYTHON"
PRELOADED = (
    "pydantic",
    "yaml",
    "scipy.stats",
    "sklearn.metrics",
    "threadpoolctl",
    "pandas",
    "pyarrow.parquet",
    "datasets",
    "safetensors.torch",
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.roberta.modeling_roberta",
    "transformers.models.llama.modeling_llama",
    "transformers.models.mbart.modeling_mbart",
    "seaborn",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg",
)
# Ours that most jobs of a grid import; the others a job reads itself.
LIBRARY = ("junkdna.scoring", "junkdna.predictions", "junkdna.versions")
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
SCRIPTS = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


class Server:
    """The warm-start server of one Snakemake run; creating the object costs nothing."""

    def start(self) -> None:
        """Start the server, which imports while the first jobs wait, and point JUNKDNA_PYTHON at its client."""
        import shlex
        import subprocess
        import tempfile

        from junkdna import warm_client

        self.folder = tempfile.mkdtemp(prefix="junkdna-")  # of mode 0700: nobody else can reach the socket
        client = f"{self.folder}/python"
        # A file, not a command line, so that a path with spaces needs no quoting in the rules.
        with open(client, "w") as handle:
            command = [sys.executable, "-IS", warm_client.__file__, self.folder]
            handle.write(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        os.chmod(client, 0o700)
        with open(f"{self.folder}/environment", "w", errors="surrogateescape") as handle:
            handle.writelines(f"{entry}\0" for entry in warm_client.read_at_import(os.environ))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{self.folder}/socket")
            listener.listen(socket.SOMAXCONN)
            self.process = subprocess.Popen(
                # -P keeps this folder off sys.path, where tables.py or files.py could hide another module.
                [sys.executable, "-P", __file__, "--serve", str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                # No thread pools before the fork. (Arrow's jemalloc has a thread and restarts it in a child.)
                # In huge pages, where the system gives them, a heap is quicker to fork and to take down.
                env={**HUGE_PAGES, **os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C reaches the clients, which pass it on
            )
        os.environ[VARIABLE] = client

    def stop(self) -> None:
        """End the server; does nothing if it was not started."""
        import shutil

        if process := self.__dict__.pop("process", None):
            os.environ.pop(VARIABLE, None)
            process.stdin.close()
            process.terminate()  # it may be importing still
            process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


def preload() -> dict[str, tuple[int, int]]:
    """Import what jobs need; returns the files of ours that are loaded, with their times and sizes."""
    import gc
    import importlib

    gc.disable()  # a fifth of the time would go into looking for garbage among modules
    for name in PRELOADED:
        importlib.import_module(name)
    stamps = {str(path): stamp(path) for path in pathlib.Path(SCRIPTS, "junkdna").rglob("*.py")}
    sys.path.insert(0, SCRIPTS)
    try:
        for name in LIBRARY:
            importlib.import_module(name)
    except Exception:  # the jobs that import it say what is wrong
        forget()
    sys.path.remove(SCRIPTS)
    use_first()
    gc.freeze()  # a collection in a child would write to every page, and so copy it
    gc.enable()
    files = {getattr(module, "__file__", None) for name, module in sys.modules.items() if is_ours(name)}
    return {file: stamps[file] for file in files & stamps.keys()}


def use_first() -> None:
    """Have the libraries make what they make at first use and keep, and let a child's end be its own."""
    import importlib
    import weakref

    importlib.import_module("pydantic").create_model("First")  # the machinery of models
    # A thousand patterns of weights' names.
    importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("roberta")
    importlib.import_module("sklearn.metrics").matthews_corrcoef([0, 1], [0, 1])  # a search for plugins
    for finalizer in weakref.finalize._registry:
        finalizer.atexit = False  # to take torch's registrations apart would take 30 ms


def is_ours(name: str) -> bool:
    return name.partition(".")[0] == "junkdna"


def forget() -> None:
    """Unload our modules."""
    for name in list(filter(is_ours, sys.modules)):
        del sys.modules[name]


def stamp(path: str | pathlib.Path) -> tuple[int, int]:
    """What tells that a file was written: its time and size; of one that is gone, zeros."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def serve(listener: socket.socket) -> socket.socket | None:
    """Fork a child for each client until standard input, the pipe from Snakemake, closes.

    Returns:
        None in the server; in a child, the connection to its client.
    """
    import select

    life, (woken, waker) = sys.stdin.fileno(), os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)  # so that the end of a child ends the wait in poll
    watched = select.poll()
    for channel in (life, woken, listener):
        watched.register(channel, select.POLLIN)
    jobs: dict[int, socket.socket] = {}  # by the child's process id, which is its group's
    while life not in (events := dict(watched.poll())):
        for pid, connection in jobs.items():
            if connection.fileno() in events:  # the client hung up
                watched.unregister(connection)
                kill_group(pid)
        if woken in events:
            os.read(woken, 4096)
            while jobs and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                with contextlib.suppress(OSError, KeyError), jobs.pop(ended[0]) as connection:
                    connection.send(struct.pack("i", os.waitstatus_to_exitcode(ended[1])))
                    watched.unregister(connection)
        if listener.fileno() in events:
            connection = listener.accept()[0]
            if (pid := fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for inherited in (woken, waker, listener.detach(), *(job.detach() for job in jobs.values())):
                    os.close(inherited)
                return connection
            jobs[pid] = connection
            watched.register(connection, 0)  # for no event but the hang-up, which poll always reports
            with contextlib.suppress(OSError):
                connection.send(struct.pack("i", pid))
    for pid in jobs:
        kill_group(pid)
    return None


def fork() -> int:
    """Fork a child that leads its own process group and dies with the server."""
    import ctypes
    import warnings

    server = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 means jemalloc's thread
        pid = os.fork()
    with contextlib.suppress(OSError):  # by both sides: neither depends on the other's pace
        os.setpgid(pid, pid)
    if pid == 0 and sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, should the server be killed by force
        if os.getppid() != server:
            os._exit(1)
    return pid


def kill_group(pid: int) -> None:
    """Kill a child and all that it started."""
    with contextlib.suppress(OSError):  # it may have ended
        os.killpg(pid, signal.SIGKILL)


def become(connection: socket.socket, environment: dict[str, str], library: dict[str, tuple[int, int]]) -> str:
    """Make this child what the client's process would be.

    Args:
        connection: to the client, which has sent its request.
        environment: the server's, from before its imports.
        library: what :func:`preload` returned.

    Returns:
        the path of the script; or not at all, if the script has to run cold.
    """
    import numpy
    import threadpoolctl
    import torch

    size, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
    with connection:
        message = connection.recv(struct.unpack("i", size)[0], socket.MSG_WAITALL)
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    umask, folder, count, *rest = os.fsdecode(message).split("\0")
    argv, env = rest[: int(count)], dict(entry.split("=", 1) for entry in rest[int(count) :])
    os.chdir(folder)
    os.umask(int(umask, 8))
    if os.path.dirname(os.path.realpath(argv[0])) != SCRIPTS:
        forget()
    elif changed := [file for file, before in library.items() if stamp(file) != before]:
        sys.stderr.write(f"A cold start, since {', '.join(sorted(changed))} changed\n")
        os.execve(sys.executable, [sys.executable, *argv], env)

    for name in environment.keys() - env.keys():
        os.environ.pop(name, None)
    os.environ.update(env)  # and keep what the imports set, as they would in a cold run
    sys.argv = argv
    sys.path.insert(0, os.path.dirname(os.path.realpath(argv[0])))
    encoding, errors = sys.stdin.encoding, sys.stdin.errors
    sys.stdin = sys.__stdin__ = os.fdopen(0, encoding=encoding, errors=errors, closefd=False)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    # Else unseeded draws would agree between jobs, as in cold ones they do not; ``random`` sees to itself.
    numpy.random.seed()
    torch.default_generator.seed()
    if (threads := int(env["OMP_NUM_THREADS"])) > 1:
        torch.set_num_threads(threads)
        threadpoolctl.threadpool_limits(threads)
    return os.path.abspath(argv[0])


def run(path: str) -> None:
    """Run the script at ``path`` as the main module; a failure ends with a cold run's traceback."""
    import types

    def report(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
        while trace and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        sys.__excepthook__(kind, error.with_traceback(trace), trace)

    sys.excepthook = report
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__file__ = path
    with open(path, "rb") as handle:
        source = handle.read()
    try:
        exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)
    except SystemExit as ending:
        if ending.code not in (None, 0):
            raise
    leave()


def leave() -> None:
    """End after success without taking the libraries apart, which would cost six times the start."""
    import atexit
    import gc
    import io
    import threading

    threading._shutdown()
    # Nothing was compiled; to say so takes 15 ms. After a failure it is said, as in a cold run.
    atexit.unregister(sys.modules["torch._dynamo.utils"].dump_compile_times)
    atexit._run_exitfuncs()
    try:
        for thing in (sys.stdout, sys.stderr, *gc.get_objects()):  # less the frozen: what this job created
            if issubclass(type(thing), io.IOBase) and not thing.closed:
                thing.flush()
    except (OSError, ValueError):
        return  # the interpreter's own end reports it
    os._exit(0)


if __name__ == "__main__":
    own, variables = socket.socket(fileno=int(sys.argv[2])), dict(os.environ)
    folder = os.path.dirname(own.getsockname())
    loaded = preload()
    if accepted := serve(own):
        run(become(accepted, variables, loaded))
    else:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)

"""What stands for the interpreter while jobs start warm: has the server run a script, or runs it cold.

Started for each job as ``python -IS warm_client.py FOLDER SCRIPT ARGUMENTS``; see ``warm.py``. Imports nothing but
what the interpreter has anyway or is written in C: ``socket``, ``signal`` and ``json`` take longer than all else.
"""

import _signal
import _socket
import os
import sys

READ_AT_IMPORT = ("PYTHON", "LD_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TORCH", "PYTORCH_", "ATEN_")
READ_AT_IMPORT += ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "ONEDNN_", "DNNL_", "MPL", "MATPLOTLIB")


def read_at_import(env: dict[str, str]) -> list[str]:
    """The variables that libraries read when they are imported, but for the numbers of threads."""
    return sorted(f"{k}={v}" for k, v in env.items() if k.startswith(READ_AT_IMPORT) and not k.endswith("_NUM_THREADS"))


def differing(folder: str) -> str:
    """Names of the variables that keep a job from a warm start: of that kind and not as the server has them."""
    with open(f"{folder}/environment", errors="surrogateescape") as handle:
        found = set(handle.read().split("\0")[:-1]) ^ set(read_at_import(os.environ))
    names = {entry.partition("=")[0] for entry in found}
    if not os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        names.add("OMP_NUM_THREADS")
    return ", ".join(sorted(names))


def integer(server: _socket.socket) -> int:
    """The next four bytes of the server."""
    received = server.recv(4)
    if len(received) < 4:
        raise OSError("it hung up")
    return int.from_bytes(received, sys.byteorder, signed=True)


def request(folder: str, argv: list[str]) -> int:
    """Have ``argv`` run by the server; return its exit code or die by its signal."""
    umask = os.umask(0)
    os.umask(umask)
    fields = [oct(umask), os.getcwd(), str(len(argv)), *argv, *(f"{k}={v}" for k, v in os.environ.items())]
    message = os.fsencode("\0".join(fields))
    descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
    address = f"{folder}/socket"
    try:
        server = _socket.socket(_socket.AF_UNIX)
        server.connect(address)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)
        server.sendmsg([len(message).to_bytes(4, sys.byteorder)], [rights])
        server.sendall(message)
        pid = integer(server)
        for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, lambda number, _: os.kill(pid, number))
        code = integer(server)
    except OSError as error:
        sys.exit(
            f"The warm-start server at {address} does not answer ({error}). Was it killed, for want of "
            "memory perhaps? Run Snakemake again; --config warm_start=false runs every job cold."
        )
    if code < 0:
        if code != -_signal.SIGKILL:
            _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def main(folder: str, argv: list[str]) -> None:
    """Run the script ``argv[0]`` warm, or cold where a warm start could not be faithful."""
    names = differing(folder)
    if names:
        sys.stderr.write(f"A cold start, for the sake of {names}\n")
    if names or not os.path.isfile(argv[0]):
        os.execv(sys.executable, [sys.executable, *argv])
    sys.exit(request(folder, argv))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

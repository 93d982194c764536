"""A SLURM cluster on this machine: `python tests/slurm/cluster.py` runs one until Ctrl-C, the tests start their own.

With `--accounting` it has a slurmdbd; `--install` only installs what is needed.

Two nodes of four CPUs and one declared GPU, in the partitions and the account that workflow/profiles/slurm names, and a
partition whose jobs preempt theirs. It needs root, and Debian's packages, which it installs; no systemd, no cgroups, no
GPU. All daemons are children of this process and end with it; nothing that someone else started is touched, and a
machine with a SLURM of its own is left alone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
ACCOUNTING = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}
# The plugin drops SLURM_CONF on the way to a job's step, so the configuration has to be where SLURM looks by itself.
ETC = Path("/etc/slurm")
MARK = "# Written by tests/slurm/cluster.py"
PORT = 16817
NODES = ("node1", "node2")
BIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin"


class UnavailableError(RuntimeError):
    """SLURM cannot be had on this machine; the message says why."""


def install(wanted: dict[str, str]) -> None:
    """Install the packages whose commands are missing, without starting their services.

    Raises:
        UnavailableError: not root, no apt-get, or it fails.
    """
    missing = sorted({package for command, package in wanted.items() if not shutil.which(command, path=BIN)})
    if os.geteuid() != 0:
        raise UnavailableError("slurmd needs root")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise UnavailableError(f"no {', '.join(missing)}, and no apt-get to install them")
    policy = Path("/usr/sbin/policy-rc.d")  # Debian's own way to keep an installation from starting services
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            done = subprocess.run(["apt-get", "--quiet", *command], env=environment, capture_output=True, text=True)
            if done.returncode:
                raise UnavailableError(f"apt-get {command[0]} failed: {done.stderr.strip()[-500:]}")
    finally:
        if ours:
            policy.unlink()


def capture(*command: str) -> str:
    """Standard output of a command; an error has its stderr."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def wait_for(what: str, condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until the condition holds; its errors count as no."""
    end, last = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (RuntimeError, OSError) as error:
            last = str(error)
        time.sleep(0.1)
    raise RuntimeError(f"{what}: not within {seconds:.0f} s {last}")


class Cluster:
    """Daemons in the foreground, as children of this process.

    Args:
        accounting: with MariaDB and slurmdbd, as most clusters have, or without any accounting.
    """

    def __init__(self, accounting: bool = False) -> None:
        self.accounting = accounting
        self.daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until both nodes are idle.

        Raises:
            UnavailableError: SLURM cannot be installed, or this machine has one of its own.
        """
        install(PACKAGES | (ACCOUNTING if self.accounting else {}))
        ETC.mkdir(exist_ok=True)
        config = ETC / "slurm.conf"
        if config.exists() and not config.read_text().startswith(MARK):
            raise UnavailableError(f"{config}: this machine has a SLURM of its own")
        self.lock = open(Path(tempfile.gettempdir(), "junkdna-slurm.lock"), "w")  # noqa: SIM115 - held until stop()
        fcntl.flock(self.lock, fcntl.LOCK_EX)  # one cluster at a time
        # Open to all, as munged demands.
        self.folder = Path(tempfile.mkdtemp(prefix="junkdna-slurm-"))
        self.folder.chmod(0o755)
        try:
            self._configure()
            self._start_munge()
            if self.accounting:
                self._start_accounting()
            self.launch("slurmctld")
            wait_for("slurmctld", lambda: "is UP" in capture("scontrol", "ping"))
            for node in NODES:
                self.launch(node)
            wait_for("idle nodes", lambda: set(capture("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"})
        except BaseException:
            self.stop()
            raise

    def launch(self, name: str) -> None:
        """Start one daemon (again): munged, mariadbd, slurmdbd, slurmctld, or a node's slurmd."""
        commands = {
            "munged": [
                *("munged", "--foreground", "--force", f"--key-file={self.folder}/key"),
                *(f"--{kind}-file={self.folder}/munged.{kind}" for kind in ("log", "pid", "seed")),
                f"--socket={self.folder}/munge",
            ],
            "mariadbd": [
                *("mariadbd", "--no-defaults", "--user=root", "--skip-networking", "--skip-grant-tables"),
                *(f"--datadir={self.folder}/db", f"--socket={self.folder}/mysql"),
                *("--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"),
            ],
            "slurmdbd": ["slurmdbd", "-D"],
            "slurmctld": ["slurmctld", "-D"],
            **{node: ["slurmd", "-D", "-N", node] for node in NODES},
        }
        command = commands[name]
        command[0] = shutil.which(command[0], path=BIN)
        output = open(self.folder / f"{name}.out", "a")  # noqa: SIM115 - the daemon's
        # Should this process be killed, its daemons go too.
        command = ["setpriv", "--pdeathsig", "TERM", *command]
        environment = {**os.environ, "PATH": BIN, "MYSQL_UNIX_PORT": f"{self.folder}/mysql"}
        self.daemons[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )

    def kill(self, name: str, how: int = signal.SIGTERM) -> None:
        """End one daemon."""
        process = self.daemons.pop(name)
        process.send_signal(how)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """End all daemons, remove what was written."""
        if "slurmctld" in self.daemons and self.daemons["slurmctld"].poll() is None:
            subprocess.run(["scancel", "--full", "--signal=KILL", "--user=root"], capture_output=True, timeout=30)
            subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=30)
        for name in list(self.daemons)[::-1]:
            self.kill(name)
        for name in ("slurm.conf", "gres.conf", "slurmdbd.conf"):
            (ETC / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.lock.close()

    def _configure(self) -> None:
        host, state = socket.gethostname().split(".")[0], self.folder
        key = state / "key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        lines = [MARK, "ClusterName=junkdna", f"SlurmctldHost={host}(127.0.0.1)", "SlurmUser=root"]
        lines += [f"SlurmctldPort={PORT}", f"AuthInfo=socket={state}/munge,cred_expire=10", "MpiDefault=none"]
        lines += ["CommunicationParameters=NoCtldInAddrAny,NoInAddrAny", "ReturnToService=2", "KillWait=30"]
        lines += [f"StateSaveLocation={state}/ctld", f"SlurmdSpoolDir={state}/%n", f"SlurmctldPidFile={state}/ctld.pid"]
        lines += [f"SlurmdPidFile={state}/%n.pid", f"SlurmctldLogFile={state}/slurmctld.log"]
        lines += [f"SlurmdLogFile={state}/%n.log", "MinJobAge=86400", "SlurmdParameters=config_overrides"]
        # Without cgroups it works in any container. A job over its memory is found by polling, and ends as FAILED.
        lines += ["ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none"]
        lines += ["JobAcctGatherType=jobacct_gather/linux", "JobAcctGatherFrequency=task=1"]
        lines += ["JobAcctGatherParams=OverMemoryKill", "GresTypes=gpu"]
        lines += ["SelectType=select/cons_tres", "SelectTypeParameters=CR_Core_Memory"]
        lines += ["SchedulerParameters=batch_sched_delay=0,sched_interval=5,sched_min_interval=100000,bf_interval=5"]
        for number, node in enumerate(NODES, 1):
            lines += [f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={PORT + number} CPUs=4"]
            lines[-1] += " RealMemory=32000 Gres=gpu:1 State=UNKNOWN"
            gpu = state / f"{node}-gpu"
            try:  # a clone of /dev/null: with a device, slurmd sets CUDA_VISIBLE_DEVICES
                os.mknod(gpu, 0o600 | 0o020000, os.makedev(1, 3))
            except PermissionError:
                gpu.touch()
        lines += ["PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE"]
        for name, more in {"cpu": "Default=YES", "gpu": "", "urgent": "PriorityTier=10"}.items():
            lines += [f"PartitionName={name} Nodes={','.join(NODES)} MaxTime=1-0 {more}"]
        if self.accounting:
            lines += ["AccountingStorageType=accounting_storage/slurmdbd", "AccountingStorageTRES=gres/gpu"]
            # The password is the socket of the munged to ask.
            lines += [f"AccountingStoragePort={PORT + 9}", f"AccountingStoragePass={state}/munge"]
        (ETC / "slurm.conf").write_text("\n".join(lines) + "\n")
        gres = [f"NodeName={node} Name=gpu File={state}/{node}-gpu" for node in NODES]
        (ETC / "gres.conf").write_text("\n".join([MARK, *gres]) + "\n")
        for name in ("ctld", *NODES):
            (state / name).mkdir()

    def _start_munge(self) -> None:
        self.launch("munged")
        wait_for("munged", lambda: capture("munge", "-n", f"--socket={self.folder}/munge"))

    def _start_accounting(self) -> None:
        database = self.folder / "db"
        command = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={database}", "--skip-test-db"]
        capture(*command, "--auth-root-authentication-method=normal")
        self.launch("mariadbd")
        wait_for("MariaDB", lambda: capture("mariadb-admin", f"--socket={self.folder}/mysql", "ping"))
        lines = [MARK, "DbdHost=localhost", "DbdAddr=127.0.0.1", "SlurmUser=root", f"DbdPort={PORT + 9}"]
        lines += ["CommunicationParameters=NoInAddrAny", f"AuthInfo=socket={self.folder}/munge"]
        lines += ["StorageType=accounting_storage/mysql", "StorageHost=localhost", "StorageUser=root"]
        lines += ["StorageLoc=slurm", f"LogFile={self.folder}/slurmdbd.log", f"PidFile={self.folder}/slurmdbd.pid"]
        config = ETC / "slurmdbd.conf"
        config.touch(0o600)
        config.write_text("\n".join(lines) + "\n")
        self.launch("slurmdbd")
        wait_for("slurmdbd", lambda: capture("sacctmgr", "-n", "list", "cluster") is not None)
        capture("sacctmgr", "-i", "add", "cluster", "junkdna")
        capture("sacctmgr", "-i", "add", "account", "junkdna")
        capture("sacctmgr", "-i", "add", "user", "root", "account=junkdna")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    if sys.argv[1:] == ["--install"]:
        install(PACKAGES | ACCOUNTING)
        sys.exit()
    with Cluster(accounting="--accounting" in sys.argv[1:]) as cluster:
        sys.stdout.write(capture("sinfo", "-N") + f"logs: {cluster.folder}\n")
        sys.stdout.flush()
        signal.pause()

"""What jobs ask a scheduler for, by the size of their model. What depends on the cluster is in its profile."""

import math

from junkdna.needs import Needs

NEEDS = Needs(read_yaml(Path(workflow.basedir, "resources/unit_costs.yaml")), CATALOG, SETTINGS.mirror)
MACHINE = "gpu" if SETTINGS.environment == "gpu" else "cpu"


def cell_of_job(wildcards):
    """The cell that a job works for, as far as its wildcards tell; of a sweep over levels, that of its first level."""
    method = method_name(wildcards) if "method" in wildcards.keys() else grid.DENSE
    level = levels_of(wildcards)[0] if "method" in wildcards.keys() else grid.DENSE
    transfer = wildcards.get("transfer", "zero_shot" if "seed" in wildcards.keys() else "none")
    task = wildcards.get("suite", wildcards.get("task", ""))
    return grid.Cell(
        wildcards.model, method, level, transfer, task, wildcards.get("fraction", ""), wildcards.get("seed", "")
    )


def needed(stage, wildcards, machine="cpu"):
    """MB of a job of that stage."""
    levels = levels_of(wildcards) if stage == "compress" else []
    return NEEDS.memory(stage, cell_of_job(wildcards), machine, levels)


def memory_of(stage):
    """Resource function: MB of a job of that stage; more for each further attempt, should the first be killed."""

    def memory(wildcards, attempt):
        return attempt * needed(stage, wildcards, MACHINE)

    return memory


def minutes_of(stage):
    """Resource function: minutes that a job of that stage may take; more for each further attempt."""

    def minutes(wildcards, attempt):
        return attempt * NEEDS.minutes(stage, cell_of_job(wildcards))

    return minutes


def per_attempt(amount):
    """Resource function: an amount for each attempt."""

    def amounts(wildcards, attempt):
        return attempt * amount

    return amounts


def gpu_of(stage):
    """Resource function: the GPU of a job, where the configuration is for GPUs and the stage uses one."""

    def gpus(wildcards):
        return int(MACHINE == "gpu" and (stage != "compress" or method_name(wildcards) in CALIBRATED))

    return gpus


def gpu_slots_of(stage):
    """Resource function: GB of GPU memory, by which several jobs share a GPU of this machine."""

    def slots(wildcards):
        return gpu_of(stage)(wildcards) * math.ceil(needed(stage, wildcards) / 1000)

    return slots

"""The Junk DNA study: compress, fine-tune, evaluate, score difficulty, test the claims, draw every figure."""

from snakemake.utils import min_version

min_version("9.20")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/sources.smk"
include: "workflow/rules/compress.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/evaluate.smk"
include: f"workflow/rules/{'unpack' if SETTINGS.recorded else 'record'}.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/extras.smk"


report: "workflow/report/workflow.rst"


localrules:
    all_figures,
    fetch_dataset,
    fetch_model,
    plan,
    score_difficulty,
    aggregate,
    against_reported,
    claims,
    plot,
    power,
    report,
    page,
    plot_difficulty,
    status,


rule all_figures:
    """Every table and figure of the configured experiments."""
    default_target: True
    input:
        expand("<results>/figures/{name}.{format}", name=EXPERIMENTS, format=SETTINGS.figure_formats),
        expand("<results>/tables/{name}.{format}", name=EXPERIMENTS, format=["csv", "md", "tex"]),
        expand("<results>/tables/{name}.csv", name=["difficulty", "pretraining"]),
        expand("<results>/figures/{name}.{format}", name=DIFFICULTY_FIGURES, format=SETTINGS.figure_formats),
        expand("<results>/tables/{name}", name=["claims.csv", "claims_sets.csv", "claims.md"]),
        # Only where there is something to compare: an empty table would look like a comparison that failed.
        ["<results>/tables/against_reported.csv"] if REPORTED else [],
        # Named here so that a deleted one is made again though the tables exist.
        files_of(EVALUATED.values(), "metrics.json"),
        files_of(EVALUATED.values(), "predictions.parquet"),


# One target per experiment, named like it: `snakemake data_adequacy`.
for name in EXPERIMENTS:

    rule:
        name:
            name
        input:
            expand("<results>/figures/{name}.{format}", name=name, format=SETTINGS.figure_formats),
            expand("<results>/tables/{name}.{format}", name=name, format=["csv", "md", "tex"]),
            files_of(CELLS[name], "metrics.json"),
            files_of(CELLS[name], "predictions.parquet"),
        localrule: True


WARM = warm.Server()


onstart:
    # With its rate limit on, Snakemake 9.27 plans anew every second once for each job that has finished so far: after
    # some hundred jobs that takes half a core. Local jobs need no limit.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
    # A rule with an environment of its own must not run in this one.
    # With a record torch may not even be installed.
    if (
        SETTINGS.warm_start
        and not SETTINGS.recorded
        and workflow.local_exec
        and not workflow.deployment_settings.deployment_method
    ):
        WARM.start()


onsuccess:
    WARM.stop()


onerror:
    WARM.stop()

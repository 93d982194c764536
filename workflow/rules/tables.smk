"""From predictions to tables: the plan of an experiment, difficulty scores, tidy tables."""


rule plan:
    """Write an experiment's expanded grid, so that later stages never read the configuration."""
    output:
        plan="<results>/plans/{experiment}.json",
    log:
        "<results>/logs/plans/{experiment}.log",
    conda:
        ENVIRONMENT
    params:
        script=script("plan.py"),
        plan=plan_digest,
        code=code_of("plan.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --config "$JUNKDNA_CONFIG" \
            --experiment {wildcards.experiment} \
            --output {output.plan:q} \
            2>{log:q}
        """


ruleorder: score_difficulty > aggregate


rule score_difficulty:
    """Score the difficulty of every series and example, what it predicts, and where pre-training matters."""
    input:
        plans=expand("<results>/plans/{name}.json", name=EXPERIMENTS),
        metrics=files_of([cell for cell in EVALUATED.values() if not cell.compressed], "metrics.json"),
        predictions=files_of(EVALUATED.values(), "predictions.parquet"),
        human=HUMAN,
    output:
        table="<results>/tables/difficulty.csv",
        pretraining="<results>/tables/pretraining.csv",
        agreement="<results>/tables/difficulty_agreement.csv",
        flips="<results>/tables/flip_by_difficulty.csv",
        thirds="<results>/tables/flip_by_difficulty_thirds.csv",
        examples="<results>/difficulty/items.parquet",
    log:
        "<results>/logs/difficulty/difficulty.log",
    benchmark:
        "<results>/benchmarks/difficulty/difficulty.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("score_difficulty.py"),
        code=code_of("score_difficulty.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --plans {input.plans:q} \
            --human {input.human:q} \
            --table {output.table:q} \
            --pretraining {output.pretraining:q} \
            --agreement {output.agreement:q} \
            --flips {output.flips:q} \
            --thirds {output.thirds:q} \
            --items {output.examples:q} \
            2>{log:q}
        """


rule aggregate:
    """Gather an experiment's cells into its tables, with intervals."""
    input:
        plan="<results>/plans/{experiment}.json",
        metrics=experiment_metrics,
        predictions=experiment_predictions,
    output:
        table="<results>/tables/{experiment}.csv",
        contrasts="<results>/tables/{experiment}_contrasts.csv",
        curves="<results>/tables/{experiment}_curves.csv",
        against_dense="<results>/tables/{experiment}_against_dense.csv",
        trends="<results>/tables/{experiment}_trends.csv",
        drops="<results>/tables/{experiment}_drops.parquet",
        markdown="<results>/tables/{experiment}.md",
        latex="<results>/tables/{experiment}.tex",
    log:
        "<results>/logs/tables/{experiment}.log",
    benchmark:
        "<results>/benchmarks/tables/{experiment}.tsv"
    conda:
        ENVIRONMENT
    threads: processes_of
    params:
        script=script("aggregate.py"),
        code=code_of("aggregate.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --plan {input.plan:q} \
            --table {output.table:q} \
            --contrasts {output.contrasts:q} \
            --curves {output.curves:q} \
            --against-dense {output.against_dense:q} \
            --trends {output.trends:q} \
            --drops {output.drops:q} \
            --markdown {output.markdown:q} \
            --latex {output.latex:q} \
            --threads {threads} \
            2>{log:q}
        """


# Their outputs look alike to Snakemake: {experiment}.csv would match it too.
ruleorder: against_reported > aggregate


rule against_reported:
    """Put the reported values beside ours. Without an experiment that has them, the table is a header."""
    input:
        plans=expand("<results>/plans/{name}.json", name=REPORTED),
        tables=expand("<results>/tables/{name}.csv", name=REPORTED),
    output:
        table="<results>/tables/against_reported.csv",
    log:
        "<results>/logs/tables/against_reported.log",
    conda:
        ENVIRONMENT
    params:
        script=script("against_reported.py"),
        code=code_of("against_reported.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --plans {input.plans:q} \
            --tables {input.tables:q} \
            --output {output.table:q} \
            2>{log:q}
        """


rule claims:
    """Judge each claim by its rule in config/claims.yaml."""
    input:
        claims=str(CLAIMS_FILE),
        plans=expand("<results>/plans/{name}.json", name=EXPERIMENTS),
        tables=expand("<results>/tables/{name}.csv", name=EXPERIMENTS),
        drops=expand("<results>/tables/{name}_drops.parquet", name=EXPERIMENTS),
        difficulty="<results>/tables/difficulty.csv",
        pretraining="<results>/tables/pretraining.csv",
        others=OTHER_SCALES,
    output:
        table="<results>/tables/claims.csv",
        sets="<results>/tables/claims_sets.csv",
        markdown="<results>/tables/claims.md",
    log:
        "<results>/logs/tables/claims.log",
    benchmark:
        "<results>/benchmarks/tables/claims.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("judge.py"),
        scale=SETTINGS.scale,
        code=code_of("judge.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --claims {input.claims:q} \
            --plans {input.plans:q} \
            --tables {input.tables:q} \
            --drops {input.drops:q} \
            --difficulty {input.difficulty:q} \
            --pretraining {input.pretraining:q} \
            --scale {params.scale:q} \
            --others {input.others:q} \
            --table {output.table:q} \
            --sets {output.sets:q} \
            --markdown {output.markdown:q} \
            2>{log:q}
        """

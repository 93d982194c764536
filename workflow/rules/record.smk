"""What is kept of a run: a few small files, from which its tables and figures are made again."""


rule record:
    """Pack the evaluated cells, for a run with the setting `recorded`."""
    input:
        metrics=files_of(EVALUATED.values(), "metrics.json"),
        predictions=files_of(EVALUATED.values(), "predictions.parquet"),
        provenance=files_of(EVALUATED.values(), "provenance.json"),
        trainings=recorded_trainings,
        models=recorded_models,
    output:
        files=expand("<results>/record/{file}", file=record.files(EVALUATED.values())),
    log:
        "<results>/logs/record.log",
    benchmark:
        "<results>/benchmarks/record.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        script=script("record.py"),
        code=code_of("record.py"),
        definitions=recorded_digest,
        results=lambda wildcards, output: str(Path(output.files[0]).parents[1]),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --config "$JUNKDNA_CONFIG" \
            --results {params.results:q} \
            --output {params.results:q}/record \
            2>{log:q}
        """

"""Cells from a record, in the place of evaluation; everything after that is as in a run."""


ruleorder: unpack_record > evaluate_compressed
ruleorder: unpack_record > evaluate_finetuned
ruleorder: unpack_record > evaluate_zero_shot


rule unpack_record:
    """Write the files of all cells from the record."""
    input:
        record=expand("{folder}/{file}", folder=RECORD, file=record.files(EVALUATED.values())),
    output:
        mark=f"<results>/evaluate/{record.MARK}",
        metrics=cells_files(EVALUATED.values(), "metrics.json"),
        predictions=cells_files(EVALUATED.values(), "predictions.parquet"),
        provenance=cells_files(EVALUATED.values(), "provenance.json"),
    log:
        "<results>/logs/unpack.log",
    benchmark:
        "<results>/benchmarks/unpack.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        script=script("unpack.py"),
        code=code_of("unpack.py"),
        record=RECORD,
        results=RESULTS,
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --config "$JUNKDNA_CONFIG" \
            --record {params.record:q} \
            --results {params.results:q} \
            2>{log:q}
        """

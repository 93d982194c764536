"""A page for people, as Markdown, from tables and the record."""

# What Markdown shows beside text: no pdf.
PAGE_IMAGES = [format for format in ("png", "svg") if format in SETTINGS.figure_formats][:1]


rule page:
    """Write what was run, what came out and what agrees with the paper, for docs/."""
    input:
        plans=expand("<results>/plans/{name}.json", name=EXPERIMENTS),
        tables=expand(tables_of(rules.aggregate), experiment=EXPERIMENTS),
        readable=expand(rules.aggregate.output.markdown, experiment=EXPERIMENTS),
        general=[rules.score_difficulty.output.pretraining, *(rules.against_reported.output if REPORTED else [])],
        claims=rules.claims.output.markdown,
        images=expand("<results>/figures/{name}.{format}", name=EXPERIMENTS, format=PAGE_IMAGES),
        record=expand("{folder}/{file}", folder=RECORD, file=record.files(EVALUATED.values())),
    output:
        page=f"<results>/page/{SETTINGS.scale}.md",
        images=expand(f"<results>/page/{SETTINGS.scale}/{{name}}.{{format}}", name=EXPERIMENTS, format=PAGE_IMAGES),
    log:
        "<results>/logs/page.log",
    benchmark:
        "<results>/benchmarks/page.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("write_page.py"),
        code=code_of("write_page.py"),
        texts=report_texts(),
        record=lambda wildcards, input: str(Path(input.record[0]).parent),
        name=SETTINGS.scale,
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --name {params.name} \
            --plans {input.plans:q} \
            --tables {input.tables:q} {input.readable:q} {input.general:q} \
            --claims {input.claims:q} \
            --images {input.images:q} \
            --record {params.record:q} \
            --texts {params.texts:q} \
            --output {output.page:q} \
            2>{log:q}
        """

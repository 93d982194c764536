"""The browsable report, from tables alone."""

# What a browser shows of the formats that are made: none of them is pdf.
IMAGES = next((format for format in ("svg", "png") if format in SETTINGS.figure_formats), "none")


rule report:
    """Put figures, tables, claims and provenance on one page that needs nothing else."""
    input:
        plans=expand("<results>/plans/{name}.json", name=EXPERIMENTS),
        tables=expand(tables_of(rules.aggregate), experiment=EXPERIMENTS),
        general=[
            *tables_of(rules.score_difficulty),
            *tables_of(rules.claims),
            *(tables_of(rules.against_reported) if REPORTED else []),
        ],
        claims=rules.claims.output.markdown,
        images=[file for file in rules.plot_difficulty.output if file.endswith(f".{IMAGES}")],
        provenance=files_of(EVALUATED.values(), "provenance.json"),
        page=here("workflow/report/page/index.html"),
        included=[here("workflow/report/page/style.css"), here("workflow/report/page/page.js")],
    output:
        page="<results>/report/index.html",
    log:
        "<results>/logs/report/index.log",
    benchmark:
        "<results>/benchmarks/report/index.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("report.py"),
        code=code_of("report.py"),
        texts=report_texts(),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --plans {input.plans:q} \
            --tables {input.tables:q} {input.general:q} \
            --claims {input.claims:q} \
            --images {input.images:q} \
            --texts {params.texts:q} \
            --template {input.page:q} \
            --output {output.page:q} \
            2>{log:q}
        """

"""Figures, from tables alone."""


rule plot:
    """Draw an experiment's figure in every format."""
    input:
        plan="<results>/plans/{experiment}.json",
        table="<results>/tables/{experiment}.csv",
    output:
        figures=report(
            expand("<results>/figures/{{experiment}}.{format}", format=SETTINGS.figure_formats),
            caption="../report/figure.rst",
            category="Figures",
            labels={"experiment": "{experiment}"},
        ),
    log:
        "<results>/logs/figures/{experiment}.log",
    benchmark:
        "<results>/benchmarks/figures/{experiment}.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("plot.py"),
        code=code_of("plot.py"),
        question=figure_question,
        caption=figure_caption,
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --plan {input.plan:q} \
            --table {input.table:q} \
            --output {output.figures:q} \
            2>{log:q}
        """

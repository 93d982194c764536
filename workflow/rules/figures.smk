"""Figures, from tables alone."""


ruleorder: plot_difficulty > plot


rule plot_difficulty:
    """Draw how the difficulty scores agree, and whether an example's difficulty predicts its loss."""
    input:
        plans=expand("<results>/plans/{name}.json", name=EXPERIMENTS),
        agreement="<results>/tables/difficulty_agreement.csv",
        flips="<results>/tables/flip_by_difficulty.csv",
        thirds="<results>/tables/flip_by_difficulty_thirds.csv",
    output:
        agreement=report(
            expand("<results>/figures/difficulty_agreement.{format}", format=SETTINGS.figure_formats),
            caption="../report/difficulty_agreement.rst",
            category="Difficulty",
        ),
        flips=report(
            expand("<results>/figures/flip_by_difficulty.{format}", format=SETTINGS.figure_formats),
            caption="../report/flip_by_difficulty.rst",
            category="Difficulty",
        ),
    log:
        "<results>/logs/figures/difficulty.log",
    benchmark:
        "<results>/benchmarks/figures/difficulty.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("plot_difficulty.py"),
        code=code_of("plot_difficulty.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --plans {input.plans:q} \
            --agreement {input.agreement:q} \
            --flips {input.flips:q} \
            --thirds {input.thirds:q} \
            --agreement-figures {output.agreement:q} \
            --flips-figures {output.flips:q} \
            2>{log:q}
        """


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

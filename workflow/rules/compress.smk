"""Compressed states: masks or codes, never a second full checkpoint."""


rule index_magnitudes:
    """Find the global magnitude thresholds of all levels in one pass over the weights."""
    input:
        model="<results>/sources/models/{model}/manifest.json",
    output:
        index="<results>/compress/{model}/magnitudes.json",
    log:
        "<results>/logs/compress/{model}/magnitudes.log",
    benchmark:
        "<results>/benchmarks/compress/{model}/magnitudes.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("index_magnitudes.py"),
        model=model_json,
        code=code_of("index_magnitudes.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --model-manifest {input.model:q} \
            --model {params.model:q} \
            --output {output.index:q} \
            2>{log:q}
        """


rule compress:
    """Compress a model with one method at one level."""
    input:
        model="<results>/sources/models/{model}/manifest.json",
        index=magnitude_index,
    output:
        state="<results>/compress/{model}/{method}/{level}/state.safetensors",
    log:
        "<results>/logs/compress/{model}/{method}/{level}.log",
    benchmark:
        "<results>/benchmarks/compress/{model}/{method}/{level}.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("compress.py"),
        model=model_json,
        module=method_module,
        method=method_json,
        code=code_of("compress.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --model-manifest {input.model:q} \
            --model {params.model:q} \
            --method {wildcards.method} \
            --module {params.module} \
            --level {wildcards.level} \
            --params {params.method:q} \
            --index {input.index:q} \
            --output {output.state:q} \
            2>{log:q}
        """

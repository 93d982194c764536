"""Compressed states: masks or codes, never a second full checkpoint."""


rule index_magnitudes:
    """Find the global magnitude thresholds of all levels in one pass over the weights."""
    input:
        model="<results>/sources/models/{model}/manifest.json",
        weights=[],
    output:
        index="<results>/compress/{model}/magnitudes.json",
    log:
        "<results>/logs/compress/{model}/magnitudes.log",
    benchmark:
        "<results>/benchmarks/compress/{model}/magnitudes.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory_of("index"),
        runtime=minutes_of("index"),
    params:
        script=script("index_magnitudes.py"),
        model=model_json,
        code=code_of("index_magnitudes.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --model-manifest {input.model:q} \
            --model {params.model:q} \
            --weights {input.weights:q} \
            --output {output.index:q} \
            2>{log:q}
        """


# A method that sees dense activations only makes all its levels in one job; the others, one level each.
for swept, made in {"": ["{level}"], **SWEEPS}.items():

    rule:
        """Compress a model with one method."""
        name:
            "_".join(["compress", *re.findall(r"\w+", swept)])
        input:
            model="<results>/sources/models/{model}/manifest.json",
            weights=[],
            tuned=[],
            index=magnitude_index,
            calibration=calibration_dataset,
        output:
            states=expand("<results>/compress/{{model}}/{{method}}/{level}/state.safetensors", level=made),
        log:
            f"<results>/logs/compress/{{model}}/{{method}}/{'sweep' if swept else '{level}'}.log",
        benchmark:
            f"<results>/benchmarks/compress/{{model}}/{{method}}/{'sweep' if swept else '{level}'}.tsv"
        wildcard_constraints:
            method=re.escape(swept) if swept else rf"(?!(?:{'|'.join(map(re.escape, SWEEPS)) or '-'})/)[\w.-]+",
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=memory_of("compress"),
            runtime=minutes_of("compress"),
            gpu=gpu_of("compress"),
            gpu_slots=gpu_slots_of("compress"),
        params:
            script=script("compress.py"),
            model=model_json,
            name=method_name,
            module=method_module,
            method=method_json,
            levels=levels_of,
            calibration=calibration_json,
            seed=calibration_seed,
            code=code_of("compress.py"),
        shell:
            r"""
            ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
                --model-manifest {input.model:q} \
                --model {params.model:q} \
                --weights {input.weights:q} \
                --method {params.name} \
                --module {params.module} \
                --levels {params.levels:q} \
                --params {params.method:q} \
                --index {input.index:q} \
                --calibration {params.calibration:q} \
                --calibration-manifest {input.calibration:q} \
                --calibration-seed {params.seed} \
                --outputs {output.states:q} \
                2>{log:q}
            """


use rule index_magnitudes as index_magnitudes_zero_shot with:
    input:
        model="<results>/sources/models/{model}/manifest.json",
        weights=ancient(tuned_file("model.safetensors")),
        tuned=tuned_file("manifest.json"),
    output:
        index="<results>/compress/{model}/zero_shot/{task}/{fraction}/{seed}/magnitudes.json",
    log:
        "<results>/logs/compress/{model}/zero_shot/{task}/{fraction}/{seed}/magnitudes.log",
    benchmark:
        "<results>/benchmarks/compress/{model}/zero_shot/{task}/{fraction}/{seed}/magnitudes.tsv"


use rule compress as compress_zero_shot with:
    input:
        model="<results>/sources/models/{model}/manifest.json",
        weights=ancient(tuned_file("model.safetensors")),
        tuned=tuned_file("manifest.json"),
        index=magnitude_index,
        calibration=calibration_dataset,
    output:
        states=["<results>/compress/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}/state.safetensors"],
    log:
        "<results>/logs/compress/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}.log",
    benchmark:
        "<results>/benchmarks/compress/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}.tsv"
    wildcard_constraints:
        method=r"[\w.-]+",

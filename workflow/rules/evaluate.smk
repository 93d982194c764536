"""Predictions and metrics of a state on a suite: one task with all its variants."""


rule evaluate_compressed:
    """Evaluate a compressed model, or the dense one, without fine-tuning."""
    input:
        model="<results>/sources/models/{model}/manifest.json",
        state=compressed_state,
        dataset=task_dataset,
    output:
        metrics="<results>/evaluate/{model}/{method}/{level}/none/{suite}/metrics.json",
        predictions="<results>/evaluate/{model}/{method}/{level}/none/{suite}/predictions.parquet",
        provenance="<results>/evaluate/{model}/{method}/{level}/none/{suite}/provenance.json",
    log:
        "<results>/logs/evaluate/{model}/{method}/{level}/none/{suite}.log",
    benchmark:
        "<results>/benchmarks/evaluate/{model}/{method}/{level}/none/{suite}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory_of("evaluate"),
        runtime=minutes_of("evaluate"),
        gpu=gpu_of("evaluate"),
        gpu_slots=gpu_slots_of("evaluate"),
    params:
        script=script("evaluate.py"),
        model=model_json,
        task=suite_json,
        method=method_name,
        seed=calibration_seed,
        code=code_of("evaluate.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --model-manifest {input.model:q} \
            --model {params.model:q} \
            --model-name {wildcards.model} \
            --method {params.method} \
            --calibration-seed {params.seed} \
            --level {wildcards.level} \
            --state {input.state:q} \
            --dataset-manifest {input.dataset:q} \
            --task-name {wildcards.suite} \
            --task {params.task:q} \
            --output-metrics {output.metrics:q} \
            --output-predictions {output.predictions:q} \
            --output-provenance {output.provenance:q} \
            2>{log:q}
        """


rule evaluate_finetuned:
    """Evaluate a fine-tuned state. The weights may be large: their digest in the manifest says whether they changed."""
    input:
        model="<results>/sources/models/{model}/manifest.json",
        weights=ancient(
            "<results>/finetune/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/model.safetensors"
        ),
        manifest=finetuned_manifest,
        state=[],
        dataset=task_dataset,
    output:
        metrics="<results>/evaluate/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/{suite}/metrics.json",
        predictions="<results>/evaluate/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/{suite}/predictions.parquet",
        provenance="<results>/evaluate/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/{suite}/provenance.json",
    log:
        "<results>/logs/evaluate/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/{suite}.log",
    benchmark:
        "<results>/benchmarks/evaluate/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/{suite}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory_of("evaluate"),
        runtime=minutes_of("evaluate"),
        gpu=gpu_of("evaluate"),
        gpu_slots=gpu_slots_of("evaluate"),
    params:
        script=script("evaluate.py"),
        model=model_json,
        task=suite_json,
        method=method_name,
        seed=calibration_seed,
        transfer=transfer_of,
        code=code_of("evaluate.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --model-manifest {input.model:q} \
            --model {params.model:q} \
            --model-name {wildcards.model} \
            --method {params.method} \
            --calibration-seed {params.seed} \
            --level {wildcards.level} \
            --state {input.state:q} \
            --weights {input.weights:q} \
            --weights-manifest {input.manifest:q} \
            --transfer {params.transfer} \
            --fraction {wildcards.fraction} \
            --seed {wildcards.seed} \
            --dataset-manifest {input.dataset:q} \
            --task-name {wildcards.suite} \
            --task {params.task:q} \
            --output-metrics {output.metrics:q} \
            --output-predictions {output.predictions:q} \
            --output-provenance {output.provenance:q} \
            2>{log:q}
        """


use rule evaluate_finetuned as evaluate_zero_shot with:
    input:
        model="<results>/sources/models/{model}/manifest.json",
        weights=ancient(tuned_file("model.safetensors")),
        manifest=tuned_file("manifest.json"),
        state=zero_shot_state,
        dataset=task_dataset,
    output:
        metrics="<results>/evaluate/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}/{suite}/metrics.json",
        predictions="<results>/evaluate/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}/{suite}/predictions.parquet",
        provenance="<results>/evaluate/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}/{suite}/provenance.json",
    log:
        "<results>/logs/evaluate/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}/{suite}.log",
    benchmark:
        "<results>/benchmarks/evaluate/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}/{suite}.tsv"

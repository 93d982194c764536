"""Fine-tuned states: one transfer mode, task, share of the training data and seed each."""


rule finetune:
    """Fine-tune a model on a task in one transfer mode; an interrupted job resumes from its own checkpoint."""
    input:
        model="<results>/sources/models/{model}/manifest.json",
        state=start_state,
        dataset=task_dataset,
    output:
        weights="<results>/finetune/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/model.safetensors",
        manifest="<results>/finetune/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/manifest.json",
        provenance="<results>/finetune/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/provenance.json",
    log:
        "<results>/logs/finetune/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}.log",
    benchmark:
        "<results>/benchmarks/finetune/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=memory_of("finetune"),
        runtime=minutes_of("finetune"),
        gpu=gpu_of("finetune"),
        gpu_slots=gpu_slots_of("finetune"),
    params:
        script=script("finetune.py"),
        model=model_json,
        task=training_json,
        code=code_of("finetune.py"),
    shell:
        # exec: else a SIGTERM to the whole job would end the shell, and with it the job, before the checkpoint is saved.
        r"""
        exec ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --model-manifest {input.model:q} \
            --model {params.model:q} \
            --state {input.state:q} \
            --dataset-manifest {input.dataset:q} \
            --task-name {wildcards.task} \
            --task {params.task:q} \
            --transfer {wildcards.transfer} \
            --fraction {wildcards.fraction} \
            --seed {wildcards.seed} \
            --output-weights {output.weights:q} \
            --output-manifest {output.manifest:q} \
            --output-provenance {output.provenance:q} \
            >{log:q} 2>&1
        """

"""Beside the study: rebuild the organisms, export a cell, tell the state of the results."""


rule pretrain:
    """Rebuild the model organisms from scratch."""
    input:
        organisms,


rule pretrain_organism:
    """Pre-train one model organism on the generated micro-world."""
    input:
        recipe=RECIPE,
    output:
        weights="<results>/pretrain/{organism}/model.safetensors",
        curve="<results>/pretrain/{organism}/training_curve.csv",
    log:
        "<results>/logs/pretrain/{organism}.log",
    benchmark:
        "<results>/benchmarks/pretrain/{organism}.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("pretrain.py"),
        code=code_of("pretrain.py"),
        folder=subpath(output.weights, parent=True),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --recipe {input.recipe:q} \
            --organism {wildcards.organism} \
            --output {params.folder:q} \
            2>{log:q}
        """


rule pretrain_small:
    """Pre-train the small models on real text."""
    input:
        small_models,


rule train_tokenizer:
    """Train the tokenizer of the small models on their corpus."""
    input:
        recipe=SMALL_RECIPE,
        corpus=small_corpus,
    output:
        tokenizer="<results>/pretrain_small/tokenizer.json",
    log:
        "<results>/logs/pretrain_small/tokenizer.log",
    benchmark:
        "<results>/benchmarks/pretrain_small/tokenizer.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("train_tokenizer.py"),
        code=code_of("train_tokenizer.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --recipe {input.recipe:q} \
            --corpus-manifest {input.corpus:q} \
            --output {output.tokenizer:q} \
            2>{log:q}
        """


rule pretrain_small_model:
    """Pre-train one small model; an interrupted job resumes from its own checkpoint."""
    input:
        recipe=SMALL_RECIPE,
        corpus=small_corpus,
        tokenizer="<results>/pretrain_small/tokenizer.json",
    output:
        weights="<results>/pretrain_small/{model}/model.safetensors",
        curve="<results>/pretrain_small/{model}/training_curve.csv",
        provenance="<results>/pretrain_small/{model}/provenance.json",
    log:
        "<results>/logs/pretrain_small/{model}.log",
    benchmark:
        "<results>/benchmarks/pretrain_small/{model}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(720),
        gpu=int(MACHINE == "gpu"),
        gpu_slots=4 * int(MACHINE == "gpu"),
    params:
        script=script("pretrain_small.py"),
        code=code_of("pretrain_small.py"),
        folder=subpath(output.weights, parent=True),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --recipe {input.recipe:q} \
            --model {wildcards.model} \
            --corpus-manifest {input.corpus:q} \
            --tokenizer {input.tokenizer:q} \
            --output {params.folder:q} \
            >{log:q} 2>&1
        """


rule export_compressed:
    """Write a compressed model as an ordinary Hugging Face folder."""
    input:
        model="<results>/sources/models/{model}/manifest.json",
        state="<results>/compress/{model}/{method}/{level}/state.safetensors",
    output:
        weights="<results>/export/{model}/{method}/{level}/model.safetensors",
        config="<results>/export/{model}/{method}/{level}/config.json",
    log:
        "<results>/logs/export/{model}/{method}/{level}.log",
    conda:
        ENVIRONMENT
    params:
        script=script("export.py"),
        model=model_json,
        form="folder",
        code=code_of("export.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --model-manifest {input.model:q} \
            --model {params.model:q} \
            --state {input.state:q} \
            --form {params.form} \
            --output-weights {output.weights:q} \
            2>{log:q}
        """


use rule export_compressed as export_packed with:
    output:
        weights="<results>/export/{model}/{method}/{level}/packed/model.safetensors",
        config="<results>/export/{model}/{method}/{level}/packed/config.json",
    log:
        "<results>/logs/export/{model}/{method}/{level}/packed.log",
    params:
        script=script("export.py"),
        model=model_json,
        form="packed",
        code=code_of("export.py"),


rule export_finetuned:
    """Write a fine-tuned model as an ordinary Hugging Face folder."""
    input:
        model="<results>/sources/models/{model}/manifest.json",
        weights="<results>/finetune/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/model.safetensors",
        state=[],
    output:
        weights="<results>/export/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/model.safetensors",
        config="<results>/export/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}/config.json",
    log:
        "<results>/logs/export/{model}/{method}/{level}/{transfer}/{task}/{fraction}/{seed}.log",
    conda:
        ENVIRONMENT
    params:
        script=script("export.py"),
        model=model_json,
        task=training_json,
        code=code_of("export.py"),
    shell:
        r"""
        ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --model-manifest {input.model:q} \
            --model {params.model:q} \
            --weights {input.weights:q} \
            --state {input.state:q} \
            --task {params.task:q} \
            --output-weights {output.weights:q} \
            2>{log:q}
        """


use rule export_finetuned as export_zero_shot with:
    input:
        model="<results>/sources/models/{model}/manifest.json",
        weights=tuned_file("model.safetensors"),
        state="<results>/compress/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}/state.safetensors",
    output:
        weights="<results>/export/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}/model.safetensors",
        config="<results>/export/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}/config.json",
    log:
        "<results>/logs/export/{model}/{method}/{level}/zero_shot/{task}/{fraction}/{seed}.log",


rule status:
    """Print which cells exist, are missing or are stale, per experiment. Computes nothing."""
    log:
        "<results>/logs/status.log",
    conda:
        ENVIRONMENT
    params:
        script=script("status.py"),
        snakefile=workflow.main_snakefile,
    shell:
        r"""
        python {params.script:q} \
            --snakefile {params.snakefile:q} \
            --config "$JUNKDNA_CONFIG" \
            2>{log:q}
        """


rule power:
    """Print how many seeds each claim would need. Computes no cell."""
    input:
        table="<results>/tables/claims.csv",
        sets="<results>/tables/claims_sets.csv",
    log:
        "<results>/logs/power.log",
    conda:
        ENVIRONMENT
    params:
        script=script("power.py"),
        alpha=CLAIMS.rules.alpha,
    shell:
        r"""
        python {params.script:q} \
            --table {input.table:q} \
            --sets {input.sets:q} \
            --alpha {params.alpha} \
            2>{log:q}
        """

"""From catalog sources to checked files. The only stage that uses the network."""


rule fetch_model:
    """Make a pre-trained model available, check its files, write their digests."""
    input:
        files=model_files,
    output:
        manifest="<results>/sources/models/{model}/manifest.json",
    log:
        "<results>/logs/sources/models/{model}.log",
    benchmark:
        "<results>/benchmarks/sources/models/{model}.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("fetch_model.py"),
        model=model_json,
        code=code_of("fetch_model.py"),
        mirror=MIRROR,
        sizes=model_sizes,
    shell:
        r"""
        HF_HUB_OFFLINE=0 ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --name {wildcards.model} \
            --model {params.model:q} \
            --base {input.files:q} \
            {params.mirror:q} \
            --output {output.manifest:q} \
            2>{log:q}
        """


rule fetch_dataset:
    """Make a data set available, check its files, write their digests."""
    input:
        files=dataset_files,
    output:
        manifest="<results>/sources/datasets/{dataset}/manifest.json",
    log:
        "<results>/logs/sources/datasets/{dataset}.log",
    benchmark:
        "<results>/benchmarks/sources/datasets/{dataset}.tsv"
    conda:
        ENVIRONMENT
    params:
        script=script("fetch_dataset.py"),
        source=dataset_json,
        code=code_of("fetch_dataset.py"),
        mirror=MIRROR,
        sizes=dataset_sizes,
    shell:
        r"""
        HF_HUB_OFFLINE=0 ${{JUNKDNA_PYTHON:-python}} {params.script:q} \
            --name {wildcards.dataset} \
            --source {params.source:q} \
            {params.mirror:q} \
            --output {output.manifest:q} \
            2>{log:q}
        """

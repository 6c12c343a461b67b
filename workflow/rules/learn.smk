# Train a Fourier neural operator on a dataset and evaluate it (needs torch).


rule train_fno:
    input:
        config="<results>/{dataset}/config/train.yaml",
        dataset="<results>/{dataset}/dataset.h5",
    output:
        model=ensure("<results>/{dataset}/model.pt", non_empty=True),
        history=ensure("<results>/{dataset}/history.json", non_empty=True),
    log:
        "<logs>/{dataset}/train_fno.log",
    benchmark:
        "<benchmarks>/{dataset}/train_fno.tsv"
    conda:
        "../../envs/learn.yaml"
    threads: 8
    resources:
        mem_mb=array_memory,
        runtime=solver_minutes,
    params:
        code=code("train"),
    message:
        "{wildcards.dataset}: train a neural operator"
    shell:
        "kryloset train {input.config:q} {wildcards.dataset} --data {input.dataset:q}"
        " --model {output.model:q} --history {output.history:q} 2> {log:q}"


rule evaluate_fno:
    input:
        config="<results>/{dataset}/config/train.yaml",
        dataset="<results>/{dataset}/dataset.h5",
        model="<results>/{dataset}/model.pt",
    output:
        ensure("<results>/{dataset}/metrics.json", non_empty=True),
    log:
        "<logs>/{dataset}/evaluate_fno.log",
    benchmark:
        "<benchmarks>/{dataset}/evaluate_fno.tsv"
    conda:
        "../../envs/learn.yaml"
    threads: 8
    resources:
        mem_mb=array_memory,
        runtime=array_minutes,
    params:
        code=code("evaluate"),
    message:
        "{wildcards.dataset}: evaluate the neural operator"
    shell:
        "kryloset evaluate {input.config:q} {wildcards.dataset} --data {input.dataset:q}"
        " --model {input.model:q} --output {output:q} 2> {log:q}"

# Train neural operators on a dataset and evaluate them (needs torch).


rule train_model:
    input:
        config="<results>/{dataset}/config/train.{model}.{seed}.yaml",
        model=model_source,
        start=started_with,
        dataset="<results>/{dataset}/dataset.h5",
    output:
        model=ensure(
            "<results>/{dataset}/models/{model}/{seed}/model.pt", non_empty=True
        ),
        history=ensure(
            "<results>/{dataset}/models/{model}/{seed}/history.json", non_empty=True
        ),
    log:
        "<logs>/{dataset}/train_model/{model}.{seed}.log",
    benchmark:
        "<benchmarks>/{dataset}/train_model/{model}.{seed}.tsv"
    wildcard_constraints:
        dataset=named(learnt_from_files),
    conda:
        "../../envs/learn.yaml"
    threads: 8
    resources:
        mem_mb=array_memory,
        runtime=solver_minutes,
        gpu=gpus,
    params:
        code=training_code("train"),
        machine=machine,
    message:
        "{wildcards.dataset}: train {wildcards.model} with the seed {wildcards.seed}"
    shell:
        "kryloset train {input.config:q} {wildcards.dataset} --data {input.dataset:q}"
        " {params.machine:q} --model {output.model:q} --history {output.history:q} 2> {log:q}"


# One job solves chunks and learns from them as they are solved. If it stores them, they become
# those of the dataset without being solved again.
rule train_online:
    input:
        config="<results>/{dataset}/config/train.{model}.{seed}.yaml",
        model=model_source,
        family=family_source,
        instances=given_instances,
        order="<results>/{dataset}/order.h5",
        choices=replayed_choices,
    output:
        model=ensure(
            "<results>/{dataset}/models/{model}/{seed}/model.pt", non_empty=True
        ),
        history=ensure(
            "<results>/{dataset}/models/{model}/{seed}/history.json", non_empty=True
        ),
    log:
        "<logs>/{dataset}/train_online/{model}.{seed}.log",
    benchmark:
        "<benchmarks>/{dataset}/train_online/{model}.{seed}.tsv"
    wildcard_constraints:
        dataset=named(learnt_from_stream),
    conda:
        "../../envs/learn.yaml"
    threads: 8
    resources:
        mem_mb=array_memory,
        runtime=solver_minutes,
        gpu=gpus,
    params:
        code=training_code("train_online"),
        solver=code("solve"),
        chunks=folder_of_stream,
        machine=machine,
    message:
        "{wildcards.dataset}: train {wildcards.model} with the seed {wildcards.seed} while solving"
    shell:
        "kryloset train-online {input.config:q} {wildcards.dataset} --order {input.order:q}"
        " --chunks {params.chunks:q} {params.machine:q} --model {output.model:q} --history {output.history:q}"
        " 2> {log:q}"


rule evaluate_model:
    input:
        network=model_source,
        dataset="<results>/{dataset}/dataset.h5",
        model="<results>/{dataset}/models/{model}/{seed}/model.pt",
    output:
        metrics=ensure(
            "<results>/{dataset}/models/{model}/{seed}/metrics.json", non_empty=True
        ),
        predictions=ensure(
            "<results>/{dataset}/models/{model}/{seed}/predictions.h5", non_empty=True
        ),
    log:
        "<logs>/{dataset}/evaluate_model/{model}.{seed}.log",
    benchmark:
        "<benchmarks>/{dataset}/evaluate_model/{model}.{seed}.tsv"
    conda:
        "../../envs/learn.yaml"
    threads: 8
    resources:
        mem_mb=array_memory,
        runtime=array_minutes,
        gpu=lambda wildcards: min(gpus(wildcards), 1),
    params:
        code=training_code("evaluate"),
        network=own_network,
        grid=grids_of_training,
    message:
        "{wildcards.dataset}: evaluate {wildcards.model} with the seed {wildcards.seed}"
    shell:
        "kryloset evaluate {input.model:q} --data {input.dataset:q} {params.network:q}"
        " {params.grid:q} --output {output.metrics:q} --predictions {output.predictions:q} 2> {log:q}"


rule evaluate_baselines:
    input:
        "<results>/{dataset}/dataset.h5",
    output:
        ensure("<results>/{dataset}/models/baselines.json", non_empty=True),
    log:
        "<logs>/{dataset}/evaluate_baselines.log",
    benchmark:
        "<benchmarks>/{dataset}/evaluate_baselines.tsv"
    conda:
        "../../envs/learn.yaml"
    threads: 8
    resources:
        mem_mb=array_memory,
        runtime=array_minutes,
    params:
        code=code("baselines"),
        grid=grids_of_training,
        march=march_of_training,
    message:
        "{wildcards.dataset}: evaluate the baselines"
    shell:
        "kryloset baselines {input:q} {params.grid:q} {params.march:q} --output {output:q}"
        " 2> {log:q}"


rule tabulate_models:
    input:
        config="<results>/{dataset}/config/train.yaml",
        baselines="<results>/{dataset}/models/baselines.json",
        metrics=of_trainings("metrics.json"),
        history=of_trainings("history.json"),
    output:
        table=ensure("<results>/{dataset}/models.json", non_empty=True),
        text=ensure("<results>/{dataset}/models.md", non_empty=True),
    log:
        "<logs>/{dataset}/tabulate_models.log",
    benchmark:
        "<benchmarks>/{dataset}/tabulate_models.tsv"
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=record_memory,
        runtime=array_minutes,
    params:
        code=code("tabulate"),
        models=folder_of_models,
    message:
        "{wildcards.dataset}: put the errors of all models into one table"
    shell:
        "kryloset tabulate {input.config:q} {wildcards.dataset} --models {params.models:q}"
        " --output {output.table:q} 2> {log:q}"

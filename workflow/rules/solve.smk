# Solve the sorted instances chunk by chunk, verify each chunk and merge them into a dataset.


# A chunk is one job, because each solve uses what the solves before it left. A job that
# was killed resumes from the journal beside its output. Chunk files are kept, so that
# other splits can be merged without solving again.
rule solve_chunk:
    input:
        config="<results>/{dataset}/config/solve.yaml",
        family=family_source,
        instances=given_instances,
        order="<results>/{dataset}/order.h5",
        choices=replayed_choices,
        # Trainings that learn while solving come first, and have solved it then.
        trained=ancient(models_that_store),
    output:
        ensure("<results>/{dataset}/chunks/{scatteritem}.h5", non_empty=True),
    log:
        "<logs>/{dataset}/solve_chunk/{scatteritem}.log",
    benchmark:
        "<benchmarks>/{dataset}/solve_chunk/{scatteritem}.tsv"
    group:
        "chunk"
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=solver_memory,
        runtime=solver_minutes,
        tasks=1,
    params:
        code=code("solve"),
        launcher=launcher,
        solved=solved_by_training,
    message:
        "{wildcards.dataset}: solve chunk {wildcards.scatteritem}"
    shell:
        "{params.launcher} kryloset solve {input.config:q} {wildcards.dataset}"
        " --order {input.order:q}"
        " --chunk {wildcards.scatteritem} --output {output:q} {params.solved:q} 2> {log:q}"


# A process of its own trusts nothing but the file. It belongs to the group of the chunk, so
# that a cluster runs both as one job.
rule verify_chunk:
    input:
        config="<results>/{dataset}/config/merge.yaml",
        family=family_source,
        instances=given_instances,
        order="<results>/{dataset}/order.h5",
        chunk="<results>/{dataset}/chunks/{scatteritem}.h5",
    output:
        ensure("<results>/{dataset}/verified/{scatteritem}.json", non_empty=True),
    log:
        "<logs>/{dataset}/verify_chunk/{scatteritem}.log",
    benchmark:
        "<benchmarks>/{dataset}/verify_chunk/{scatteritem}.tsv"
    group:
        "chunk"
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=solver_memory,
        runtime=solver_minutes,
    params:
        code=code("verify"),
    message:
        "{wildcards.dataset}: verify chunk {wildcards.scatteritem}"
    shell:
        "kryloset verify {input.config:q} {wildcards.dataset}"
        " --order {input.order:q} --output {output:q} {input.chunk:q} 2> {log:q}"


rule merge_chunks:
    input:
        config="<results>/{dataset}/config/merge.yaml",
        family=family_source,
        order="<results>/{dataset}/order.h5",
        chunks=solved_chunks,
        verified=verified_chunks,
    output:
        dataset=ensure("<results>/{dataset}/dataset.h5", non_empty=True),
        check=ensure("<results>/{dataset}/check.json", non_empty=True),
        timings=ensure("<results>/{dataset}/timings.json", non_empty=True),
        choices=ensure("<results>/{dataset}/choices.json", non_empty=True),
    log:
        "<logs>/{dataset}/merge_chunks.log",
    benchmark:
        "<benchmarks>/{dataset}/merge_chunks.tsv"
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=record_memory,
        runtime=array_minutes,
    params:
        code=code("merge"),
        verified=folder_of_verified,
    message:
        "{wildcards.dataset}: merge the verified chunks into the dataset"
    shell:
        "kryloset merge {input.config:q} {wildcards.dataset}"
        " --order {input.order:q} --verified {params.verified:q}"
        " --output {output.dataset:q} --check {output.check:q}"
        " --timings {output.timings:q} --choices {output.choices:q}"
        " {input.chunks:q} 2> {log:q}"

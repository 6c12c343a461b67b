# Solve the sorted instances chunk by chunk, merge the chunks into a dataset and check it.


# A chunk is one job, because each solve uses what the solves before it left. A job that
# was killed resumes from the journal beside its output. Chunk files are kept, so that
# other splits can be merged without solving again.
rule solve_chunk:
    input:
        config="<results>/{dataset}/config/solve.yaml",
        family=family_source,
        order="<results>/{dataset}/order.h5",
        choices=replayed_choices,
    output:
        ensure("<results>/{dataset}/chunks/{scatteritem}.h5", non_empty=True),
    log:
        "<logs>/{dataset}/solve_chunk/{scatteritem}.log",
    benchmark:
        "<benchmarks>/{dataset}/solve_chunk/{scatteritem}.tsv"
    # Start before the comparison, which can run beside the later stages.
    priority: 1
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
    message:
        "{wildcards.dataset}: solve chunk {wildcards.scatteritem}"
    shell:
        "{params.launcher} kryloset solve {input.config:q} {wildcards.dataset}"
        " --order {input.order:q}"
        " --chunk {wildcards.scatteritem} --output {output:q} 2> {log:q}"


rule merge_chunks:
    input:
        config="<results>/{dataset}/config/merge.yaml",
        family=family_source,
        order="<results>/{dataset}/order.h5",
        chunks=solved_chunks,
    output:
        dataset=ensure("<results>/{dataset}/dataset.h5", non_empty=True),
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
        mem_mb=array_memory,
        runtime=array_minutes,
    params:
        code=code("merge"),
    message:
        "{wildcards.dataset}: merge the chunks into the dataset"
    shell:
        "kryloset merge {input.config:q} {wildcards.dataset}"
        " --order {input.order:q} --output {output.dataset:q} --timings {output.timings:q}"
        " --choices {output.choices:q}"
        " {input.chunks:q} 2> {log:q}"


rule check_dataset:
    input:
        dataset="<results>/{dataset}/dataset.h5",
        family=family_source,
    output:
        ensure("<results>/{dataset}/check.json", non_empty=True),
    log:
        "<logs>/{dataset}/check_dataset.log",
    benchmark:
        "<benchmarks>/{dataset}/check_dataset.tsv"
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=array_memory,
        runtime=solver_minutes,
    params:
        code=code("check"),
    message:
        "{wildcards.dataset}: check the dataset"
    shell:
        "kryloset check {input.dataset:q} --output {output:q} 2> {log:q}"

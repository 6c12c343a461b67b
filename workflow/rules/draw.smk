# Draw the instances of a dataset and sort them into the order in which they are solved.


localrules:
    resolve_config,


rule resolve_config:
    input:
        ".snakemake/settings/{dataset}/{stage}",
    output:
        ensure("<results>/{dataset}/config/{stage}.yaml", non_empty=True),
    log:
        "<logs>/{dataset}/resolve_config/{stage}.log",
    benchmark:
        "<benchmarks>/{dataset}/resolve_config/{stage}.tsv"
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=100,
        runtime=5,
    params:
        settings=settings,
        text=resolved_config,
    message:
        "{wildcards.dataset}: write the configuration of the stage {wildcards.stage}"
    shell:
        "printf '%s' {params.text:q} > {output:q} 2> {log:q}"


# The dataset of before is no input: without it, all instances are drawn and solved.
rule sort_instances:
    input:
        config="<results>/{dataset}/config/sort.yaml",
        family=family_source,
        instances=given_instances,
    output:
        ensure("<results>/{dataset}/order.h5", non_empty=True),
    log:
        "<logs>/{dataset}/sort_instances.log",
    benchmark:
        "<benchmarks>/{dataset}/sort_instances.tsv"
    conda:
        "../../envs/kryloset.yaml"
    threads: drawing_processes
    resources:
        mem_mb=sorting_memory,
        runtime=array_minutes,
    params:
        code=code("sort"),
        chunks=chunks,
        earlier=earlier_dataset,
    message:
        "{wildcards.dataset}: draw and sort the instances"
    shell:
        "kryloset sort {input.config:q} {wildcards.dataset}"
        " --chunks {params.chunks:q} --threads {threads} --earlier {params.earlier:q}"
        " --output {output:q} 2> {log:q}"

# Make the folder to publish of a dataset: `snakemake --cores all publish`.


rule publish_dataset:
    input:
        dataset="<results>/{dataset}/dataset.h5",
    output:
        directory("<results>/{dataset}/published"),
    log:
        "<logs>/{dataset}/publish_dataset.log",
    benchmark:
        "<benchmarks>/{dataset}/publish_dataset.tsv"
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=record_memory,
        runtime=array_minutes,
    params:
        code=code("publish"),
    message:
        "{wildcards.dataset}: make the folder to publish"
    shell:
        "kryloset publish {input.dataset:q} --output {output:q} 2> {log:q}"

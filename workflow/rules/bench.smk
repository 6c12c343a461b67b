# Compare Kryloset with hand-written scripts: `snakemake --cores all yardstick`.


rule run_bench:
    output:
        printed="<results>/yardstick/{length}/{bench}.txt",
        rows="<results>/yardstick/{length}/{bench}.json",
    log:
        "<logs>/yardstick/{length}/{bench}.log",
    benchmark:
        "<benchmarks>/yardstick/{length}/{bench}.tsv"
    wildcard_constraints:
        length="full|quick",
        bench="families|paper|scale|whole",
    conda:
        "../../envs/kryloset.yaml"
    # One core for the measurement, and one for the second worker of `scale` and `whole`.
    threads: 2
    resources:
        mem_mb=8000,
        runtime=480,
    params:
        length=bench_length,
    message:
        "measure: kryloset bench {wildcards.bench} {params.length}"
    shell:
        "kryloset bench {wildcards.bench} {params.length:q} --json {output.rows:q}"
        " > {output.printed:q} 2> {log:q}"


rule show_benches:
    input:
        expand(
            "<results>/yardstick/{{length}}/{bench}.txt",
            bench=["families", "paper", "scale", "whole"],
        ),
    output:
        report(
            "<results>/yardstick/{length}.html",
            caption="../report/yardstick.rst",
            category="yardstick",
            labels={"page": "{length}"},
        ),
    log:
        "<logs>/yardstick/{length}.log",
    benchmark:
        "<benchmarks>/yardstick/{length}.tsv"
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "collect the output of the benchmarks on one page"
    shell:
        "kryloset bench page {input:q} --output {output:q} 2> {log:q}"

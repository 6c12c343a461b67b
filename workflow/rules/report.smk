# Compare the solvers side by side, and render the report of a dataset.


rule compare_solvers:
    input:
        config="<results>/{dataset}/config/compare.yaml",
        family=family_source,
        instances=given_instances,
        order="<results>/{dataset}/order.h5",
    output:
        ensure("<results>/{dataset}/comparison.json", non_empty=True),
    log:
        "<logs>/{dataset}/compare_solvers.log",
    benchmark:
        "<benchmarks>/{dataset}/compare_solvers.tsv"
    # Whatever the dataset needs comes first.
    priority: -1
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=solver_memory,
        runtime=solver_minutes,
    params:
        code=code("compare"),
    message:
        "{wildcards.dataset}: solve the same instances with and without recycling"
    shell:
        "kryloset compare {input.config:q} {wildcards.dataset}"
        " --order {input.order:q} --output {output:q} 2> {log:q}"


rule report_dataset:
    input:
        order="<results>/{dataset}/order.h5",
        dataset="<results>/{dataset}/dataset.h5",
        timings="<results>/{dataset}/timings.json",
        check="<results>/{dataset}/check.json",
        comparison="<results>/{dataset}/comparison.json",
    output:
        page=report(
            "<results>/{dataset}/report.html",
            caption="../report/dataset.rst",
            category="{dataset}",
            labels={"page": "dataset"},
        ),
        figures=directory("<results>/{dataset}/figures"),
    log:
        "<logs>/{dataset}/report_dataset.log",
    benchmark:
        "<benchmarks>/{dataset}/report_dataset.tsv"
    conda:
        "../../envs/kryloset.yaml"
    threads: 1
    resources:
        mem_mb=record_memory,
        runtime=array_minutes,
    params:
        code=code("report"),
        training=[],
    message:
        "{wildcards.dataset}: render the report"
    shell:
        "kryloset report {input.dataset:q} --order {input.order:q}"
        " --timings {input.timings:q} --check {input.check:q}"
        " --comparison {input.comparison:q} {params.training:q}"
        " --figures {output.figures:q} --output {output.page:q} 2> {log:q}"


# The same page with the results of training.
use rule report_dataset as report_training with:
    input:
        order="<results>/{dataset}/order.h5",
        dataset="<results>/{dataset}/dataset.h5",
        timings="<results>/{dataset}/timings.json",
        check="<results>/{dataset}/check.json",
        comparison="<results>/{dataset}/comparison.json",
        models="<results>/{dataset}/models.json",
        predictions=first_predictions,
    output:
        page=report(
            "<results>/{dataset}/training.html",
            caption="../report/training.rst",
            category="{dataset}",
            labels={"page": "dataset and training"},
        ),
        figures=directory("<results>/{dataset}/training"),
    log:
        "<logs>/{dataset}/report_training.log",
    benchmark:
        "<benchmarks>/{dataset}/report_training.tsv"
    params:
        code=code("report"),
        training=training_figures,
    message:
        "{wildcards.dataset}: render the report with the results of training"

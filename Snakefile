# Snakemake looks for this file first; the workflow itself is in workflow/.
include: "workflow/Snakefile"


# `include` restores the default target that was there before, here none: without
# the next line a plain `snakemake` would find nothing to do and call that success.
workflow.default_target = "all"

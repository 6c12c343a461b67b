# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The stages of the workflow, one module each, and what they share.

A stage is a function `run`, which reads the files of the stages before it and writes its own files
atomically. The rules of the workflow and the commands of `kryloset` call the same functions.

sample -> sort -> solve (a job a chunk) -> merge -> check -> report
                                             `---> train -> evaluate
"""

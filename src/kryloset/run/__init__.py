# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The way of the data: one module a stage.

Each has one function `run`, which reads the files of the stages before it,
writes its own whole or not at all, and does nothing else. A rule of the
workflow and a command of `kryloset` call the same one.

sample -> sort -> solve (a job a chunk) -> merge -> check -> report
                                             `---> train -> evaluate
"""

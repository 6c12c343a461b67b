# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Processes that solve chunks one after another while another stage learns from them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from kryloset.errors import KrylosetError

#: As jobs of the workflow that solve have it.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Solving:
    """Processes of `kryloset solve`; use it in a `with` statement, at whose end they are ended.

    Args:
        config: The configuration, a YAML file.
        name: Which of its datasets.
        order: `order.h5`.
        folder: Where the files of the chunks go. One that is there already is not solved again,
            if it is of the same work.
        processes: Most of them at a time.
    """

    def __init__(self, config: Path, name: str, order: Path, folder: Path, processes: int) -> None:
        """Start nothing yet."""
        self._command = [sys.executable, "-m", "kryloset", "solve", str(config), name]
        self._command += ["--order", str(order)]
        self._folder = folder
        self._executor = ThreadPoolExecutor(processes)
        self._futures: dict[str, Future[Path]] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = Event()

    def __enter__(self) -> Self:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all processes. What they have solved is in their journals."""
        self._ended.set()
        for process in [*self._running]:
            process.terminate()
        self._executor.shutdown(cancel_futures=True)

    def start(self, chunks: Sequence[str]) -> None:
        """Solve chunks in this order, by their names, unless they are being solved."""
        for chunk in chunks:
            if chunk not in self._futures:
                self._futures[chunk] = self._executor.submit(self._solve, chunk)

    def wait(self, chunk: str) -> Path:
        """Wait until a chunk is solved, and return its file.

        Raises:
            KrylosetError: It was not solved; the log says why.
        """
        return self._futures[chunk].result()

    def _solve(self, chunk: str) -> Path:
        output = self._folder / f"{chunk}.h5"
        if self._ended.is_set():
            raise KrylosetError(f"chunk {chunk} was not begun")
        command = [*self._command, "--chunk", chunk, "--output", str(output)]
        process = subprocess.Popen(command, env=os.environ | ONE_THREAD)
        self._running.add(process)
        if self._ended.is_set():  # while it started
            process.terminate()
        status = process.wait()
        self._running.discard(process)
        if status:
            raise KrylosetError(f"chunk {chunk} was not solved: see above for why")
        return output

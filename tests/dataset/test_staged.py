# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A file between stages is read as it was written, or refused; files of other runs are refused."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mpi4py import MPI

import h5py
import numpy as np
import pytest
from pointwise_runs import changed, make_run
from various_runs import various

from kryloset.dataset.staged import StagedFile, create_staged
from kryloset.errors import DataError, FamilyError
from kryloset.run import compare, solve, sort


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind, with ragged arrays and a mesh."""
    run = various(tmp_path_factory.mktemp("run"), "Meshed")
    return {"order": run.folder / "order.h5", "chunk": run.chunks[0]}


def read(path: Path) -> dict[str, object]:
    """Read everything that a stage may read of a file."""
    with StagedFile(path) as file:
        found: dict[str, object] = {key: str(value) for key, value in file.attrs.items()}
        paths = {group: file.names(group) for group in ("parameters", "fields", "solver", "mesh")}
        arrays = [f"{group}/{name}" for group, names in paths.items() for name in names]
        arrays += [
            key for key in ("drawn", "permutation", "bounds", "features", "instance") if key in file
        ]
        for key in [key for key in arrays if key in file]:
            rows = [file.row(key, number) for number in range(file.length(key))]
            found[key] = [(row.dtype, row.shape, row.tobytes()) for row in rows]
        return found


@pytest.mark.parametrize("kind", ["order", pytest.param("chunk", marks=pytest.mark.slow)])
def test_a_flipped_bit_is_found_or_changes_no_data(
    kind: str, files: dict[str, Path], tmp_path: Path
):
    """Most bytes of so small a file hold no data."""
    path, data, expected = tmp_path / "file.h5", files[kind].read_bytes(), read(files[kind])
    places, found = random.Random(0), 0
    for _ in range(250):
        damaged = bytearray(data)
        damaged[places.randrange(len(data))] ^= 1 << places.randrange(8)
        path.write_bytes(damaged)
        try:
            assert read(path) == expected
        except DataError as error:
            assert "file.h5" in str(error)
            found += 1
    assert found > 50


def index_of_chunks(path: Path, array: str) -> int:
    """Return the place of the addresses of an array's chunks."""
    with h5py.File(path) as file:
        address = file[array].id.get_chunk_info(1).byte_offset
    return path.read_bytes().rindex(address.to_bytes(8, "little"))


def test_a_flip_in_the_index_of_chunks_is_named(files: dict[str, Path], tmp_path: Path):
    """In HDF5's oldest format such a flip gave rows of zeros."""
    path, data = tmp_path / "file.h5", bytearray(files["chunk"].read_bytes())
    data[index_of_chunks(files["chunk"], "parameters/k") + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"file.h5 is damaged: parameters/k cannot be read"):
        read(path)


@pytest.mark.parametrize("change", ["zeros", "swapped", "number", "attribute"])
def test_a_change_without_a_new_seal_is_named(change: str, files: dict[str, Path], tmp_path: Path):
    path = tmp_path / "file.h5"
    path.write_bytes(files["chunk"].read_bytes())
    with h5py.File(path, "r+") as file:
        u = file["fields/u"]
        if change == "zeros":
            u[1] = 0
        elif change == "swapped":
            u[[0, 1]] = u[[0, 1]][::-1]
        elif change == "number":
            file["solver/true_residual"][1] += 1e-9
        else:
            file.attrs["config"] = file.attrs["config"].replace(b"seed: 0", b"seed: 1")
    named = {"number": "solver/true_residual", "attribute": "an attribute"}.get(change, "fields/u")
    with pytest.raises(DataError, match=rf"file.h5 is damaged: .*{named} was changed"):
        read(path)


def test_a_file_without_seals_is_refused_and_its_arrays_named(tmp_path: Path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["parameters/k"] = np.zeros((4, 3))
    with pytest.raises(DataError, match=r"old.h5 has no digests, so nothing in it .*parameters/k"):
        StagedFile(tmp_path / "old.h5")


def test_only_requested_rows_are_read(files: dict[str, Path], tmp_path: Path):
    path = tmp_path / "file.h5"
    path.write_bytes(files["chunk"].read_bytes())
    with h5py.File(path, "r+") as file:
        file["parameters/k"][2] *= 2
    with StagedFile(path) as file:
        file.rows("parameters/k", 0, 2)
        with pytest.raises(DataError, match="row 2 of parameters/k"):
            file.rows("parameters/k", 1, 3)


def test_an_interrupted_write_leaves_no_file(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), create_staged(tmp_path / "a.h5") as file:
        file.array("x", np.ones(3))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_an_order_or_a_chunk_of_other_parameters_is_refused(tmp_path: Path):
    run = make_run(tmp_path)
    other = replace(run, config=run.config.model_copy(update={"seed": 8}))
    order = tmp_path / "order.h5"
    stages: list[Callable[[], object]] = [
        lambda: solve.run(
            other.config, run.name, order=order, chunk="1-of-3", output=tmp_path / "c.h5",
            comm=MPI.COMM_SELF,
        ),
        lambda: compare.run(other.config, run.name, order=order, output=tmp_path / "c.json"),
        other.merge,
    ]  # fmt: skip
    for stage in stages:
        with pytest.raises(DataError, match=r"order.h5 was made with another seed: 7, not 8"):
            stage()
    sort.run(other.config, run.name, output=order)
    with pytest.raises(DataError, match=r"1-of-3.h5 was made from other parameters"):
        other.merge()
    assert not (tmp_path / "c.h5").exists() and not (tmp_path / "dataset.h5").exists()


def test_an_instance_that_is_not_the_one_that_was_sorted_is_named(tmp_path: Path):
    run = make_run(tmp_path)
    with changed(tmp_path / "order.h5") as file:
        instance = int(file["permutation"][0])
        file["drawn"][instance, 0] ^= 1
    with pytest.raises(FamilyError, match=rf"instance {instance} is not the one that .*order.h5"):
        solve.run(
            run.config, run.name, order=tmp_path / "order.h5", chunk="1-of-3",
            output=tmp_path / "c.h5", comm=MPI.COMM_SELF,
        )  # fmt: skip
    assert not (tmp_path / "c.h5").exists()

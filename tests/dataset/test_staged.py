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
from pointwise_runs import Run, make_run
from various_runs import various

from kryloset.dataset.staged import StagedFile, create_staged, digest_instances
from kryloset.errors import DataError
from kryloset.run import compare, sample, solve, sort

KINDS = ["parameters", "order", "chunk"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind, with ragged arrays and a mesh."""
    run = various(tmp_path_factory.mktemp("run"), "Meshed")
    names = {name: run.folder / f"{name}.h5" for name in ("parameters", "order")}
    return names | {"chunk": run.chunks[0]}


def read(path: Path) -> dict[str, object]:
    """Read everything that a stage may read of a file."""
    with StagedFile(path) as file:
        found: dict[str, object] = {key: str(value) for key, value in file.attrs.items()}
        paths = {group: file.names(group) for group in ("parameters", "fields", "solver", "mesh")}
        arrays = [f"{group}/{name}" for group, names in paths.items() for name in names]
        arrays += [key for key in ("permutation", "bounds", "features", "instance") if key in file]
        for key in [key for key in arrays if key in file]:
            rows = [file.row(key, number) for number in range(file.length(key))]
            found[key] = [(row.dtype, row.shape, row.tobytes()) for row in rows]
        return found


@pytest.mark.parametrize("kind", KINDS)
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
    path, data = tmp_path / "file.h5", bytearray(files["parameters"].read_bytes())
    data[index_of_chunks(files["parameters"], "parameters/k") + 1] ^= 1
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
            file.attrs["config"] = file.attrs["config"].replace("seed: 0", "seed: 1")
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
    path.write_bytes(files["parameters"].read_bytes())
    with h5py.File(path, "r+") as file:
        file["parameters/k"][3] *= 2
    with StagedFile(path) as file:
        file.rows("parameters/k", 0, 3)
        with pytest.raises(DataError, match="row 3 of parameters/k"):
            file.rows("parameters/k", 2, 5)


def test_digest_instances_equals_the_digest_of_the_file(files: dict[str, Path]):
    with StagedFile(files["parameters"]) as file:
        names = file.names("parameters")
        rows = [
            {name: file.row(f"parameters/{name}", i) for name in names}
            for i in range(file.length("parameters/k"))
        ]
        assert file.digest("parameters") == digest_instances("parameters", rows)
        assert file.digest("parameters") != digest_instances("parameters", rows[::-1])


def test_an_interrupted_write_leaves_no_file(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), create_staged(tmp_path / "a.h5") as file:
        file.array("x", np.ones(3))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def drawn_anew(run: Run) -> Run:
    """Return a run with the parameters of another seed, and the old order and chunks."""
    other = replace(run, config=run.config.model_copy(update={"seed": 8}))
    sample.run(other.config, run.name, output=run.folder / "parameters.h5")
    return other


def test_an_order_or_a_chunk_of_other_parameters_is_refused(tmp_path: Path):
    run = drawn_anew(make_run(tmp_path))
    parameters, order = tmp_path / "parameters.h5", tmp_path / "order.h5"
    inputs = {"parameters": parameters, "order": order}
    stages: list[Callable[[], object]] = [
        lambda: solve.run(
            run.config, run.name, **inputs, chunk="1-of-3", output=tmp_path / "c.h5",
            comm=MPI.COMM_SELF,
        ),
        lambda: compare.run(run.config, run.name, **inputs, output=tmp_path / "c.json"),
        run.merge,
    ]  # fmt: skip
    for stage in stages:
        with pytest.raises(DataError, match=r"order.h5 was made from other parameters"):
            stage()
    sort.run(run.config, run.name, parameters=parameters, output=order)
    with pytest.raises(DataError, match=r"1-of-3.h5 was made from other parameters"):
        run.merge()
    assert not (tmp_path / "c.h5").exists() and not (tmp_path / "dataset.h5").exists()


def test_parameters_of_another_family_are_refused_before_anything_is_sorted(tmp_path: Path):
    run = make_run(tmp_path)
    mesh = run.config.mesh.model_copy(update={"points": 7})
    other = run.config.model_copy(update={"mesh": mesh})
    with pytest.raises(DataError, match=r"parameters.h5 was made with another mesh"):
        sort.run(other, run.name, parameters=tmp_path / "parameters.h5", output=tmp_path / "o.h5")

# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Merging stores every instance once, unchanged and in the drawn order, or writes nothing."""

import json
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from pointwise_runs import changed, make_run

from kryloset.dataset.encoding import Encoded, Storage
from kryloset.dataset.integrity import STRUCTURE, read_seals
from kryloset.errors import DataError
from kryloset.problems.populations import Population
from kryloset.run import merge
from kryloset.run.draw import Drawn


def nothing_written(run) -> bool:
    return not list(run.folder.glob("dataset.h5*")) and not (run.folder / "timings.json").exists()


def test_instances_are_in_the_drawn_order(any_run):
    run = any_run
    drawn = Drawn([Population(run.family)], run.config.seed)
    with h5py.File(run.whole) as file:
        division = run.family.discretise(None)
        for i, instance in enumerate(drawn.instances(range(run.config.count))):
            for name in ("k", "profile"):
                np.testing.assert_array_equal(file[f"t0_fields/{name}"][i], instance[name])
            assert file["scalars/nu"][i] == instance["nu"]
            u = division.solve([instance], None)[0]["u"]
            np.testing.assert_array_equal(file["t0_fields/u"][i, 0], u)


def test_solve_records_are_in_the_drawn_order(run):
    with h5py.File(run.whole) as file, h5py.File(run.folder / "order.h5") as order:
        solver = {name: values[:] for name, values in file["solver"].items()}
        permutation, bounds = order["permutation"][:], order["bounds"][:]
    drawn = np.arange(run.config.count)
    np.testing.assert_array_equal(solver["iterations"], drawn + 1)
    np.testing.assert_array_equal(solver["true_residual"], 1e-12 * (drawn + 1.0))
    np.testing.assert_array_equal(permutation[solver["position"]], drawn)
    for instance, chunk, predecessor in zip(
        drawn, solver["chunk"], solver["predecessor"], strict=True
    ):
        position = solver["position"][instance]
        assert bounds[chunk] <= position < bounds[chunk + 1]
        first = position == bounds[chunk]
        assert predecessor == (-1 if first else permutation[position - 1])


def test_timings_are_by_drawn_instance_and_not_in_the_dataset(run):
    with h5py.File(run.whole) as file:
        paths = []
        file.visit(paths.append)
    times = json.loads(run.whole.with_name("timings.json").read_text())
    assert times["instances"]["iterate"] == [i / 10 for i in range(run.config.count)]
    with h5py.File(run.folder / "order.h5") as order:
        assert times["sort"] == order.attrs["seconds"]
    assert not [path for path in paths if "second" in path]


def test_the_same_run_makes_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first = make_run(tmp_path / "a").merge().read_bytes()
    time.sleep(1.1)  # if HDF5 stored times, they would be in seconds
    again = make_run(tmp_path / "b").merge().read_bytes()
    assert first == again


def test_chunks_may_come_in_any_order(run):
    assert run.merge("a.h5").read_bytes() == run.merge("b.h5", run.chunks[::-1]).read_bytes()


def stored_rows(path: Path) -> dict[str, list[bytes]]:
    """Return the rows of all instances as the file has them."""
    with h5py.File(path) as file:
        arrays = [array for array in file["t0_fields"].values() if array.chunks[0] == 1]
        return {
            array.name: [
                bytes(array.id.read_direct_chunk((row, *[0] * (array.ndim - 1)))[1])
                for row in range(len(array))
            ]
            for array in arrays
        }


def test_rows_and_digests_do_not_depend_on_the_chunks(tmp_path):
    made, seals = [], []
    for chunks in (1, 2, 5):
        folder = tmp_path / f"{chunks}"
        folder.mkdir()
        path = make_run(folder, chunks=chunks).merge()
        made.append(stored_rows(path))
        with h5py.File(path) as file:
            told = ("solver/", "provenance/config", STRUCTURE)
            seals.append({k: v for k, v in read_seals(file).items() if not k.startswith(told)})
    assert made[0] == made[1] == made[2]
    assert seals[0] == seals[1] == seals[2]
    assert len(made[0]["/t0_fields/u"]) == 12


def test_the_bytes_do_not_depend_on_how_a_chunk_stored_its_rows(run):
    """As the first row of a chunk may be one that gzip halves, and the first of all not."""
    expected = run.merge("a.h5").read_bytes()
    with changed(run.chunks[1]) as file:
        u = file["fields/u"][:]
        del file["fields/u"]
        storage = replace(Storage.of(u[0]), compressed=True)
        storage.encode(u).write(storage.create(file, "fields/u", len(u)), 0)
    assert run.merge("b.h5").read_bytes() == expected


def test_rows_move_as_they_are_stored(run):
    rows = stored_rows(run.whole)
    for path in run.chunks:
        with h5py.File(path) as file:
            for row, instance in enumerate(file["instance"]):
                for name in ("parameters/k", "fields/u"):
                    array = file[name]
                    _, moved = array.id.read_direct_chunk((row, *[0] * (array.ndim - 1)))
                    assert rows[f"/t0_fields/{name[-1]}"][instance] == bytes(moved)


def test_a_flipped_bit_of_a_row_is_named(run):
    with h5py.File(run.chunks[2]) as file:
        instance, place = file["instance"][1], file["fields/u"].id.get_chunk_info(1)
    data = bytearray(run.chunks[2].read_bytes())
    data[place.byte_offset + 17] ^= 4
    run.merge("whole.h5")
    run.chunks[2].write_bytes(data)
    told = f"instance {instance} cannot be merged: .*3-of-3.h5 is damaged: row 1 of fields/u"
    verified = [run.folder / "verified" / f"{chunk.stem}.json" for chunk in run.chunks]
    with pytest.raises(DataError, match=told):
        merge.run(
            run.config, run.name, order=run.folder / "order.h5", chunks=run.chunks,
            verified=verified, output=run.folder / "dataset.h5", check=run.folder / "c.json",
            timings=run.folder / "t.json", choices=run.folder / "o.json",
        )  # fmt: skip
    assert not list(run.folder.glob("dataset.h5*"))


def test_a_missing_chunk_is_named(run):
    run.chunks[1].unlink()
    with pytest.raises(DataError, match=r"instance \d+ is missing"):
        run.merge()
    assert nothing_written(run)


def test_a_duplicate_instance_is_named(run):
    copy = run.folder / "copy.h5"
    copy.write_bytes(run.chunks[1].read_bytes())
    with pytest.raises(DataError, match=r"instance \d+ is in two files, .*2-of-3.h5 and .*copy.h5"):
        run.merge(chunks=[*run.chunks, copy])
    assert nothing_written(run)


def test_a_chunk_in_another_order_is_named(run):
    with h5py.File(run.chunks[0]) as file:
        instances = file["instance"][:]
    run.solve_chunk(0, instances[::-1])
    with pytest.raises(
        DataError, match=r"1-of-3.h5 does not have the instances .* in their sorted"
    ):
        run.merge()
    assert nothing_written(run)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named(run, value):
    with changed(run.chunks[2]) as file:
        instance = file["instance"][1]
        file["fields/u"][1, 0, ..., 3] = value
    with pytest.raises(DataError, match=rf"not finite.*: instance {instance}: u"):
        run.merge()
    assert nothing_written(run)


@pytest.mark.parametrize("value", [1.1e-8, np.nan])
def test_an_unsolved_instance_is_named(run, value):
    with changed(run.chunks[2]) as file:
        instance = file["instance"][1]
        file["solver/true_residual"][1] = value
    with pytest.raises(DataError, match=rf"instance {instance}: .*, recomputed"):
        run.merge()
    assert nothing_written(run)


def test_a_residual_that_is_said_to_be_above_the_tolerance_is_named(run):
    """It is nearly the one that was computed again, which is within the tolerance."""
    with changed(run.chunks[2]) as file:
        instance = file["instance"][1]
        file["fields/u"][1] *= 1 + 9.9e-9
        file["solver/true_residual"][1] = 1.01e-8
    with pytest.raises(DataError, match=f"instance {instance} of .*3-of-3.h5 .*tolerance 1e-08"):
        run.merge()
    assert nothing_written(run)


def test_a_row_that_was_not_written_is_missed(run, monkeypatch):
    write = Encoded.write

    def forget(rows: Encoded, array: h5py.Dataset, first: int) -> None:
        if first != 5 or not array.name.endswith("/u"):
            write(rows, array, first)

    monkeypatch.setattr(Encoded, "write", forget)
    with pytest.raises(DataError, match=r"was not written correctly.*: t0_fields/u lacks rows$"):
        run.merge()
    assert nothing_written(run)


def test_a_failed_merge_leaves_the_old_dataset(run):
    before = run.merge().read_bytes()
    run.chunks[1].unlink()
    with pytest.raises(DataError):
        run.merge()
    assert (run.folder / "dataset.h5").read_bytes() == before


def test_a_chunk_of_another_configuration_is_named(run):
    other = run.config.model_copy(update={"seed": 8})
    stranger = type(run)(run.folder, other)
    with pytest.raises(DataError, match=r"order.h5 was made with another seed: 7, not 8"):
        stranger.merge()
    assert nothing_written(run)


def test_a_damaged_chunk_is_named(run):
    data = run.chunks[0].read_bytes()
    run.chunks[0].write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"1-of-3.h5 cannot be read.*make it again"):
        run.merge()
    assert nothing_written(run)


def test_statistics_are_of_the_training_split_alone(run):
    with h5py.File(run.whole) as file:
        every, train = file["t0_fields/u"][:], file["splits/train"][:]
        found = {key: float(value) for key, value in file["statistics/u"].attrs.items()}
    np.testing.assert_allclose(found["mean"], every[train].mean(), rtol=1e-14)
    np.testing.assert_allclose(found["std"], every[train].std(), rtol=1e-14)
    assert found["mean"] != pytest.approx(every.mean(), rel=1e-6)

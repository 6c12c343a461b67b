# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Chunks that are solved a group at a time: resumption, the last group, instances that fail."""

import json
import logging
from pathlib import Path
from typing import Any

from mpi4py import MPI

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kryloset.config import DatasetConfig
from kryloset.dataset.journal import Journal, count_instances
from kryloset.errors import DataError, KrylosetError
from kryloset.fem.discretise import discretise
from kryloset.krylov import SequenceSolver
from kryloset.krylov.ensemble.matrix import ensemble_of
from kryloset.problems import load_family
from kryloset.run import checkpoint, files, solve, sort
from kryloset.run.checkpoint import working_folder
from kryloset.run.solve_record import FALLBACK, solve_group, solve_in_order
from kryloset.sampling import generator

FAST = {"method": "cg", "preconditioner": "cholesky", "lanes": 4}


PARAMETERS = {"darcy": {"modes": 8}, "heat": {"steps": 3}, "reaction_diffusion": {}}


def configure(family: str = "darcy", **changes: Any) -> DatasetConfig:
    defaults = {
        "family": family, "count": 11, "mesh": {"points": 17}, "parameters": PARAMETERS[family],
        "solver": FAST, "splits": {"train": 0.5, "test": 0.5},
    }  # fmt: skip
    return DatasetConfig(**defaults | changes)


def run(config: DatasetConfig, folder: Path) -> Path:
    """Draw, sort and solve; return the chunk's file."""
    order, output = folder / "order.h5", folder / "chunk.h5"
    sort.run(config, "set", output=order, chunks=1)
    solve.run(
        config, "set", order=order, chunk="1-of-1", output=output,
        comm=MPI.COMM_SELF,
    )  # fmt: skip
    return output


def numbers(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of a chunk but the seconds."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        for group in ("fields", "solver"):
            found |= {f"{group}/{name}": array[:] for name, array in file[group].items()}
        found["instance"] = file["instance"][:]
    return found


@pytest.mark.parametrize("stop", [0, 1, 2])
@pytest.mark.parametrize("saved", [True, False], ids=["state saved", "state lost"])
def test_a_chunk_that_is_killed_between_groups_ends_bit_for_bit_the_same(
    stop: int, saved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure()
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = numbers(run(config, tmp_path / "whole"))
    append, done = Journal.append, list[int]()

    def killed(journal: Journal, arrays: Any, instances: int) -> None:
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(instances)
        append(journal, arrays, instances)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, "append", killed)
        patch.setattr(checkpoint, "SAVE_EVERY", 0.0 if saved else 1e9)
        run(config, tmp_path / "killed")
    journal = working_folder(tmp_path / "killed/chunk.h5") / "journal"
    assert done == [4, 4, 3][:stop]
    assert count_instances(journal)[0] == sum(done)
    resumed = numbers(run(config, tmp_path / "killed"))
    assert resumed.keys() == whole.keys()
    for path, expected in whole.items():
        np.testing.assert_array_equal(resumed[path], expected, err_msg=path)


@settings(max_examples=8, deadline=None)
@given(count=st.integers(1, 19), lanes=st.sampled_from([4, 8, 16]))
def test_any_number_of_instances_has_the_solutions_of_each_alone(count: int, lanes: int) -> None:
    """One instance, a last group that is shorter, more lanes than instances."""
    family = load_family(configure())
    drawn = [(index, family.draw(generator(0, index))) for index in range(count)]
    solver = SequenceSolver("cg", "cholesky", 1e-10, lanes=lanes)
    together, alone = (
        list(solve_in_order(discretise(family, MPI.COMM_SELF, size), way, drawn))
        for size, way in ((lanes, solver), (1, solver.change(lanes=1)))
    )
    assert [record.instance for _, record in together] == list(range(count))
    for (found, record), (expected, own) in zip(together, alone, strict=True):
        assert record.systems == own.systems
        assert record.true_residual <= solver.tolerance
        difference = np.linalg.norm(found["u"] - expected["u"])
        assert difference <= 1e-8 * np.linalg.norm(expected["u"])


@pytest.mark.parametrize("family", ["darcy", "heat", "reaction_diffusion"])
def test_solve_records_of_a_group_are_those_of_its_members(family: str, tmp_path: Path) -> None:
    """Systems of time steps and of Newton's method, too."""
    found = numbers(run(configure(family, count=5), tmp_path))
    assert (found["solver/true_residual"] <= 1e-8).all()
    assert (found["solver/true_residual"] > 0).all()
    assert (found["solver/escalations"] == 0).all()
    assert (found["solver/systems"] >= 1).all()
    assert (found["solver/iterations"] >= found["solver/systems"]).all()


def test_lanes_whose_newton_iteration_has_ended_have_no_systems() -> None:
    family = load_family(configure("reaction_diffusion"))
    drawn = [(index, family.draw(generator(0, index))) for index in range(3)]
    # Reactions of other strengths take other numbers of steps.
    drawn[0] = (0, {name: 1e-3 * value for name, value in drawn[0][1].items()})
    solver = SequenceSolver("cg", "cholesky", lanes=4)
    _, records, _ = solve_group(discretise(family, MPI.COMM_SELF), solver, solver.init(), drawn)
    alone = [
        solve_group(
            discretise(family, MPI.COMM_SELF, 1), solver.change(lanes=1), solver.init(), [one]
        )[1][0]
        for one in drawn
    ]
    assert [record.systems for record in records] == [record.systems for record in alone]
    assert len({record.systems for record in records}) > 1


def test_a_group_of_one_has_no_lanes_in_its_label() -> None:
    family = load_family(configure())
    drawn = [(index, family.draw(generator(0, index))) for index in range(2)]
    solver = SequenceSolver("cg", "cholesky", lanes=4)
    for lanes, label in ((1, "cg + cholesky"), (4, "cg + cholesky, 4 lanes")):
        discretisation = discretise(family, MPI.COMM_SELF, lanes)
        _, records, _ = solve_group(discretisation, solver, solver.init(), drawn[:lanes])
        assert {record.label for record in records} == {label}


def test_what_a_fallback_solved_is_told(tmp_path: Path) -> None:
    """ICC of few iterations fails, and GMRES takes over."""
    config = configure(solver={"method": "cg", "preconditioner": "icc", "max_iterations": 6})
    with h5py.File(run(config, tmp_path)) as file:
        labels = json.loads(file.attrs[files.STRATEGIES])
        way, escalations = file["solver/way"][:], file["solver/escalations"][:]
    assert labels == ["cg + icc", FALLBACK]
    assert escalations.any()
    np.testing.assert_array_equal(way, escalations > 0)


def test_an_instance_that_is_not_valid_is_named_in_its_group() -> None:
    family = load_family(configure())
    discretisation, solver = discretise(family, MPI.COMM_SELF), SequenceSolver("cg", "cholesky")
    drawn = [(7 + index, family.draw(generator(0, index))) for index in range(4)]
    drawn[2][1]["k"][3, 3] = -1.0
    with pytest.raises(DataError, match=r"^instance 9: parameter k .* must be positive"):
        solve_group(discretisation, solver, solver.init(), drawn)


def test_an_instance_that_cannot_be_solved_is_named_in_its_group() -> None:
    family = load_family(configure())
    solver = SequenceSolver("cg", "cholesky", lanes=4)
    discretisation = discretise(family, MPI.COMM_SELF)
    drawn = [(7 + index, family.draw(generator(0, index))) for index in range(4)]
    drawn[1] = (8, {"k": np.full_like(drawn[1][1]["k"], 1e308)})
    with pytest.raises(KrylosetError, match=r"^instance 8: "):
        solve_group(discretisation, solver, solver.init(), drawn)


def test_the_others_of_a_group_that_fails_are_solved(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where Newton's method needs its line search for one instance alone."""
    family = load_family(configure())
    discretisation, solver = discretise(family, MPI.COMM_SELF), SequenceSolver("cg", "cholesky")
    drawn = [(index, family.draw(generator(0, index))) for index in range(4)]
    whole, _, _ = solve_group(discretisation, solver, solver.init(), drawn)
    original = SequenceSolver.solve

    def fail(self: Any, operator: Any, rhs: Any, state: Any) -> Any:
        if ensemble_of(operator) is not None:
            raise KrylosetError("not as a group")
        return original(self, operator, rhs, state)

    monkeypatch.setattr(SequenceSolver, "solve", fail)
    with caplog.at_level(logging.WARNING):
        found, records, _ = solve_group(discretisation, solver, solver.init(), drawn)
    assert "instances 0, 1, 2, 3 are solved one at a time, not together: not as" in caplog.text
    assert [record.escalations for record in records] == [1, 1, 1, 1]
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(one["u"], other["u"], rtol=1e-6)


def test_progress_counts_instances(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kryloset.progress"):
        run(configure(), tmp_path)
    assert "solving chunk 1-of-1: 11 of 11, 0 s left" in caplog.text

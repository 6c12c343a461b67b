# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Chunks, order and interruptions do not change the data, from drawing to a solved chunk."""

import json
import subprocess
import sys
from pathlib import Path

from mpi4py import MPI

import h5py
import numpy as np
import pytest
import yaml

from kryloset.config import DatasetConfig, dump_dataset
from kryloset.config.models import StorageConfig
from kryloset.errors import DataError, KrylosetError
from kryloset.fem.steady import SteadyDiscretisation
from kryloset.krylov.automatic import selection
from kryloset.krylov.automatic.strategies import choose_strategies
from kryloset.problems import load_family
from kryloset.run import check, checkpoint, solve, sort
from kryloset.run.checkpoint import working_folder
from kryloset.sampling import generator
from merging import merge_verified

CONFIG = DatasetConfig(
    count=10, chunks=1, mesh={"points": 17}, parameters={"modes": 8},
    solver={"method": "gcrodr", "restart": 12, "recycle": 5}, splits={"train": 0.5, "test": 0.5},
)  # fmt: skip


def run(config: DatasetConfig, folder: Path, chunks: int = 1) -> dict[int, np.ndarray]:
    """Run sort and solve; return the solutions by drawn number."""
    order = folder / "order.h5"
    sort.run(config, "set", output=order, chunks=chunks)
    found = {}
    for number in range(1, chunks + 1):
        chunk = f"{number}-of-{chunks}"
        output = folder / f"{chunk}.h5"
        solve.run(
            config, "set", order=order, chunk=chunk, output=output,
            comm=MPI.COMM_SELF,
        )  # fmt: skip
        with h5py.File(output) as file:
            assert file["solver/true_residual"][:].max() <= config.solver.tolerance
            found |= dict(zip(file["instance"][:].tolist(), file["fields/u"][:], strict=True))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, np.ndarray]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(CONFIG, folder)


def test_parameters_are_those_of_seed_and_index_and_prefix_stable(
    whole: tuple[Path, dict[int, np.ndarray]], tmp_path: Path
) -> None:
    family = load_family(CONFIG)
    sort.run(CONFIG.model_copy(update={"count": 4}), "set", output=tmp_path / "four.h5", chunks=1)
    with h5py.File(whole[0] / "order.h5") as ten, h5py.File(tmp_path / "four.h5") as four:
        assert np.array_equal(ten["drawn"][:4], four["drawn"])
    with h5py.File(whole[0] / "1-of-1.h5") as chunk:
        (row,) = np.flatnonzero(chunk["instance"][:] == 7)
        alone = family.draw(generator(CONFIG.seed, 7))["k"]
        assert np.array_equal(chunk["parameters/k"][row], alone)


def test_the_sorted_order_is_shorter_than_the_drawn_one(
    whole: tuple[Path, dict[int, np.ndarray]],
) -> None:
    with h5py.File(whole[0] / "order.h5") as file:
        assert sorted(file["permutation"][:]) == list(range(10))
        along = file["features"][:][file["permutation"][:]]
        np.testing.assert_allclose(file["steps"][:], np.linalg.norm(np.diff(along, axis=0), axis=1))
        assert file["steps"][:].sum() < file["steps_given"][:].sum()


@pytest.mark.parametrize(
    ("changes", "chunks"),
    [
        ({}, 3),
        ({"sort": "given"}, 1),
        ({"solver": {"method": "auto"}}, 2),
        ({"solver": {"method": "cg", "preconditioner": "icc"}}, 2),
        ({"solver": {"method": "cg", "preconditioner": "cholesky", "refresh": "rental"}}, 1),
        ({"solver": {"method": "direct"}}, 1),
        ({"solver": {"method": "gmres"}}, 1),
        ({"solver": {"method": "cg", "preconditioner": "cholesky", "lanes": 4}}, 1),
        ({"solver": {"method": "cg", "preconditioner": "icc", "lanes": 16}}, 3),
    ],
    ids=["chunks", "order", "auto", "cg", "rental", "direct", "gmres", "groups", "one group"],
)
def test_solutions_do_not_depend_on_chunks_order_or_method(
    changes: dict, chunks: int, whole: tuple[Path, dict[int, np.ndarray]], tmp_path: Path
) -> None:
    other = run(DatasetConfig(**{**CONFIG.model_dump(), **changes}), tmp_path, chunks)
    assert other.keys() == whole[1].keys()
    for index, u in whole[1].items():
        assert np.linalg.norm(other[index] - u) <= 1e-5 * np.linalg.norm(u)


@pytest.mark.parametrize("compression", ["always", "never"])
def test_arrays_of_instances_are_compressed_as_configured(
    compression: str, whole: tuple[Path, dict[int, np.ndarray]], tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"storage": StorageConfig(compression=compression)})
    found = run(config, tmp_path)
    for index, u in whole[1].items():
        np.testing.assert_array_equal(found[index], u)
    dataset = tmp_path / "dataset.h5"
    order, chunks = tmp_path / "order.h5", [tmp_path / "1-of-1.h5"]
    merge_verified(config, "set", order=order, chunks=chunks, output=dataset)
    with h5py.File(dataset) as file:
        gzip = {file[f"t0_fields/{name}"].compression for name in ("k", "u")}
    assert gzip == {"gzip" if compression == "always" else None}


def test_recycling_is_recorded(whole: tuple[Path, dict[int, np.ndarray]]) -> None:
    with h5py.File(whole[0] / "1-of-1.h5") as file:
        assert file["solver/predecessor"][:].tolist() == [-1, *file["instance"][:-1].tolist()]
        assert (file["solver/systems"][:] == 1).all()
        assert (file["solver/escalations"][:] == 0).all()
        iterations = file["solver/iterations"][:]
        assert iterations[1:].mean() < iterations[0]


@pytest.mark.parametrize("stop", [1, 4, 9])
@pytest.mark.parametrize("torn", [None, "missing", "damaged"])
def test_interrupted_chunk_resumes_and_ends_bit_for_bit_the_same(
    stop: int,
    torn: str | None,
    whole: tuple[Path, dict[int, np.ndarray]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    solved = []
    original = SteadyDiscretisation.solve

    def interrupted(self, instances, solver):
        if len(solved) == stop:
            raise KeyboardInterrupt
        solved.append(1)
        return original(self, instances, solver)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SteadyDiscretisation, "solve", interrupted)
        patch.setattr(checkpoint, "SAVE_EVERY", 0.0)
        run(CONFIG, tmp_path)
    output = tmp_path / "1-of-1.h5"
    assert not output.exists()
    space = working_folder(output) / f"state-{stop}-0.npz"
    if torn == "missing":  # as after a kill between the record of the journal and the saved state
        space.unlink()
    elif torn == "damaged":  # as after a power cut
        space.write_bytes(space.read_bytes()[:-100])
    redone = int(torn is not None)

    solved.clear()
    with monkeypatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(
            SteadyDiscretisation,
            "solve",
            lambda self, instances, solver: solved.append(1) or original(self, instances, solver),
        )
        resumed = run(CONFIG, tmp_path)
    assert len(solved) == 10 - stop + redone
    if stop - redone:
        assert f"(position {stop - redone})" in caplog.text
    assert not working_folder(output).exists()
    with h5py.File(output) as again, h5py.File(whole[0] / "1-of-1.h5") as once:
        for key in ("fields/u", "solver/iterations", "solver/true_residual", "instance"):
            assert np.array_equal(again[key], once[key]), key
    assert resumed.keys() == whole[1].keys()


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an automatic run of 24 instances in two chunks, of three groups each."""
    folder = tmp_path_factory.mktemp("chosen")
    run(automatic(), folder, 2)
    return folder


def automatic(**solver: object) -> DatasetConfig:
    lanes = {} if "method" in solver else {"lanes": 4}
    solver = {**lanes, **solver}
    settings = {**CONFIG.model_dump(), "count": 24, "chunks": 2, "solver": solver}
    return DatasetConfig(**settings)


def merged(config: DatasetConfig, folder: Path) -> Path:
    """Merge the two chunks of a folder and check the dataset."""
    chunks = [folder / "1-of-2.h5", folder / "2-of-2.h5"]
    dataset, order = folder / "dataset.h5", folder / "order.h5"
    merge_verified(config, "set", order=order, chunks=chunks, output=dataset)
    assert check.run(dataset).passed
    return dataset


def test_strategies_are_stored_by_name(chosen: Path) -> None:
    dataset = merged(automatic(), chosen)
    choices = json.loads((chosen / "choices.json").read_text())
    assert list(choices) == ["1-of-2", "2-of-2"]
    with h5py.File(dataset) as file:
        way, attributes = file["solver/way"][:], file["solver/way"].attrs
        names = dict(
            zip(attributes["flag_values"], attributes["flag_meanings"].split(), strict=True)
        )
        told = [names[number] for number in way]
        place = np.stack([file["solver/chunk"][:], file["solver/position"][:]], axis=1)
    for number, chunk in enumerate(choices.values()):
        expected = [
            chunk["ways"][choice]["method"] for choice in chunk["choices"] for _ in range(4)
        ]
        mine = sorted(np.flatnonzero(place[:, 0] == number), key=lambda i: place[i, 1])
        assert [told[i].split("+")[0] for i in mine] == expected


@pytest.mark.parametrize(
    "solver",
    [{}, {"method": "cg", "preconditioner": "cholesky", "refresh": "rental"}],
    ids=["auto", "rental"],
)
def test_a_replay_makes_the_same_dataset_bit_for_bit(
    solver: dict, chosen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    first.mkdir()
    again.mkdir()
    # Strategies with factors of PETSc, since the ordering of MUMPS may vary.
    monkeypatch.setattr(selection, "choose_strategies", without_mumps)
    expected = run(automatic(**solver), first, 2)
    merged(automatic(**solver), first)
    copy = tmp_path / "recorded.json"
    copy.write_bytes((first / "choices.json").read_bytes())
    config = automatic(**solver, policy=f"replay {copy}")
    repeated = run(config, again, 2)
    for index, u in expected.items():
        assert np.array_equal(repeated[index], u)
    merged(config, again)
    with h5py.File(first / "dataset.h5") as one, h5py.File(again / "dataset.h5") as other:
        for key in one["solver"]:
            assert np.array_equal(one["solver"][key], other["solver"][key]), key
    assert json.loads((again / "choices.json").read_text()) == json.loads(copy.read_text())

    with pytest.raises(DataError, match="has no choices for chunk 1-of-3"):
        run(config, again, 3)
    for text in ("{", "[" * 100_000):
        copy.write_text(text)
        with pytest.raises(DataError, match="cannot be read"):
            run(config, again, 2)


def without_mumps(*arguments: object, **named: object) -> tuple:
    strategies = choose_strategies(*arguments, **named)
    return tuple(strategy for strategy in strategies if strategy.method != "direct")


def test_an_interrupted_automatic_run_ends_complete_and_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved: list[int] = []
    original = SteadyDiscretisation.solve

    def interrupted(self, instances, solver):
        if len(solved) == 5:
            raise KeyboardInterrupt
        if len(solved) == 4:
            monkeypatch.setattr(checkpoint, "SAVE_EVERY", 1e9)
        solved.append(1)
        return original(self, instances, solver)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SteadyDiscretisation, "solve", interrupted)
        patch.setattr(checkpoint, "SAVE_EVERY", 0.0)
        run(automatic(), tmp_path, 2)
    solved.clear()
    monkeypatch.setattr(
        SteadyDiscretisation,
        "solve",
        lambda self, instances, solver: solved.append(1) or original(self, instances, solver),
    )
    assert len(run(automatic(), tmp_path, 2)) == 24
    # The first chunk was whole, the second had the state after its first group, and one more group.
    assert len(solved) == 6 - 4
    merged(automatic(), tmp_path)
    recorded = json.loads((tmp_path / "choices.json").read_text())
    assert [len(chunk["choices"]) for chunk in recorded.values()] == [3, 3]


def test_a_false_declaration_is_named(tmp_path: Path) -> None:
    (tmp_path / "false.py").write_text(
        "from kryloset.problems.advection_diffusion import AdvectionDiffusion\n"
        "from kryloset.problems import OperatorTraits\n"
        "class False_(AdvectionDiffusion):\n"
        "    operator = OperatorTraits(symmetric=True)\n"
    )
    changes = {"family": f"{tmp_path}/false.py:False_", "parameters": {}, "solver": {}}
    config = DatasetConfig(**{**CONFIG.model_dump(), **changes})
    with pytest.raises(KrylosetError, match=r"declared symmetric, but its transpose differs"):
        run(config, tmp_path)


def test_a_journal_of_other_work_is_ignored(
    whole: tuple[Path, dict[int, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SteadyDiscretisation.solve
    solved = []

    def interrupted(self, instances, solver):
        if len(solved) == 3:
            raise KeyboardInterrupt
        solved.append(1)
        return original(self, instances, solver)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SteadyDiscretisation, "solve", interrupted)
        run(DatasetConfig(**{**CONFIG.model_dump(), "seed": 1}), tmp_path)
    for index, u in run(CONFIG, tmp_path).items():
        assert np.array_equal(u, whole[1][index])


def test_instance_that_cannot_be_solved_is_named_and_not_stored(tmp_path: Path) -> None:
    solver = {**CONFIG.solver.model_dump(), "tolerance": 1e-17}
    config = DatasetConfig(**{**CONFIG.model_dump(), "solver": solver})
    with pytest.raises(KrylosetError, match="instance 0: the system was not solved"):
        run(config, tmp_path)
    assert not (tmp_path / "1-of-1.h5").exists()


def test_chunk_of_another_division_is_refused(
    whole: tuple[Path, dict[int, np.ndarray]], tmp_path: Path
) -> None:
    folder = whole[0]
    for chunk, message in (("1-of-2", "divided into 1 chunks"), ("one", "not of the form")):
        with pytest.raises(DataError, match=message):
            solve.run(
                CONFIG, "set", order=folder / "order.h5",
                chunk=chunk, output=tmp_path / "c.h5", comm=MPI.COMM_SELF,
            )  # fmt: skip


def test_inputs_of_another_run_are_refused(
    whole: tuple[Path, dict[int, np.ndarray]], tmp_path: Path
) -> None:
    more = CONFIG.model_copy(update={"count": 11})
    order, damaged = whole[0] / "order.h5", tmp_path / "damaged.h5"
    content = bytearray(order.read_bytes())
    with h5py.File(order) as file:
        at = file["drawn"].id.get_chunk_info(0).byte_offset
    content[at + 40] ^= 1
    damaged.write_bytes(content)
    cases = [
        (more, order, "order.h5 was made with another count: 10, not 11"),
        (CONFIG, tmp_path / "none.h5", "cannot be read"),
        (CONFIG, damaged, "is damaged"),
    ]
    for config, path, message in cases:
        with pytest.raises(DataError, match=message):
            solve.run(
                config, "set", order=path, chunk="1-of-1", output=tmp_path / "c.h5",
                comm=MPI.COMM_SELF,
            )  # fmt: skip
    assert not (tmp_path / "c.h5").exists()


@pytest.mark.mpi
@pytest.mark.slow
def test_two_processes_agree_with_one(
    whole: tuple[Path, dict[int, np.ndarray]], tmp_path: Path
) -> None:
    solver = {**CONFIG.solver.model_dump(), "preconditioner": "bjacobi"}
    config = DatasetConfig(**{**CONFIG.model_dump(), "solver": solver})
    (tmp_path / "c.yaml").write_text(dump_dataset("set", config))
    command = [
        Path(sys.executable).with_name("mpiexec"), "-n", "2", sys.executable, "-m", "kryloset",
        "solve", tmp_path / "c.yaml", "set",
        "--order", whole[0] / "order.h5", "--chunk", "1-of-1", "--output", tmp_path / "c.h5",
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=120)
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["solver/true_residual"][:].max() <= config.solver.tolerance
        for index, u in zip(file["instance"][:], file["fields/u"][:], strict=True):
            reference = whole[1][int(index)]
            assert np.linalg.norm(u - reference) <= 1e-5 * np.linalg.norm(reference)


def test_the_command_line_reports_an_error_in_one_message(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"datasets": {"set": {"count": -1}}}))
    command = [sys.executable, "-m", "kryloset", "sort", path, "set", "--output", "o.h5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert "datasets.set.count" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "o.h5").exists()


@pytest.mark.parametrize("name", ["state-x-0.npz", "state-1-0.npz", "state--1-0.npz", "notes.txt"])
def test_foreign_files_beside_the_journal_are_ignored(
    name: str, whole: tuple[Path, dict[int, np.ndarray]], tmp_path: Path
) -> None:
    folder = working_folder(tmp_path / "1-of-1.h5")
    folder.mkdir()
    (folder / name).write_text("not of ours\n")
    for index, u in run(CONFIG, tmp_path).items():
        assert np.array_equal(u, whole[1][index])


@pytest.mark.parametrize("name", ["journal", "lock", "state-10-0.npz", ""])
def test_an_obstacle_to_the_journal_is_named(name: str, tmp_path: Path) -> None:
    obstacle = working_folder(tmp_path / "1-of-1.h5") / name
    if name:
        obstacle.mkdir(parents=True)
    else:
        obstacle.write_text("a file where the folder should be\n")
    with pytest.raises(DataError, match=rf"1-of-1.h5.working/?{name} cannot be written: .* folder"):
        run(CONFIG, tmp_path)

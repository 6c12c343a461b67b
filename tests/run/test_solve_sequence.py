# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""`kryloset solve-sequence`: right solutions, true figures, and no overwritten files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mpi4py import MPI

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import xarray
from scipy.io import mmwrite

from kryloset.__main__ import main
from kryloset.dataset.description import describe
from kryloset.krylov import Reason, SequenceSolver
from kryloset.krylov.files.sequence import SystemReader, check_sequence
from kryloset.ordering import greedy_chain
from petsc_files import encode, make_systems, write_sequence

COUNT = 5
MATRICES, VECTORS, PARAMETERS = make_systems(COUNT)
KEYS = [
    "systems",
    *(f"{name}_mean" for name in ("iterations", "operator_applications")),
    "preconditioner_applications_mean",
    *(f"seconds_{part}_mean" for part in ("setup", "rebuild", "iterate")),
    "seconds_mean",
    "true_residual_max",
    "failures",
]
SMALL = ("--ksp", "gcrodr", "--restart", "8", "--recycle", "3")


@dataclass
class Ended:
    """Exit code and output of a command."""

    code: int
    stdout: str
    stderr: str


type Run = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "systems"
    folder.mkdir()
    write_sequence(folder, MATRICES, VECTORS)
    np.save(folder / "parameters.npy", PARAMETERS)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


@pytest.fixture
def run(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Run the command in this process, as its entry point does."""

    def run(*options: str, out: Path = out) -> Ended:
        words = ["kryloset", "solve-sequence", folder, "--out", out, *SMALL, *options]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return Ended(ended.value.code or 0, said.out, said.err)

    return run


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def residual(number: int, solution: np.ndarray) -> float:
    b = VECTORS[number]
    return float(np.linalg.norm(b - MATRICES[number] @ solution) / np.linalg.norm(b))


@pytest.mark.parametrize("order", ["given", "greedy", "o.txt", "o.npy", "order.h5"])
def test_solutions_are_stored_by_system_number_in_any_order(
    order: str, run: Run, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    numbers = [3, 0, 4, 1, 2]
    Path("o.txt").write_text("3 0\n4\n1 2\n")
    np.save("o.npy", numbers)
    with h5py.File("order.h5", "w") as file:
        file["permutation"] = numbers
    if order == "given":
        numbers = list(range(COUNT))
    elif order == "greedy":
        numbers = greedy_chain(PARAMETERS.reshape(COUNT, -1)).tolist()
    ended = run("--order", order)
    assert ended.code == 0
    with h5py.File(out) as file:
        assert np.argsort(file["order"][:]).tolist() == numbers
        for number in range(COUNT):
            computed = residual(number, file["solution"][number])
            assert computed <= 1e-8
            assert file["true_residual"][number] == pytest.approx(computed, rel=1e-4, abs=1e-14)


@pytest.mark.parametrize(
    ("ksp", "pc"), [("gcrodr", "none"), ("gcrodr", "sor"), ("gmres", "ilu"), ("direct", "none")]
)
def test_the_summary_equals_the_solver_results(
    ksp: str, pc: str, run: Run, folder: Path, out: Path
):
    ended = run("--ksp", ksp, "--pc", pc, "--rtol", "1e-6", "--json")
    summary = json.loads(ended.stdout)
    assert list(summary) == KEYS
    solver = SequenceSolver(ksp, pc, 1e-6, 8, 3)
    reader, state = SystemReader(check_sequence(folder), MPI.COMM_SELF), solver.init()
    results = []
    for number in range(COUNT):
        result, state = solver.solve(*reader.read(number), state)
        results.append(result)
    counted = ("iterations", "operator_applications", "preconditioner_applications")
    with h5py.File(out) as file:
        for name in (*counted, "true_residual"):
            assert file[name][:].tolist() == [getattr(result, name) for result in results]
        assert file["order"][:].tolist() == list(range(COUNT))
        assert file.attrs["ksp"] == ksp and file.attrs["pc"] == pc and file.attrs["rtol"] == 1e-6
    for name in counted:
        assert summary[f"{name}_mean"] == np.mean([getattr(result, name) for result in results])
    parts = [summary[f"seconds_{part}_mean"] for part in ("setup", "rebuild", "iterate")]
    assert parts[0] > 0 and parts[2] > 0 and (parts[1] > 0) == (ksp == "gcrodr")
    assert summary["seconds_mean"] == pytest.approx(sum(parts))
    assert summary["true_residual_max"] == max(result.true_residual for result in results)
    assert (summary["systems"], summary["failures"], ended.code) == (COUNT, 0, 0)


def test_the_summary_is_an_aligned_table_by_default(run: Run):
    said = run().stdout
    assert len({len(line) for line in said.splitlines()}) == 1  # aligned
    for words in ("mean iterations", "space rebuild", "largest true relative residual", "failures"):
        assert words in said


def test_the_same_command_writes_the_same_bytes(run: Run, out: Path, tmp_path: Path):
    run("--order", "greedy")
    run("--order", "greedy", out=tmp_path / "again.h5")
    assert out.read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_xarray_names_the_dimensions(run: Run, out: Path):
    run()
    with xarray.open_dataset(out, engine="h5netcdf") as data:
        assert data["solution"].dims == ("system", "unknown")
        assert all(array.dims[0] == "system" for array in data.data_vars.values())
        meanings = data["reason"].attrs["flag_meanings"].split()
        named = dict(zip(data["reason"].attrs["flag_values"], meanings, strict=True))
        assert {named[reason] for reason in data["reason"].values} == {"converged"}


def test_one_matrix_may_serve_all_systems(run: Run, folder: Path, out: Path):
    for number in range(1, COUNT):
        (folder / f"A_{number}.dat").unlink()
    assert run().code == 0
    with h5py.File(out) as file:
        for x, b in zip(file["solution"], VECTORS, strict=True):
            assert np.linalg.norm(b - MATRICES[0] @ x) <= 1e-8 * np.linalg.norm(b)


def test_the_pattern_may_change_within_a_sequence(run: Run, folder: Path, out: Path):
    lower = sp.csr_array(sp.tril(MATRICES[2]))
    (folder / "A_2.dat").write_bytes(encode(lower))
    assert run("--pc", "ilu").code == 0
    with h5py.File(out) as file:
        b = VECTORS[2]
        assert np.linalg.norm(b - lower @ file["solution"][2]) <= 1e-8 * np.linalg.norm(b)
        assert residual(3, file["solution"][3]) <= 1e-8


def test_zero_and_equal_parameters_are_sorted(run: Run, folder: Path, out: Path):
    parameters = np.zeros((COUNT, 2), dtype=complex)
    parameters[3:] = 1j
    np.save(folder / "parameters.npy", parameters)
    assert run("--order", "greedy").code == 0
    with h5py.File(out) as file:
        assert file["order"][:].tolist() == [0, 1, 2, 3, 4]


def test_a_system_of_one_unknown_and_a_zero_right_hand_side(run: Run, folder: Path, out: Path):
    for path in folder.glob("*.dat"):
        path.unlink()
    write_sequence(folder, [sp.csr_array([[2.0]])], [np.array([4.0]), np.array([0.0])])
    assert run().code == 0
    with h5py.File(out) as file:
        assert file["solution"][:].ravel().tolist() == [2.0, 0.0]


def test_the_fastest_method_is_chosen_by_default(run: Run, folder: Path, out: Path):
    words = ["solve-sequence", folder, "--out", out]
    assert start(sys.executable, "-m", "kryloset", *words).returncode == 0
    with h5py.File(out) as file:
        assert file.attrs["ksp"] == "auto" and "pc" not in file.attrs
        used = file["way"].attrs["flag_meanings"].split()
        assert len(used) > 1 and set(file["way"][:]) == {*range(len(used))}
        for number in range(COUNT):
            assert residual(number, file["solution"][number]) <= 1e-8
    assert (run("--pc", "jacobi", out=out.with_name("b.h5"))).code == 0
    told = describe(out.with_name("b.h5"))
    assert "5 systems of 36 unknowns" in told
    assert "gcrodr, tolerance 1e-08" in told and "gcrodr+jacobi 5 systems" in told


# Failed systems


def test_a_failed_system_is_stored_as_nan(
    run: Run, folder: Path, out: Path, caplog: pytest.LogCaptureFixture
):
    zero = MATRICES[2].copy()
    zero.data[zero.indptr[7] : zero.indptr[8]] = 0  # no solution: row 7 says 0 = b_7
    (folder / "A_2.dat").write_bytes(encode(zero))
    ended = run("--pc", "none", "--order", "greedy", "--json", "--max-it", "100")
    assert ended.code == 1
    assert json.loads(ended.stdout)["failures"] == 1
    assert "system 2 failed: true relative residual" in caplog.text
    with h5py.File(out) as file:
        assert np.isnan(file["solution"][2]).all()
        assert Reason(file["reason"][2]) is not Reason.CONVERGED
        assert file["true_residual"][2] > 1e-8
        for number in {*range(COUNT)} - {2}:
            assert residual(number, file["solution"][number]) <= 1e-8
            assert file["reason"][number] == Reason.CONVERGED


def test_vectors_near_the_largest_number_are_solved(run: Run, folder: Path, out: Path):
    """Their squares are infinite."""
    for number, vector in enumerate(VECTORS):
        (folder / f"rhs_{number}.dat").write_bytes(encode(1e300 * np.abs(vector)))
    ended = run("--json")
    summary = json.loads(ended.stdout, parse_constant=pytest.fail)
    assert (ended.code, summary["failures"]) == (0, 0) and summary["true_residual_max"] <= 1e-8
    with h5py.File(out) as file:
        for number, vector in enumerate(VECTORS):
            x = file["solution"][number] / 1e300
            np.testing.assert_allclose(MATRICES[number] @ x, np.abs(vector), atol=1e-6)


# Faults: nothing is solved, nothing is written


def put(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def flip(name: str, place: int) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[place] ^= 1
        (folder / name).write_bytes(content)

    return damage


def with_nan(array: sp.csr_array | np.ndarray) -> bytes:
    faulty = array.copy()
    (faulty if isinstance(faulty, np.ndarray) else faulty.data)[10] = np.nan
    return encode(faulty)


def save_parameters(values: object) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / "parameters.npy", values, allow_pickle=True)


FAULTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a gap": (
        lambda folder: (folder / "A_3.dat").unlink(),
        ["A_3.dat is missing between A_2.dat and A_4.dat"],
    ),
    "a missing end": (lambda folder: (folder / "rhs_4.dat").unlink(), ["rhs_4.dat is missing"]),
    "a truncated matrix": (
        put("A_4.dat", encode(MATRICES[4])[:-1]),
        ["A_4.dat is truncated", "write it again"],
    ),
    "trailing bytes": (put("rhs_4.dat", encode(VECTORS[4]) + b"1"), ["rhs_4.dat", "trailing"]),
    "a flipped byte of a class id": (flip("A_1.dat", 3), ["A_1.dat", "1211216"]),
    "a flipped byte of a size": (flip("A_1.dat", 7), ["A_1.dat"]),
    "a flipped byte of a column": (flip("A_1.dat", 16 + 4 * 36), ["A_1.dat", "row 0", "column"]),
    "not square": (
        put("A_2.dat", encode(sp.csr_array(MATRICES[2][:, :30]))),
        ["A_2.dat is 36 x 30", "square"],
    ),
    "another dimension": (
        put("A_2.dat", encode(sp.csr_array(MATRICES[2][:30, :30]))),
        ["A_2.dat is 30 x 30, A_0.dat is 36 x 36"],
    ),
    "a short right-hand side": (
        put("rhs_4.dat", encode(VECTORS[4][:30])),
        ["rhs_4.dat has 30 entries, A_4.dat is 36 x 36"],
    ),
    "NaN in a matrix": (put("A_4.dat", with_nan(MATRICES[4])), ["A_4.dat", "entry (2, 8) is nan"]),
    "NaN in a vector": (put("rhs_4.dat", with_nan(VECTORS[4])), ["rhs_4.dat", "entry 10 is nan"]),
    "no parameters": (
        lambda folder: (folder / "parameters.npy").unlink(),
        ["parameters.npy cannot be read", "--order given"],
    ),
    "damaged parameters": (
        lambda folder: os.truncate(folder / "parameters.npy", 300),
        ["parameters.npy cannot be read"],
    ),
    "an archive as parameters": (put("parameters.npy", b"PK\3\4"), ["cannot be read"]),
    "empty parameters": (put("parameters.npy", b""), ["parameters.npy cannot be read"]),
    "parameters of another number of systems": (
        save_parameters(PARAMETERS[:4]),
        ["parameters.npy holds parameters of 4 systems", "has 5 systems"],
    ),
    "one parameter in all": (save_parameters(1.0), ["parameters.npy", "no systems"]),
    "words as parameters": (
        save_parameters(np.array(["a"] * COUNT)),
        ["does not hold an array of numbers"],
    ),
    "objects as parameters": (save_parameters(np.array([{}] * COUNT)), ["cannot be read"]),
    "NaN in the parameters": (
        save_parameters(np.where(np.arange(COUNT) == 3, np.nan, 1.0)),
        ["parameters.npy: entry (3,) is nan"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_input_is_named_before_any_work(fault: str, run: Run, folder: Path, tmp_path: Path):
    damage, words = FAULTS[fault]
    damage(folder)
    before = contents(tmp_path)
    ended = run("--order", "greedy", "--json")
    assert ended.code == 1
    assert ended.stderr.count("kryloset: error: ") == 1 and "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr
    assert ended.stdout == ""
    assert contents(tmp_path) == before


def test_options_of_petsc_pass_through(run: Run, out: Path, tmp_path: Path):
    given = ("--ksp", "gmres", "--pc", "sor", "--petsc-option", "pc_sor_its=3")
    ended = run(*given, "--json")
    assert ended.code == 0, ended.stderr
    with h5py.File(out) as file:
        assert file.attrs["petsc_options"] == "pc_sor_its=3"
    less = run(*given, "--petsc-option", "pc_sor_its=9", "--json", out=tmp_path / "less.h5")
    counts = [json.loads(one.stdout)["iterations_mean"] for one in (less, ended)]
    assert counts[0] < counts[1]
    ended = run("--petsc-option", "pc_gamg_x=1", out=tmp_path / "none.h5")
    assert ended.code == 1 and "no use for pc_gamg_x with method gcrodr" in ended.stderr
    assert not (tmp_path / "none.h5").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ksp", "auto", "--pc", "icc"), ["--pc, --restart, --recycle: --ksp auto chooses"]),
        (("--ksp", "gcro"), ["--ksp 'gcro' is not known", "gcrodr", "gmres", "cg", "direct"]),
        (("--pc", "ilut"), ["--pc 'ilut' is not known", "none", "sor", "ilu", "gamg"]),
        (("--rtol", "0"), ["--rtol must lie between 0 and 1"]),
        (("--rtol", "nan"), ["--rtol must lie between 0 and 1"]),
        (("--max-it", "0"), ["--max-it must be at least 1"]),
        (("--restart", "0"), ["--restart must be at least 1"]),
        (("--recycle", "8"), ["--recycle 8 must be less than restart 8"]),
        (("--petsc-option", "ksp_rtol=1"), ["--petsc-option ksp_rtol: use the setting tolerance"]),
        (("--order", "gready"), ["--order gready cannot be read", "given, greedy, or a file"]),
        (("--order", "twice.txt"), ["--order twice.txt: 1 is there 2 times"]),
        (("--order", "outside.txt"), ["--order outside.txt: 5 is not the number of a system"]),
        (("--order", "short.txt"), ["--order short.txt: 4 is missing", "0 to 4"]),
        (("--order", "words.txt"), ["--order words.txt cannot be read", "'one'"]),
        (("--order", "float.npy"), ["--order float.npy cannot be read", "float64"]),
        (("--order", "words.h5"), ["--order words.h5 cannot be read"]),
        (("--order", "systems"), ["--order systems cannot be read"]),
    ],
)
def test_a_bad_option_is_named_before_any_work(
    options: tuple[str, ...], words: list[str], run: Run, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("twice", "0 1 2 3 4 1"), ("outside", "1 2 3 4 5"), ("short", "3 2 1 0"),
        ("words", "zero one"),
    ):  # fmt: skip
        Path(f"{name}.txt").write_text(text.replace("zero", "0"))
    np.save("float.npy", np.arange(COUNT) / 1)
    Path("words.h5").write_text("no HDF5")
    before = contents(tmp_path)
    ended = run(*options)
    assert ended.code == 1
    for word in words:
        assert word in ended.stderr
    assert "Traceback" not in ended.stderr and ended.stdout == ""
    assert contents(tmp_path) == before


def test_an_existing_output_is_not_overwritten(run: Run, out: Path, tmp_path: Path):
    out.write_text("solutions of last month")
    before = contents(tmp_path)
    ended = run()
    assert ended.code == 1 and "exists and is not written over: move it away" in ended.stderr
    for path, words in (
        (tmp_path / "systems", "is `folder`, too: give what is written a name of its own"),
        (tmp_path, "exists and is not written over"),
        (tmp_path / "new/out.h5", f"there is no folder {tmp_path / 'new'}; make it"),
        (out / "out.h5", "there is no folder"),
    ):
        ended = run(out=path)
        assert ended.code == 1 and words in ended.stderr
    assert contents(tmp_path) == before


def test_a_command_given_again_names_the_file_that_was_damaged(run: Run, folder: Path, out: Path):
    assert run().code == 0
    before = out.read_bytes()
    (folder / "A_4.dat").write_bytes(encode(MATRICES[4])[:-1])
    ended = run()
    assert ended.code == 1 and "A_4.dat is truncated" in ended.stderr
    assert out.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_found_before_any_work(run: Run, folder: Path):
    (folder / "A_0.dat").unlink()
    folder.chmod(0o500)
    ended = run(out=folder / "out.h5")
    assert ended.code == 1 and "no permission to write" in ended.stderr


# In processes of their own


def start(*command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def start_two(*words: object) -> subprocess.CompletedProcess[str]:
    mpiexec = Path(sys.executable).with_name("mpiexec")
    kryloset = [sys.executable, "-m", "kryloset"]
    return start(mpiexec, "-n", 2, *kryloset, "solve-sequence", *words, *SMALL)


# MPI creates its own files before the limit applies.
FULL_DISK = """
import resource
from mpi4py import MPI
from kryloset.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
main()
"""


def test_a_full_disk_leaves_no_file(folder: Path, out: Path, tmp_path: Path):
    """A limit on the size of files simulates a full disk: write(2) fails in both cases."""
    before = contents(tmp_path)
    ended = start(
        sys.executable, "-c", FULL_DISK, "solve-sequence", folder, "--out", out, "--json", *SMALL
    )
    assert ended.returncode == 1
    assert "out.h5 cannot be written: the file is larger than" in ended.stderr
    assert "Traceback" not in ended.stderr and ended.stdout == ""
    assert contents(tmp_path) == before


@pytest.mark.mpi
def test_two_ranks_agree_with_one(folder: Path, run: Run, out: Path, tmp_path: Path):
    assert run("--pc", "jacobi", "--order", "greedy").code == 0
    (folder / "A_2.dat").unlink()
    mmwrite(folder / "A_2.mtx", MATRICES[2])
    (folder / "rhs_3.dat").unlink()
    np.save(folder / "rhs_3.npy", VECTORS[3])
    ended = start_two(
        folder, "--pc", "jacobi", "--order", "greedy", "--out", tmp_path / "two.h5", "--json"
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["systems"] == COUNT  # one report, from one rank
    with h5py.File(out) as one, h5py.File(tmp_path / "two.h5") as two:
        assert abs(one["iterations"][:] - two["iterations"][:]).max() <= 1
        assert np.array_equal(one["order"], two["order"])
        for number in range(COUNT):
            assert residual(number, two["solution"][number]) <= 1e-8


@pytest.mark.mpi
def test_two_ranks_end_with_one_message(folder: Path, tmp_path: Path):
    (folder / "A_3.dat").write_bytes(with_nan(MATRICES[3]))
    before = contents(tmp_path)
    ended = start_two(folder, "--out", tmp_path / "out.h5", "--json")
    assert ended.returncode != 0 and ended.stdout == ""
    assert ended.stderr.count("kryloset: error: ") == 1
    assert "A_3.dat: entry (2, 8) is nan" in ended.stderr
    assert contents(tmp_path) == before


@pytest.mark.mpi
def test_two_ranks_report_a_failed_system(folder: Path, out: Path):
    ended = start_two(folder, "--out", out, "--json", "--max-it", "1", "--pc", "none")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["failures"] == COUNT
    assert ended.stderr.count("system 4 failed") == 1
    with h5py.File(out) as file:
        assert np.isnan(file["solution"][:]).all()
        assert (file["reason"][:] == Reason.ITERATION_LIMIT).all()

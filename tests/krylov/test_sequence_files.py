# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files written by PETSc are read unchanged, and damaged ones never reach a solver."""

import gzip
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI
from petsc4py import PETSc

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.io import mmwrite
from systems import to_mat, to_vec

from kryloset.errors import DataError
from kryloset.krylov.files import petsc
from kryloset.krylov.files.sequence import (
    SystemReader,
    check_matrix,
    check_sequence,
    check_vector,
    find_systems,
)
from petsc_files import encode, make_systems, write_sequence

pytestmark = pytest.mark.skipif(
    np.dtype(PETSc.ScalarType).kind == "c", reason="the files of these tests hold real numbers"
)


@pytest.fixture
def matrix(rng: np.random.Generator) -> sp.csr_array:
    """A matrix with empty rows, at both ends too."""
    dense = rng.standard_normal((9, 9)) * (rng.random((9, 9)) < 0.5)
    dense[[0, 3, 4, 8]] = 0
    return sp.csr_array(dense)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "A_0.dat"


def to_dense(mat: PETSc.Mat) -> np.ndarray:
    return mat.convert("dense").getDenseArray().copy()


def test_systems_written_by_petsc_are_read_unchanged(tmp_path: Path):
    matrices, vectors, _ = make_systems(1)
    mat = to_mat(matrices[0])
    for name, thing in (("A_0", mat), ("rhs_0", to_vec(mat, vectors[0]))):
        viewer = PETSc.Viewer().createBinary(str(tmp_path / f"{name}.dat"), "w", MPI.COMM_SELF)
        thing.view(viewer)
        viewer.destroy()
    assert (tmp_path / "A_0.dat").read_bytes() == encode(matrices[0])  # the tests' own writer
    files = check_sequence(tmp_path)
    assert (len(files), files.size) == (1, 36)
    read, rhs = SystemReader(files, MPI.COMM_SELF).read(0)
    assert np.array_equal(to_dense(read), matrices[0].toarray())
    assert np.array_equal(rhs.getArray(), vectors[0])


def test_one_mat_is_refilled_while_the_pattern_stays(tmp_path: Path):
    matrices, vectors, _ = make_systems(4)
    matrices[2] = sp.csr_array(sp.tril(matrices[2]))
    write_sequence(tmp_path, matrices, vectors)
    reader = SystemReader(check_sequence(tmp_path), MPI.COMM_SELF)
    handles = []
    for number in (0, 1, 2, 3, 0):
        mat, rhs = reader.read(number)
        handles.append((mat, mat.handle))
        assert np.array_equal(to_dense(mat), matrices[number].toarray())
        assert np.array_equal(rhs.getArray(), vectors[number])
    first, second, lower, third, again = (handle for _, handle in handles)
    assert first == second and third == again
    assert len({first, lower, third}) == 3


def test_a_single_matrix_serves_all_and_is_not_touched_again(tmp_path: Path):
    matrices, vectors, _ = make_systems(3)
    write_sequence(tmp_path, matrices[:1], vectors)
    reader = SystemReader(check_sequence(tmp_path), MPI.COMM_SELF)
    states = set()
    for number in range(3):
        mat, rhs = reader.read(number)
        states.add((mat.handle, mat.stateGet()))
        assert np.array_equal(rhs.getArray(), vectors[number])
    assert len(states) == 1  # so that the preconditioner is kept


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_a_matrix_is_checked_in_blocks_of_any_size(
    block: int, matrix: sp.csr_array, file: Path, monkeypatch: pytest.MonkeyPatch
):
    file.write_bytes(encode(matrix))
    whole = check_matrix(file)
    monkeypatch.setattr(petsc, "BLOCK", block)
    assert check_matrix(file) == whole
    rows, columns = matrix.nonzero()
    for entry, (row, column) in enumerate(zip(rows, columns, strict=True)):
        faulty = matrix.copy()
        faulty.data[entry] = np.nan if entry % 2 else -np.inf
        file.write_bytes(encode(faulty))
        with pytest.raises(DataError, match=rf"entry \({row}, {column}\) is (nan|-inf)"):
            check_matrix(file)
        for value, message in ((9, "in column 9, columns go from 0 to 8"), (-1, "in column -1")):
            faulty = matrix.copy()
            faulty.indices[entry] = value
            file.write_bytes(encode(faulty))
            with pytest.raises(DataError, match=f"row {row} has an entry {message}"):
                check_matrix(file)
        if entry and rows[entry - 1] == row:
            faulty = matrix.copy()
            faulty.indices[entry] = faulty.indices[entry - 1]
            file.write_bytes(encode(faulty))
            with pytest.raises(DataError, match=f"row {row} has column {columns[entry - 1]} twice"):
                check_matrix(file)
            faulty.indices[entry - 1 : entry + 1] = column, columns[entry - 1]
            file.write_bytes(encode(faulty))
            with pytest.raises(DataError, match=f"row {row} has column .* after column {column}"):
                check_matrix(file)


@pytest.mark.parametrize("block", [2, 1 << 20])
def test_a_vector_that_is_not_finite_is_named(
    block: int, file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(petsc, "BLOCK", block)
    for entry in range(5):
        vector = np.ones(5)
        vector[entry] = np.inf
        file.write_bytes(encode(vector))
        with pytest.raises(DataError, match=rf"A_0.dat: entry {entry} is inf"):
            check_vector(file)


def test_patterns_differ_when_entries_move_and_not_when_they_change(
    matrix: sp.csr_array, file: Path
):
    file.write_bytes(encode(matrix))
    pattern = check_matrix(file).pattern
    file.write_bytes(encode(2 * matrix))
    assert check_matrix(file).pattern == pattern
    file.write_bytes(encode(sp.csr_array(matrix.T)))
    assert check_matrix(file).pattern != pattern


@pytest.mark.parametrize("kind", ["matrix", "vector"])
def test_no_beginning_of_a_file_passes_for_it(kind: str, matrix: sp.csr_array, file: Path):
    check = check_matrix if kind == "matrix" else check_vector
    content = encode(matrix if kind == "matrix" else np.ones(5))
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"A_0.dat (is truncated|holds numbers)"):
            check(file)
    file.write_bytes(content + b"\0")
    with pytest.raises(DataError, match=r"A_0.dat has trailing bytes.* it takes \d+ bytes"):
        check(file)


@pytest.mark.parametrize("kind", ["matrix", "vector"])
def test_no_flipped_bit_of_the_header_or_the_row_lengths_passes(
    kind: str, matrix: sp.csr_array, file: Path
):
    check = check_matrix if kind == "matrix" else check_vector
    content = encode(matrix if kind == "matrix" else np.ones(5))
    for bit in range(8 * (16 + 4 * 9 if kind == "matrix" else 8)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(DataError, match=r"A_0.dat"):
            check(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode(np.ones(3)), "holds a vector, a matrix is expected"),
        (encode(sp.eye_array(3, format="csr"), index="<i4"), "is little-endian"),
        (encode(sp.eye_array(3, format="csr"), scalar=">c16"), "complex numbers, .*`make complex`"),
        (encode(sp.eye_array(3, format="csr"), scalar=">f4"), "numbers of type float32"),
        (np.array([1211216, 3, 3, -1], ">i4").tobytes() + bytes(72), "holds a dense matrix"),
        (encode(sp.csr_array((0, 0))), "says 0 rows"),
        (encode(sp.csr_array(np.ones((3, 2)))), "is 3 x 2: a system needs a square matrix"),
        (b"%%MatrixMarket matrix coordinate", "begins with the number"),
        (b"", "is truncated"),
    ],
)
def test_files_of_other_kinds_are_told_apart(content: bytes, message: str, file: Path):
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        check_matrix(file)


def test_a_matrix_in_place_of_a_vector(file: Path):
    file.write_bytes(encode(sp.eye_array(3, format="csr")))
    with pytest.raises(DataError, match="holds a matrix, a vector is expected"):
        check_vector(file)


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ("", "A_0 is missing: a sequence is"),
        ("A_0 A_1", "rhs_0 is missing: a sequence is"),
        ("rhs_0 rhs_1", "A_0 is missing: a sequence is"),
        ("A_1 A_2 rhs_0", "A_0.dat is missing before A_1.dat"),
        ("A_0 A_1 A_3 rhs_0", "A_2.dat is missing between A_1.dat and A_3.dat"),
        ("A_0 rhs_0 rhs_1 rhs_10", "rhs_2.dat is missing between rhs_1.dat and rhs_10.dat"),
        ("A_0 A_1 rhs_0 rhs_1 rhs_2", "A_2.dat is missing, rhs_2.dat is there"),
        ("A_0 A_1 rhs_0", "rhs_1.dat is missing, A_1.dat is there"),
        ("A_00 rhs_0", "numbers have no leading zeros; rename it A_0.dat"),
    ],
)
def test_a_missing_number_is_named(there: str, message: str, tmp_path: Path):
    for name in there.split():
        (tmp_path / f"{name}.dat").touch()
    with pytest.raises(DataError, match=message):
        find_systems(tmp_path)


def test_systems_are_in_numerical_order_and_other_files_are_let_be(tmp_path: Path):
    for name in ("A_0.dat", "A_0.dat.info", "A_mean.dat", *(f"rhs_{i}.dat" for i in range(12))):
        (tmp_path / name).touch()
    matrices, rhs = find_systems(tmp_path)
    assert {path.name for path in matrices} == {"A_0.dat"}
    assert [path.name for path in rhs] == [f"rhs_{i}.dat" for i in range(12)]
    with pytest.raises(DataError, match=r"none cannot be read \(No such file"):
        find_systems(tmp_path / "none")


def test_sizes_have_to_agree(tmp_path: Path):
    matrices, vectors, _ = make_systems(3)
    write_sequence(tmp_path, matrices, vectors)
    (tmp_path / "rhs_1.dat").write_bytes(encode(np.ones(35)))
    with pytest.raises(DataError, match=r"rhs_1.dat has 35 entries, A_1.dat is 36 x 36"):
        check_sequence(tmp_path)
    (tmp_path / "A_1.dat").write_bytes(encode(matrices[1][:35, :35]))
    with pytest.raises(DataError, match=r"A_1.dat is 35 x 35, A_0.dat is 36 x 36"):
        check_sequence(tmp_path)


# Other formats


def write_market(path: Path, matrix: sp.csr_array, symmetry: str = "general") -> None:
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        mmwrite(file, matrix, symmetry=symmetry)


@pytest.mark.parametrize("ending", [".dat", ".mtx", ".mtx.gz", ".npz"])
@pytest.mark.parametrize("vector", [".dat", ".mtx", ".npy"])
def test_every_format_gives_the_same_systems(ending: str, vector: str, tmp_path: Path):
    matrices, vectors, _ = make_systems(2)
    for number, (matrix, b) in enumerate(zip(matrices, vectors, strict=True)):
        path, rhs = tmp_path / f"A_{number}{ending}", tmp_path / f"rhs_{number}{vector}"
        if ending == ".dat":
            path.write_bytes(encode(matrix, index=">i8"))
        elif ending == ".npz":
            sp.save_npz(path, matrix.tocoo())
        else:
            write_market(path, matrix)
        if vector == ".dat":
            rhs.write_bytes(encode(b, index=">i8"))
        elif vector == ".npy":
            np.save(rhs, b)
        else:
            mmwrite(rhs, b[:, None])
    files = check_sequence(tmp_path)
    (tmp_path / "plain").mkdir()
    write_sequence(tmp_path / "plain", matrices, vectors)
    assert files.patterns == check_sequence(tmp_path / "plain").patterns
    reader = SystemReader(files, MPI.COMM_SELF)
    for number, (matrix, b) in enumerate(zip(matrices, vectors, strict=True)):
        read, rhs = reader.read(number)
        assert np.array_equal(to_dense(read), matrix.toarray())
        assert np.array_equal(rhs.getArray(), b)


def test_half_of_a_symmetric_matrix_is_completed_where_the_file_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (matrix,), (b,), _ = make_systems(1, wind=0.0)
    write_market(tmp_path / "A_0.mtx", matrix, "symmetric")
    np.save(tmp_path / "rhs_0.npy", b)
    read, _ = SystemReader(check_sequence(tmp_path), MPI.COMM_SELF).read(0)
    assert np.array_equal(to_dense(read), matrix.toarray())
    assert not caplog.text


@pytest.mark.parametrize("ending", [".dat", ".npz"])
@pytest.mark.parametrize(("half", "name"), [(sp.triu, "upper"), (sp.tril, "lower")])
def test_a_triangle_is_named(
    half: Callable, name: str, ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (matrix,), (b,), _ = make_systems(1)
    triangle = sp.csr_array(half(matrix))
    if ending == ".dat":
        (tmp_path / "A_0.dat").write_bytes(encode(triangle))
    else:
        sp.save_npz(tmp_path / "A_0.npz", triangle)
    np.save(tmp_path / "rhs_0.npy", b)
    with caplog.at_level("WARNING"):
        check_sequence(tmp_path)
    assert (
        f"A_0{ending} is {name} triangular, and solved as it is: if it is one half" in caplog.text
    )


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text("no"), "is no file of Matrix Market, or damaged"),
        (lambda path: mmwrite(path, np.ones((3, 3))), "holds a dense array: write a sparse"),
        (lambda path: mmwrite(path, sp.coo_array(np.ones((3, 2)))), "is 3 x 2: a system needs"),
        (lambda path: mmwrite(path, sp.coo_array(np.eye(3) * 1j)), "complex .*`make complex`"),
        (lambda path: mmwrite(path, sp.coo_array(np.diag([1, 1, np.inf]))), r"\(2, 2\) is inf"),
    ],
)
def test_a_file_of_matrix_market_is_checked(
    write: Callable[[Path], object], message: str, tmp_path: Path
):
    write(tmp_path / "A_0.mtx")
    with pytest.raises(DataError, match=message):
        check_matrix(tmp_path / "A_0.mtx")


def test_one_number_has_one_file(tmp_path: Path):
    for name in ("A_0.dat", "A_0.mtx", "rhs_0.npy"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"A_0.dat and A_0.mtx are both there"):
        find_systems(tmp_path)

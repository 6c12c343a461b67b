# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every edit of a dataset file is found, whether its digests are recomputed or not."""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import batched, groupby
from pathlib import Path

import h5py
import numpy as np
import pytest
from resealing import seal_again
from test_check import failures
from various_runs import various

from kryloset.dataset.description import describe
from kryloset.dataset.integrity import SEALS, TABLES, damage
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.run.checks import failures as told_failures

type Change = Callable[[h5py.File, str], bool]

#: Edits that are not found if the digests are recomputed, and why.
TOLD_BY_THE_MAKER = {
    r"provenance/(versions|code)@.*": "which programs made it, they alone knew",
    r"(/|provenance/versions)@(source|history|kryloset)": "the same, of kryloset itself",
    r"solver/chunk": "where one job ended and the next began: the command line decides",
    r"solver/(iterations|operator_applications|preconditioner_applications|escalations|systems)":
        "what it took: only solving again would tell, and by the clock not even that",
    r"solver/way@flag_meanings": "the same, of the labels of strategies",
    r"provenance/choices(@.*)?": "the same, of what was chosen by the clock",
    r"/@date_created": "when it was made, which no digest has, so that the same data have the same",
}  # fmt: skip


def make(family: str, dimension: int, folder: Path) -> Path:
    """Make a dataset with one further grid: a second one would have the same kinds of paths."""
    mesh = {"points": 5, "dimension": dimension, "grids": [9]}
    return various(folder, family, dimension, mesh=mesh).merge()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("Various", 2, tmp_path_factory.mktemp("edits"))


def everything(path: Path) -> Iterator[str]:
    """Return the paths of all arrays, texts and groups, and `path@attribute` of all attributes."""
    found: list[str] = ["/"]
    with h5py.File(path) as file:
        file.visit(found.append)
        for node in list(found):
            found += [f"{node}@{name}" for name in file[node].attrs]
    return (what for what in found if what not in ("/", SEALS))


def damaged(path: Path) -> list[str]:
    """Return the faults that the integrity check finds in a file."""
    with h5py.File(path) as file:
        return damage(file)


def other(value: object) -> object:
    """Return another value of the same kind."""
    if isinstance(value, str | bytes):
        return value + type(value)(b"m" if isinstance(value, bytes) else "m")  # type: ignore[call-arg]
    values = np.array(value)
    if values.dtype.kind == "O":
        return [*values.tolist(), "m"]
    if values.dtype.kind == "f":
        return values * (1 + 1e-6) + 1e-6
    return values + 1


def edit(file: h5py.File, what: str) -> bool:
    """Change an attribute, the last number of an array, or a text; return whether it changed."""
    path, _, name = what.partition("@")
    node = file[path]
    if name:
        if name in ("REFERENCE_LIST", "DIMENSION_LIST"):
            return False
        value = node.attrs[name]
        del node.attrs[name]
        node.attrs[name] = other(value)
    elif isinstance(node, h5py.Group):
        return False
    elif node.ndim:
        place = tuple(length - 1 for length in node.shape)
        node[place] = other(node[place])
    else:
        node[()] = other(node.asstr()[()])
    return True


def remove(file: h5py.File, what: str) -> bool:
    """Delete an attribute, an array or a group."""
    path, _, name = what.partition("@")
    if name:
        del file[path].attrs[name]
    else:
        del file[path]
    return True


def unseen(whole: Path, edits: Sequence[str], change: Change, *, sealed: bool) -> list[str]:
    """Make edits in one copy of a file; return those that the check does not find.

    A single edit is found if the check finds anything. Of several edits each must be named.
    """
    path = whole.with_name("edited.h5")
    path.write_bytes(whole.read_bytes())
    with h5py.File(path, "r+") as file:
        made = [what for what in edits if change(file, what)]
    if not sealed:
        return [] if damaged(path) else made
    with contextlib.suppress(DataError):
        seal_again(path)
    found = failures(path)
    if len(edits) == 1:
        return [] if found else made
    said = "; ".join(found.values())
    return [what for what in made if not any(words in said for words in named(what))]


def undetected(whole: Path, edits: Sequence[str], change: Change) -> list[str]:
    """Return the edits that the check does not find; halves again, if one hides the others."""
    left = unseen(whole, edits, change, sealed=True)
    if len(edits) == 1 or not left:
        return left
    halves = batched(left, (len(left) + 1) // 2)
    return [what for some in halves for what in undetected(whole, some, change)]


def attribute(what: str) -> str:
    """Return the name of the attribute of a `path@attribute`."""
    return what.partition("@")[2]


def named(what: str) -> Iterator[str]:
    """Yield the names by which the check may report an edited attribute."""
    path, _, name = what.partition("@")
    yield f" {path}: {name} is "
    if name == "DIMENSION_LIST":
        yield f" {path}: axes "
    if path.startswith("statistics/"):
        yield f" {name} of {path.removeprefix('statistics/')} is "


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "dimension", "change", "sealed"),
    [
        ("Various", 2, edit, False),
        ("Various", 2, remove, False),
        ("Various", 2, edit, True),
        ("Various", 2, remove, True),
        ("Moving", 2, edit, True),
        ("Meshed", 2, edit, True),
    ],
)
def test_every_edit_is_detected(
    dataset: Path,
    family: str,
    dimension: int,
    change: Change,
    sealed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    whole, known = make(family, dimension, tmp_path / "run"), set()
    if family != "Various":  # which is tried completely
        known = {what for what in everything(dataset) if "u_" not in what and "time" not in what}
    edits = [what for what in everything(whole) if what not in known]
    if not sealed:  # all attributes share one digest, so one of each name and group is enough
        kinds = {(what.partition("/")[0], what.rpartition("@")[2]): what for what in edits}
        edits = [what for what in kinds.values() if what != "/@date_created"]
    else:
        told = re.compile("|".join(f"({rule})" for rule in TOLD_BY_THE_MAKER))
        edits = [what for what in edits if not told.fullmatch(what)]
        if change is edit:  # The digests of rows are recomputed, too.
            edits = [what for what in edits if "@" in what or not what.startswith(f"{TABLES}/")]
    assert len(edits) > 10
    # The check takes half a second: attributes of one name are tried together.
    monkeypatch.setattr(told_failures, "NAMED", len(edits))
    together = [what for what in edits if sealed and "@" in what]
    alone = [what for what in edits if what not in together]
    found = [what for what in alone if unseen(whole, [what], change, sealed=sealed)]
    for _, same in groupby(sorted(together, key=attribute), key=attribute):
        found += undetected(whole, [*same], change)
    assert found == []


def _coordinates_doubled(file):
    file["x"][:] *= 2


def _axis_of_a_further_grid(file):
    file["grid_9/x_9"][:] += 1


def _times(file):
    file["time"][-1] += 1


def _own_axis(file):
    file["unknowns/u_dof"][-1] += 1


def _samples_reversed(file):
    file["sample"][:] = file["sample"][:][::-1]


def _external_link(file):
    file.copy("t0_fields/u", file, "spare")
    with h5py.File(Path(file.filename).with_name("elsewhere.h5"), "w") as elsewhere:
        file.copy("t0_fields/u", elsewhere, "u")
    del file["t0_fields/u"], file["spare"]
    file["t0_fields/u"] = h5py.ExternalLink("elsewhere.h5", "/u")


def _soft_link(file):
    file.move("t0_fields/k", "hidden")
    file["t0_fields/k"] = h5py.SoftLink("/hidden")


def _type(file):
    values = file["solver/chunk"][:]
    scale = file["sample"]
    del file["solver/chunk"]
    array = file.create_dataset("solver/chunk", data=values.astype("<u8"), chunks=(6,))
    array.dims[0].attach_scale(scale)


def _axis(file):
    file["t0_fields/k"].dims[1].detach_scale(file["x"])


def _residual(file):
    file["solver/true_residual"][2] = 9e-9


def _predecessor(file):
    position = file["solver/position"][:]
    file["solver/predecessor"][int(position.argmax())] = int(position.argmin())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_coordinates_doubled, "x has not the values"),
        (_axis_of_a_further_grid, "grid_9/x_9 has not the values"),
        (_times, "time has not the values"),
        (_own_axis, "unknowns/u_dof has not the values"),
        (_samples_reversed, "sample has not the values"),
        (_external_link, "t0_fields/u is a link"),
        (_soft_link, "t0_fields/k is a link"),
        (_type, "solver/chunk: type"),
        (_axis, r"t0_fields/k: axes"),
        (lambda file: file.__delitem__("solver"), "a part of it is missing"),
        (lambda file: file.__delitem__("dimensions"), "dimensions"),
        (lambda file: file.__delitem__("boundary_conditions"), "boundary_conditions is missing"),
        (
            lambda file: file["t0_fields/u"].attrs.modify("units", "km"),
            "units is 'km'",
        ),
        (lambda file: file.attrs.modify("equation", "u = 0"), "equation is 'u = 0'"),
        (lambda file: file["provenance"].attrs.modify("seed", np.uint64(3)), "seed is 3, not 0"),
        (_residual, "instance 2: 9e-09, recomputed 0"),
        (_predecessor, "predecessor that was not solved just before"),
    ],
)
def test_edits_of_derived_values_are_named(dataset: Path, tmp_path: Path, change, named: str):
    path = tmp_path / "dataset.h5"
    path.write_bytes(dataset.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    with contextlib.suppress(KeyError, DataError):
        seal_again(path)
    assert re.search(named, "; ".join(failures(path).values()))


def read_all(path: Path) -> None:
    """Read everything that `Dataset` can read."""
    with Dataset(path) as data:
        for index in range(2):
            data.instance(index), data.solution(index), data.inside(index)
            for points in data.config.mesh.grids:
                data.resampled(points, index), data.inside(index, points)
        data.meshes(), data.splits(), data.grid, data.version, data.family_sources()
        for name in (*data.parameters, *data.fields):
            data.statistics(name), data.rank(name), data.within(name, 0)
    describe(path)


@pytest.mark.slow
def test_readers_name_a_file_that_lacks_an_array(dataset: Path, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking.h5"
    refused = []
    for path in (what for what in everything(dataset) if "@" not in what):
        shutil.copy(dataset, lacking)
        with h5py.File(lacking, "r+") as file:
            del file[path]
        try:
            read_all(lacking)
        except DataError as error:
            assert str(lacking) in str(error)
            refused.append(path)
    assert {"grid_9", "t0_fields", "splits", "provenance/config", "statistics"} <= {*refused}

# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""After a change of any key, a rerun makes the same dataset as a fresh run of the stages."""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
import pytest
import yaml
from pydantic import BaseModel

from kryloset.config import DatasetConfig, load_config
from kryloset.dataset.diff import compare
from kryloset.dependence import keys_of
from kryloset.given.opening import resolve_config
from kryloset.krylov import Recording, SequenceSolver
from kryloset.run import solve, sort
from merging import merge_verified
from running import ROOT, Run, snakemake

BASE = {
    "count": 4,
    "chunks": 1,
    "mesh": {"points": 5},
    "parameters": {"modes": 4},
    "solver": {"method": "gcrodr", "restart": 10, "recycle": 4},
    "splits": {"train": 0.5, "test": 0.5},
}
RNG = np.random.default_rng(0)
#: A file with permeabilities, some of them on another grid.
GIVEN = {"k": 1 + RNG.random((4, 5, 5)), "q": 1 + RNG.random((4, 5, 5)), "c": RNG.random((4, 3, 3))}
FILE = "given.npz"
np.savez(stream := BytesIO(), **GIVEN)
BYTES = stream.getvalue()
DIGEST = sha256(BYTES).hexdigest()
REPLAY = {"refresh": "rental", "policy": "replay never.json"}

#: For each key, the settings that override `BASE` before and after the change.
CHANGES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "parameters": ({}, {"parameters": {"modes": 4, "length": 0.5}}),
    "count": ({}, {"count": 7}),
    "seed": ({}, {"seed": 7}),
    "mesh.points": ({}, {"mesh": {"points": 6}}),
    "mesh.sides": ({}, {"mesh": {"sides": [2.0, 1.0]}}),
    "mesh.spacing": ({"parameters": {"modes": 2}}, {"mesh": {"spacing": "chebyshev"}}),
    "mesh.degree": ({}, {"mesh": {"degree": 2}}),
    "mesh.periodic": ({"parameters": {"modes": 2}}, {"mesh": {"periodic": ["x"]}}),
    "mesh.dimension": ({}, {"mesh": {"dimension": 3}}),
    "mesh.grids": ({}, {"mesh": {"grids": [3]}}),
    "mesh.nodal_parameters": (
        {"family": "thermal", "parameters": {"conductivity": "lognormal", "modes": 4}},
        {"mesh": {"nodal_parameters": True}},
    ),
    "instances.file": ({}, {"instances": {"file": FILE}}),
    "instances.names": ({"instances": {"file": FILE}}, {"instances": {"names": {"k": "q"}}}),
    "instances.resample": (
        {"instances": {"file": FILE, "names": {"k": "c"}, "resample": "linear"}},
        {"instances": {"resample": "nearest"}},
    ),
    "instances.sha256": ({"instances": {"file": FILE}}, {"instances": {"sha256": DIGEST}}),
    "ood": ({}, {"ood": {"rough": {"count": 2, "log_deviation": 2.0}}}),
    "on_failure": ({}, {"on_failure": "redraw"}),
    "failure_limit": ({"on_failure": "redraw"}, {"failure_limit": 2}),
    "sort": ({}, {"sort": "given"}),
    "features": ({}, {"features": "blocks"}),
    "chunks": ({}, {"chunks": 2}),
    "solver.method": ({}, {"solver": {"method": "gmresdr"}}),
    "solver.preconditioner": ({}, {"solver": {"preconditioner": "jacobi"}}),
    "solver.fill": ({}, {"solver": {"fill": 1}}),
    "solver.omega": ({"solver": {"preconditioner": "sor"}}, {"solver": {"omega": 1.5}}),
    "solver.refresh": (
        {"solver": REPLAY},
        {"solver": {"refresh": "always", "policy": "measure"}},
    ),
    "solver.policy": ({"solver": REPLAY}, {"solver": {"policy": "replay always.json"}}),
    "solver.lanes": (
        {"solver": {"method": "cg", "preconditioner": "icc"}},
        {"solver": {"lanes": 4}},
    ),
    "solver.tolerance": ({}, {"solver": {"tolerance": 1e-4}}),
    "solver.restart": ({}, {"solver": {"restart": 6}}),
    "solver.recycle": ({}, {"solver": {"recycle": 2}}),
    "solver.max_iterations": ({}, {"solver": {"max_iterations": 5}}),
    "solver.petsc_options": (
        {},
        {"solver": {"petsc_options": {"pc_factor_mat_ordering_type": "rcm"}}},
    ),
    "storage.compression": ({}, {"storage": {"compression": "always"}}),
    "storage.precision": ({}, {"storage": {"precision": "float32"}}),
    "about.title": ({}, {"about": {"title": "Flow"}}),
    "about.creator": ({}, {"about": {"creator": "A. Author"}}),
    "about.license": ({}, {"about": {"license": "CC0-1.0"}}),
    "about.references": ({}, {"about": {"references": "a book"}}),
    "refinement.instances": ({}, {"refinement": {"instances": 2}}),
    "splits": ({}, {"splits": {"train": 0.75, "test": 0.25}}),
}
#: Keys that no dataset depends on, and other values for them.
USES = {
    "comparison": {"instances": 3, "seconds": 4.0},
    "training": {
        "model": ["fno"],
        "settings": {"fno": {"width": 2}},
        "seeds": [1],
        "where": "grid",
        "grids": [3, 5],
        "epochs": 2,
        "pairs": 3,
        "batch_size": 2,
        "optimiser": "soap",
        "learning_rate": 0.1,
        "weight_decay": 0.1,
        "schedule": "linear",
        "warmup": 1,
        "clip": 1.0,
        "patience": 3,
        "average": 0.9,
        "loss": "h1",
        "device": "cpu",
        "devices": 2,
        "precision": "bfloat16",
        "compile": True,
        "workers": 1,
    },
}
#: Those of a training along trajectories, and those that rule out others.
ALONG = {"training": {"window": 2, "stride": 1, "bundle": 2, "steps": 2}}
BEGUN = {"training": {"start": "model.pt", "residual": 0.1}}
#: Further changes, by name.
MORE = {
    "count_lowered": ({"count": 7}, {"count": 4}),
    "uses": ({"mesh": {"grids": [3]}}, USES),
    "uses_along": ({"family": "heat", "parameters": {"steps": 8, "modes": 2}}, ALONG),
    "uses_begun": ({}, BEGUN),
}
#: Those whose instances are kept: the file says so, and recycling goes another way.
GROWN = ("count", "count_lowered")
DATASETS = {key.replace(".", "_"): change for key, change in CHANGES.items()} | MORE


def leaves(model: type[BaseModel]) -> Iterator[str]:
    """Yield the full names of the keys in a section."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}.{leaf}" for leaf in leaves(field.annotation))
        else:
            yield name


def test_every_key_is_changed_by_a_case():
    cases = (USES, ALONG, BEGUN)
    uses = {f"{name}.{key}" for case in cases for name, values in case.items() for key in values}
    # A training while instances are solved has its own test that the dataset is the same.
    online = "training.online"
    assert {*CHANGES, *uses, online, "family"} == set(leaves(DatasetConfig))


def test_every_key_belongs_to_a_stage():
    stages = ("sort", "solve", "merge", "compare", "train")
    assert frozenset().union(*map(keys_of, stages)) == set(DatasetConfig.model_fields)
    assert set(DatasetConfig.model_fields) - keys_of("merge") == set(USES)


def laid(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings, the later over the earlier; `parameters` and `splits` are replaced."""
    found: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            inner = isinstance(value, dict) and key not in ("parameters", "splits")
            found[key] = laid(found.get(key, {}), value) if inner else value
    return found


def make_afresh(name: str, config: DatasetConfig, folder: Path) -> bytes:
    """Make a dataset with the functions of the stages, without Snakemake."""
    folder.mkdir()
    order = folder / "order.h5"
    sort.run(config, name, output=order)
    count = config.chunks + len(config.ood)
    chunks = [f"{number + 1}-of-{count}" for number in range(count)]
    files = [folder / f"{chunk}.h5" for chunk in chunks]
    for chunk, file in zip(chunks, files, strict=True):
        solve.run(config, name, order=order, chunk=chunk, output=file, comm=MPI.COMM_SELF)
    dataset = folder / "dataset.h5"
    return merge_verified(config, name, order=order, chunks=files, output=dataset).read_bytes()


class Folder:
    """A working folder and the datasets in it."""

    def __init__(self, path: Path) -> None:
        """Prepare the folder."""
        self.path = path
        for name in ("Snakefile", "workflow", "profiles", "envs"):
            (path / name).symlink_to(ROOT / name)
        way = {"restart": 10, "recycle": 4}
        for name, refreshed in (("never", (0,)), ("always", (0, 1, 2, 3))):
            recording = Recording((SequenceSolver(**way, refresh=refreshed),), (0, 0, 0, 0))
            text = json.dumps({"1-of-1": json.loads(recording.to_json())})
            (path / f"{name}.json").write_text(text)
        (path / FILE).write_bytes(BYTES)

    def make(self, *names: str, changed: bool) -> Run:
        """Make datasets, by default all, with the settings before or after their change."""
        datasets = {
            name: laid(BASE, before, after if changed else {})
            for name, (before, after) in DATASETS.items()
        }
        (self.path / "config.yaml").write_text(yaml.safe_dump({"datasets": datasets}))
        targets = [f"results/{name}/dataset.h5" for name in names or DATASETS]
        arguments = ("--cores", "2", "--configfile", "config.yaml", "--", *targets)
        run = snakemake(*arguments, cwd=self.path)
        assert run.code == 0, run.output[-5000:]
        return run

    def datasets(self) -> dict[str, bytes]:
        """Return the bytes of each dataset."""
        return {name: (self.path / f"results/{name}/dataset.h5").read_bytes() for name in DATASETS}


@pytest.mark.slow
def test_a_changed_key_ends_in_the_dataset_of_a_fresh_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    edited = Folder(tmp_path)
    edited.make(changed=False)
    before = edited.datasets()
    edited.make(changed=True)
    after = edited.datasets()

    monkeypatch.chdir(tmp_path)  # the recordings that two of them replay
    configs = resolve_config(load_config(tmp_path / "config.yaml")).datasets
    fresh = {name: make_afresh(name, configs[name], tmp_path / f"fresh {name}") for name in configs}
    assert [name for name in DATASETS if name not in GROWN and after[name] != fresh[name]] == []
    for name in GROWN:
        grown, whole = tmp_path / f"results/{name}", tmp_path / f"fresh {name}"
        assert compare(grown / "dataset.h5", whole / "dataset.h5").equal, name
    same = [name for name in DATASETS if after[name] == before[name]]
    assert same == ["instances_sha256", "uses", "uses_along", "uses_begun"]
    assert edited.make(changed=True).jobs() == {}

    edited.make(*GROWN, "seed", changed=False)
    back = edited.datasets()
    assert back["seed"] == before["seed"]
    for name in GROWN:
        (tmp_path / "before.h5").write_bytes(before[name])
        assert compare(tmp_path / f"results/{name}/dataset.h5", tmp_path / "before.h5").equal, name

# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every name inside the files that a stage hands to the next; `dataset.layout` has the dataset's.

- `order.h5`: `/drawn`, `/permutation`, `/bounds`, `/features`, `/steps` and `/steps_given`; if
  instances are kept from an earlier dataset, also `/kept/<grid>` and `/earlier`, and if some
  failed, `/failures`.
- A chunk: `/instance`, `/parameters/<name>`, `/fields/<name>`, `/solver/<quantity>` and
  `/seconds/<part>`, a row an instance; `/mesh/<name>` and `/mask/<grid>`, which its instances
  share; `/choices`; and `/failures`.
"""

from kryloset.config import GridPoints
from kryloset.dataset.layout import grid_group

# Attributes that files of several stages have: the configuration as YAML, and the identity of the
# code.
CONFIG = "config"
CODE = "code"

# order.h5: its arrays and its attributes.
#: The digest of each instance as it was drawn, (count, 32) of uint8. A chunk has an attribute of
#: that name: the digest of the whole array.
DRAWN = "drawn"
PERMUTATION = "permutation"
#: The instances that failed, as text, if there are any: in order.h5 as they were drawn, in a chunk
#: since. `dataset.failures` has its form.
FAILURES = "failures"
#: Chunk c holds the positions BOUNDS[c] to BOUNDS[c + 1] - 1.
BOUNDS = "bounds"
FEATURES = "features"
#: Distances between neighbours along the order, and along that in which instances were drawn.
STEPS = "steps"
STEPS_GIVEN = "steps_given"
METHOD = "method"
FEATURES_KIND = "features_kind"
SECONDS_SORT = "seconds"
SECONDS_FEATURES = "seconds_features"
#: The group of the digests of kept instances, (kept, 32) of uint8. A chunk has an attribute of that
#: name: how many instances of the dataset are kept.
KEPT = "kept"
#: The runs that made them, as text; `dataset.origin` has its form.
EARLIER = "earlier"
#: The earlier dataset, relative to the folder of order.h5.
SOURCE = "source"

# A chunk: its arrays, groups and attributes.
#: The drawn number of the instance in each row.
INSTANCE = "instance"
PARAMETERS = "parameters"
FIELDS = "fields"
SECONDS = "seconds"
#: The parts of the work of a solve, of which a chunk has the seconds.
PARTS = ("setup", "rebuild", "iterate", "assemble")
MESH = "mesh"
MASK = "mask"
#: The name of the mask of the dataset's own grid; the others have the names of their groups.
OWN_GRID = "grid"
#: What automatic selection chose, as text.
SELECTION = "choices"
#: The labels that the numbers of `solver("way")` stand for, as JSON.
STRATEGIES = "ways"
FINGERPRINT = "fingerprint"
#: The version of PETSc that solved.
PETSC = "petsc"


def parameter(name: str) -> str:
    """Return the path of a parameter."""
    return f"{PARAMETERS}/{name}"


def field(key: str) -> str:
    """Return the path of a field or an unknown, by its name or by that on a further grid."""
    return f"{FIELDS}/{key}"


def on_grid(points: GridPoints, name: str) -> str:
    """Return the key of a variable on a further grid, by its points."""
    return f"{grid_group(points)}/{name}"


def fields_on_grid(points: GridPoints) -> str:
    """Return the group of all variables on a further grid."""
    return field(grid_group(points))


def solver(quantity: str) -> str:
    """Return the path of a quantity of `dataset.layout.SOLVER`."""
    return f"solver/{quantity}"


def seconds(part: str) -> str:
    """Return the path of the seconds of a part of the work."""
    return f"{SECONDS}/{part}"


def mesh(name: str) -> str:
    """Return the path of an array of the mesh that instances share."""
    return f"{MESH}/{name}"


def mask(points: GridPoints | None) -> str:
    """Return the path of the mask of a further grid, or of the dataset's own grid for None."""
    return f"{MASK}/{OWN_GRID if points is None else grid_group(points)}"


def kept(points: GridPoints | None) -> str:
    """Return the path of the digests of kept instances.

    Args:
        points: Those of their values on a further grid; for None, those of their solutions on the
            dataset's own grid and of their solve records.
    """
    return f"{KEPT}/{OWN_GRID if points is None else grid_group(points)}"


def is_shared(path: str) -> bool:
    """Return whether an array of a chunk belongs to all of its instances."""
    return path.startswith((f"{MESH}/", f"{MASK}/"))


def strategy_name(label: str) -> str:
    """Return a label without blanks, as in "cg+cholesky+reused": CF's flag meanings are words."""
    return label.replace(",", " +").replace(" ", "")

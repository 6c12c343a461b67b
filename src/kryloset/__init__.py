# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Kryloset: datasets for neural operators by recycling Krylov solvers.

In a notebook or a script:

    import kryloset

    family = kryloset.family("darcy", points=64, log_deviation=1.5)
    instances = family.draw(count=100, seed=0)
    data = kryloset.solve(family, instances, tolerance=1e-8)

`solve_sequence` solves matrices of your own, `open` opens a dataset that the workflow made, and
`load` a small one of a family, which it makes at the first call.
These names are imported when they are first used: FEniCSx is needed by `family` and `solve`,
xarray by `open`, and for `kryloset.krylov` PETSc and NumPy are enough.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kryloset.extras import advised
from kryloset.version import __version__

if TYPE_CHECKING:
    from kryloset.library import family, load, open, solve, solve_sequence

__all__ = ["__version__", "family", "load", "open", "solve", "solve_sequence"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with advised():
        found = globals()[name] = getattr(import_module(f"{__name__}.library"), name)
    return found


def __dir__() -> list[str]:
    """Return the names of the module, those that are not imported yet included."""
    return sorted({*globals(), *__all__})

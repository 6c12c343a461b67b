# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dataset card, a README.md that hubs show; its head is that of Hugging Face."""

from collections.abc import Mapping
from typing import Any

import yaml

from kryloset.dataset.description import read_title
from kryloset.dataset.reader import Dataset

#: Hugging Face's words for the number of instances, by the number of digits less one.
_SIZES = (
    "n<1K", "n<1K", "n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M",
    "100M<n<1B", "1B<n<10B", "10B<n<100B", "100B<n<1T", "n>1T",
)  # fmt: skip

#: Licences for data and software that Hugging Face's list has under their SPDX identifiers in lower
#: case (https://huggingface.co/docs/hub/repositories-licenses).
_LISTED = frozenset(
    {
        "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-2.0", "cc-by-2.5",
        "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
        "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0",
        "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "etalab-2.0", "eupl-1.1",
        "eupl-1.2", "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0",
        "unlicense",
    }
)  # fmt: skip
#: Those that it has under another name.
_RENAMED = {"odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl"}


def summarise(data: Dataset) -> str:
    """Return in a few sentences what a dataset holds and how far it was verified."""
    title, equation = read_title(data)
    solver, tolerance = data.solver(), data.config.solver.tolerance
    residual = f"{solver['true_residual'].max():.2g} (tolerance {tolerance:.2g})"
    if "stored_residual" in solver:
        rounded = f"{solver['stored_residual'].max():.2g}"
        residual = f"{rounded} as it is stored, in float32, and {residual} before it was rounded"
    points = " x ".join(map(str, data.grid))
    states = "" if data.times is None else f", with states at {len(data.times)} times"
    return (
        f"{title}: {equation}. {len(data)} instances on a grid of {points} points{states}, solved "
        f"with finite elements. The true relative residual of every stored solution is at most "
        f"{residual}; it was computed again from the matrix, the solution and the right-hand side."
    )


def write_card(
    data: Dataset, count: int, head: Mapping[str, Any], sections: Mapping[str, str]
) -> str:
    """Return a card as Markdown.

    Args:
        data: The dataset.
        count: How many instances stand beside the card.
        head: What the hub needs to know of the files.
        sections: Texts by their titles.
    """
    about = data.about
    digits = min(len(str(count)) - 1, len(_SIZES) - 1)
    every = {
        **_licence(about.get("licence")),
        "pretty_name": data.name,
        "size_categories": [_SIZES[digits]],
        "tags": ["pde", "neural operators", "finite elements"],
        **head,
    }
    parts = [
        f"---\n{yaml.safe_dump(every, sort_keys=False)}---",
        f"# {data.name}",
        summarise(data),
        *(f"## {title}\n\n{text}" for title, text in sections.items()),
        f"## Licence and citation\n\n{_rights(about)}",
    ]
    return "\n\n".join(parts) + "\n"


def _licence(licence: str | None) -> dict[str, str]:
    """Return the licence as the hub spells it: `other`, with a name, if its list has none such."""
    if licence is None:
        return {}
    name = licence.lower().removesuffix("-only").removesuffix("-or-later")
    name = _RENAMED.get(name, name)
    if name in _LISTED or name in _RENAMED.values():
        return {"license": name}
    return {"license": "other", "license_name": licence}


def _rights(about: Mapping[str, str]) -> str:
    licence = about.get("licence", "No licence is stated: nobody may use the data without asking")
    told = [f"Licence: {licence}." if "licence" in about else f"{licence}."]
    told += [f"Made by {about['creator'].rstrip('.')}."] if "creator" in about else []
    told += [f"Please cite {about['references'].rstrip('.')}."] if "references" in about else []
    return " ".join(told)

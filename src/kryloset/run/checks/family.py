# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The family of a dataset that is checked."""

import os

from kryloset import provenance
from kryloset.dataset.reader import Dataset
from kryloset.errors import DataError
from kryloset.problems import Family, load_family


def load_same_family(data: Dataset) -> Family:
    """Load the family of a dataset.

    A family in a user's own file, and the modules beside it that it imports, must be the texts
    that the dataset was made with. The texts in the dataset itself are not run: a data file from
    someone else would run their code.

    Raises:
        DataError: A text differs.
    """
    file, colon, _ = data.config.family.rpartition(":")
    if colon and not os.path.isfile(file):
        return load_family(data.config)  # Raises an error about the file.
    # Compared before it is loaded, which runs it.
    sources, stored = provenance.family_sources(data.config), data.family_sources()
    for place in dict.fromkeys([*sources, *stored]):
        if sources.get(place) != stored.get(place):
            raise DataError(
                f"{place} of family {data.config.family} is not the text the dataset was made "
                "with, which `kryloset restore` brings back"
            )
    return load_family(data.config)

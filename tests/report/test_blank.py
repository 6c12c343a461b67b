# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Pictures are blank outside the domain, and their colour scale covers the values inside."""

import numpy as np
import pytest

from kryloset.config import DatasetConfig
from kryloset.dataset.reader import Dataset
from kryloset.report.page import illustrate
from kryloset.run.report import read_findings


@pytest.mark.parametrize("outline", ["slab", "drawn"])
def test_points_outside_are_blank_in_parameters_and_fields(outline, make_files, tmp_path):
    config = DatasetConfig.model_validate(
        {
            "family": "thermal",
            "parameters": {"outline": outline, "conductivity": "lognormal", "modes": 4},
            "count": 4,
            "chunks": 1,
            "mesh": {"points": 9},
            "splits": {"train": 0.5, "valid": 0.25, "test": 0.25},
            "comparison": {"instances": 2},
        }
    )
    findings = read_findings(**make_files(config, tmp_path))
    drawing = illustrate(findings)["samples"]
    assert drawing.description.endswith("Points outside the domain are blank.")
    images = [image for axis in drawing.figure.axes for image in axis.images]
    with Dataset(findings.path) as data:
        for row, name in enumerate(("c", "T")):
            shown = images[4 * row : 4 * row + 4]
            for image, instance in zip(shown, findings.permutation, strict=True):
                inside = data.inside(instance)
                assert 0 < inside.sum() < inside.size
                np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array()), ~inside.T)
            values = np.concatenate([data.within(name, index) for index in range(4)])
            assert shown[0].get_clim() == pytest.approx((values.min(), values.max()))

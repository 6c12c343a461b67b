# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Values from `draw` are stored without loss, or refused with instance and name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from kryloset.config import DatasetConfig, MeshConfig, Section
from kryloset.errors import DataError, FamilyError
from kryloset.problems import Family, Variable
from kryloset.problems.checks.drawing import Drawing
from kryloset.run import sort


class Own(Family):
    """A family that draws what a test chooses."""

    parameters: tuple[Variable, ...] = (
        Variable("k", "k"),
        Variable("n", "number", dimensions=()),
        Variable("row", "row", dimensions=("term",)),
    )
    fields = (Variable("u", "u"),)
    drawn: Callable[[np.random.Generator], Any]

    @property
    def coordinates(self) -> dict[str, Any]:
        """Return a grid of 2 x 3."""
        return {"x": np.arange(2.0), "y": np.arange(3.0)}

    def draw(self, generator: np.random.Generator) -> Any:
        """Draw what the test chooses."""
        return type(self).drawn(generator)

    discretise = None  # type: ignore[assignment]


def draw(drawn: Callable[[np.random.Generator], Any], **attributes: Any) -> Any:
    kind = type("Own", (Own,), {"__module__": __name__, "drawn": drawn, **attributes})
    return Drawing(kind(Section(), MeshConfig(points=3)))(0, 5)


GOOD: dict[str, Any] = {"k": np.ones((2, 3), np.float32), "n": 3, "row": [1, 2, 3, 4]}


def test_numbers_of_any_real_type_are_drawn_without_loss() -> None:
    found = draw(lambda _: {**GOOD, "n": np.bool_(True)})
    assert [a.dtype for a in found.values()] == 3 * [np.float64]
    assert list(found) == ["k", "n", "row"]
    assert found["n"] == 1 and found["row"].tolist() == [1, 2, 3, 4]
    assert draw(lambda _: {**GOOD, "n": 2**53})["n"] == 2**53


SHAPE = "has the shape"
RETURNED: dict[str, tuple[Any, str]] = {
    "nothing": (None, r'returned nothing: end it with `return {"k": ..., "n": ..., "row": ...}`'),
    "an array": (np.ones((2, 3)), "returned a ndarray"),
    "one less": ({"k": GOOD["k"], "n": 1.0}, "did not return 'row'"),
    "one more": ({**GOOD, "b": 1.0}, "returned 'b', which is not in its `parameters`"),
    "text": ({**GOOD, "n": "steel"}, "parameter 'n' holds text: number the cases"),
    "bytes": ({**GOOD, "n": b"steel"}, "parameter 'n' holds bytes"),
    "complex": ({**GOOD, "k": GOOD["k"] + 1j}, "parameter 'k' holds complex numbers"),
    "no imaginary part": ({**GOOD, "n": 1 + 0j}, "parameter 'n' holds complex numbers"),
    "None": ({**GOOD, "n": None}, "parameter 'n' holds Python objects"),
    "ragged": ({**GOOD, "k": [[1, 2], [3]]}, "parameter 'k' cannot be made an array"),
    "sparse": ({**GOOD, "k": scipy.sparse.eye_array(2, 3)}, "'k' holds Python objects"),
    "masked": (
        {**GOOD, "row": np.ma.masked_equal([1, 2, 3, 4], 2)}, "parameter 'row' is a masked array",
    ),
    "dates": ({**GOOD, "n": np.datetime64("2020")}, "parameter 'n' holds dates"),
    "records": ({**GOOD, "n": np.zeros((), "i4,i4")}, "parameter 'n' holds records"),
    "large integers": ({**GOOD, "n": 2**53 + 1}, "has the integer 9007199254740993, beyond 2"),
    "huge integers": ({**GOOD, "n": 2**70}, "parameter 'n' holds Python objects"),
    "infinite": ({**GOOD, "n": np.inf}, "parameter 'n' is not finite"),
    "beyond float64": ({**GOOD, "n": np.longdouble("1e400")}, "parameter 'n' is not finite"),
    "transposed": ({**GOOD, "k": np.ones((3, 2))}, rf"'k' {SHAPE} \(3, 2\) but its Variable has"),
    "a number for a field": ({**GOOD, "k": 1.0}, rf"'k' {SHAPE} \(\) but .* has \(2, 3\)"),
    "an array for a number": ({**GOOD, "n": [1.0]}, rf"'n' {SHAPE} \(1,\) but .* has \(\)"),
    "a number for a row": ({**GOOD, "row": 1.0}, r"its Variable has \(any,\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", RETURNED)
def test_other_types_are_refused_by_instance_and_name(case: str) -> None:
    returned, message = RETURNED[case]
    with pytest.raises((FamilyError, DataError), match=f"^instance 5: .*:Own.*{message}"):
        draw(lambda _: returned)


def test_a_logarithm_needs_positive_numbers() -> None:
    row = Variable("n", "n", dimensions=(), transform="log")
    with pytest.raises(DataError, match=r"instance 5: .* 'n' \(n\) has the value -1 and must be"):
        draw(lambda _: {"n": -1.0}, parameters=(row,))


def test_an_exception_is_reported_with_its_line() -> None:
    def fails(_: Any) -> Any:
        return {}["k"]

    line = fails.__code__.co_firstlineno + 1
    message = rf"test_drawing.py:Own, draw, instance 5, line {line} of test_drawing.py: KeyError"
    with pytest.raises(FamilyError, match=message):
        draw(fails)


def test_an_exit_of_the_family_is_reported() -> None:
    with pytest.raises(FamilyError, match=r"Own, draw, instance 5, .*it ends the program"):
        draw(lambda _: exit(0))


def test_rows_have_the_length_of_the_first() -> None:
    kind = type("Own", (Own,), {"drawn": lambda g: {**GOOD, "row": np.ones(2 + g.integers(9))}})
    drawing = Drawing(kind(Section(), MeshConfig(points=3)))
    with pytest.raises(FamilyError, match="earlier instances have"):
        for index in range(9):
            drawing(0, index)


def test_an_error_of_the_family_keeps_its_message() -> None:
    def refuses(_: Any) -> Any:
        raise DataError("the polygon crosses itself")

    with pytest.raises(DataError, match=r"^instance 5: the polygon crosses itself$"):
        draw(refuses)


FAMILY = """
import numpy as np
from kryloset.config import Section
from kryloset.problems import SteadyFamily, Variable
class Settings(Section):
    low: float = 1
    high: float = 2
class Own(SteadyFamily):
    summary = equation = "own"
    Settings = Settings
    parameters = (
        Variable("a", "a", dimensions=()),
        Variable("b", "b", dimensions=(), fixed={FIXED}),
    )
    fields = (Variable("u", "u"),)
    drawn = 0
    def draw(self, generator):
        s = self.settings
        Own.drawn += 1
        return {"a": generator.uniform(s.low, s.high), "b": {B}}
    def weak_form(self, space, parameters): ...
"""


def run(folder: Path, b: str, *, fixed: bool = False, **settings: float) -> None:
    (folder / "own.py").write_text(FAMILY.replace("{B}", b).replace("{FIXED}", str(fixed)))
    config = DatasetConfig(
        family=f"{folder}/own.py:Own", count=4, parameters=settings, splits={"train": 1.0}
    )
    sort.run(config, "set", output=folder / "order.h5", chunks=1)


@pytest.mark.parametrize(
    ("b", "fixed", "settings", "message"),
    [
        ("0.5", False, {}, "b is the same in all instances"),
        ("generator.uniform()", True, {}, "b is declared fixed, and differs"),
        ("np.random.default_rng().uniform()", False, {}, "another 'b' when it is drawn alone"),
        ("self.drawn", False, {}, "another 'b' when it is drawn alone"),
        ("s.low", False, {"low": 2}, "instances 0 and 1 are the same, and so are 2 more"),
    ],
)  # fmt: skip
def test_instances_and_parameters_must_differ(
    b: str, fixed: bool, settings: dict[str, float], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FamilyError, match=f"own.py:Own: .*{message}"):
        run(tmp_path, b, fixed=fixed, **settings)
    assert not (tmp_path / "order.h5").exists()


@pytest.mark.parametrize(
    ("b", "settings", "constant"),
    [
        ("generator.uniform()", {"low": 2.0}, "a"),
        ("generator.uniform() > 0.8", {}, "b"),
    ],
    ids=["settings", "chance"],
)
def test_settings_and_chance_may_make_a_parameter_constant(
    b: str,
    settings: dict[str, float],
    constant: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(tmp_path, b, **settings)
    assert (tmp_path / "order.h5").exists()
    assert caplog.messages == [f"constant because of the family's settings: {constant}"]


@pytest.mark.parametrize(
    ("family", "settings", "constant"),
    [
        ("advection_diffusion", {"peclet_low": 100, "peclet_high": 100, "modes": 8}, "eps"),
        ("elasticity", {"traction": 0, "weight": 0.1}, "traction"),
        ("incompressible_elasticity", {"traction": 0, "weight": 0.1}, "traction"),
    ],
)
def test_settings_of_the_package_may_make_a_parameter_constant(
    family: str,
    settings: dict[str, float],
    constant: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = DatasetConfig(
        family=family, parameters=settings, count=4, mesh={"points": 17, "degree": 2},
        splits={"train": 1.0},
    )  # fmt: skip
    sort.run(config, "set", output=tmp_path / "order.h5", chunks=1)
    assert f"constant because of the family's settings: {constant}" in caplog.text

# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The part of a dataset's configuration that names a file with parameters."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from kryloset.config.section import Section, plain_path

#: An array of a file by its path, and perhaps its place along the axes after the instances.
ARRAY = r"^[^\[\]]+(\[(\d+|:)(, ?(\d+|:))*\])?$"


class InstancesConfig(Section):
    """Parameters that are read from a file and not drawn."""

    file: Annotated[str, AfterValidator(plain_path)] | None = Field(
        None,
        description="The file, relative to the working directory: .npy, .npz, HDF5 (.h5, .hdf5, "
        ".nc), MATLAB's .mat, or a .zarr folder, such as a dataset of Kryloset, of The Well or of "
        "PDEBench. The first axis of its arrays counts the instances. Parameters that it does not "
        "have are drawn. `instances: FILE` is short for this key alone.",
    )
    names: dict[str, Annotated[str, Field(pattern=ARRAY)]] = Field(
        {},
        description="Names of arrays in the file, by parameter, where they differ, as in "
        '{k: coeff}. `{k: "tensor[0]"}` takes the first entry along the axis after the instances, '
        '`{k: "data[0, :, :, 1]"}` a channel that comes last.',
    )
    resample: Literal["none", "linear", "nearest"] = Field(
        "none",
        description="What to do with values on another grid: none refuses them; linear "
        "interpolates along each axis; nearest takes the value of the nearest point, and so keeps "
        "coefficients of two values.",
    )
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 digest of the file. It is computed, and stored in the dataset. If "
        "the key is there, another file is refused.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _file_is_there_for_the_rest(self) -> "InstancesConfig":
        if self.file is None and self != type(self).model_construct():
            raise ValueError("the key `file` is missing: name the file that has the parameters")
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema, which allows the short form."""
        return {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(handler(schema))]}

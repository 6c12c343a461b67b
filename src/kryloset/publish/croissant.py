# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Describe a dataset in Croissant, the format that search engines and dataset hubs read.

The terms are those of its specification, version 1.0 (https://docs.mlcommons.org/croissant).
Croissant reads no HDF5, so its records are those of the table of instances.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kryloset.dataset.reader import Dataset
from kryloset.publish.instances import Column

#: How the specification abbreviates terms.
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FORMATS = {".h5": "application/x-hdf5", ".csv": "text/csv", ".yaml": "application/yaml"}
_TYPES = {"text": "sc:Text", "integer": "sc:Integer", "number": "sc:Float"}


def describe(
    data: Dataset,
    summary: str,
    files: Mapping[str, tuple[str, int, str]],
    table: str,
    columns: Sequence[Column],
) -> dict[str, Any]:
    """Return the description as a tree of JSON-LD.

    Args:
        data: The dataset.
        summary: What it holds, in words.
        files: By the name of each file, its description, its bytes, and its SHA-256 digest.
        table: The name of the one that has the table of instances.
        columns: The columns of the table.
    """
    about = data.about
    told = {
        "license": about.get("licence"),
        "creator": about.get("creator") and {"@type": "sc:Person", "name": about["creator"]},
        "citeAs": about.get("references"),
        "datePublished": about.get("made"),
    }
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": data.name,
        "description": summary,
        **{key: value for key, value in told.items() if value},
        "distribution": [_file(name, *known) for name, known in files.items()],
        "recordSet": [_records(table, columns)],
    }


def _file(name: str, description: str, size: int, digest: str) -> dict[str, str]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": description,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": _FORMATS[f".{name.rpartition('.')[2]}"],
        "sha256": digest,
    }


def _records(table: str, columns: Sequence[Column]) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"instances/{column.name}",
            "name": column.name,
            "description": column.description,
            "dataType": _TYPES[column.kind],
            "source": {"fileObject": {"@id": table}, "extract": {"column": column.name}},
        }
        for column in columns
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "instances",
        "name": "instances",
        "description": "an instance in each record: its split, its numbers and its solve record",
        "key": {"@id": "instances/instance"},
        "field": fields,
    }

# SPDX-FileCopyrightText: Kryloset developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Every YAML text is read, or refused at once in one message."""

import time
from pathlib import Path
from typing import Any

import pytest

from kryloset.config import parse_config
from kryloset.errors import ConfigError
from kryloset.yaml_text import parse_yaml, read_yaml
from test_config import of_dataset

LAUGHS = "\n".join(["a: &a0 [x, x]", *(f"b{i}: &a{i + 1} [*a{i}, *a{i}]" for i in range(60))])

TEXTS = {
    "aliases of aliases": (LAUGHS, "more than 100000 values"),
    "a text that contains itself": ("a: &a [*a]", "more than 100000 values"),
    "brackets in brackets": ("[" * 20_000, "nests more than 50 levels"),
    "blocks in blocks": ("\n".join(" " * i + "a:" for i in range(500)), "nests more than 50"),
    "a key twice": ("datasets:\n  d: {count: 8}\n  d: {count: 9}\n", "twice, again at line 3"),
    "a key twice, far inside": ("a: {b: [{c: 1, c: 2}]}", "'c' comes twice"),
    "a number of 5,000 digits": ("a: " + "1" * 5000, "as YAML"),
    "code": ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
    "two documents": ("a: 1\n---\nb: 2\n", "single document"),
    "a control character": ("a: \x01", "as YAML"),
    "a longer text than anyone writes": ("#" * (2**20 + 1), "longer than"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_beyond_the_bounds_is_refused_at_once(name: str) -> None:
    text, words = TEXTS[name]
    began = time.process_time()
    with pytest.raises(ConfigError, match=rf"^c\.yaml (?s:.*){words}"):
        parse_yaml(text, "c.yaml")
    assert time.process_time() - began < 5


def test_anchors_and_merge_keys_are_read() -> None:
    text = "base: &b {count: 8, seed: 1}\none: {<<: *b, seed: 2}\ntwo: *b\n"
    found = parse_yaml(text, "c.yaml")
    assert found["one"] == {"count": 8, "seed": 2}
    assert found["two"] == {"count": 8, "seed": 1}


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes("count: 8 # f\xfcr".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"c\.yaml is not UTF-8 text: byte 12"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"count": True}, {"seed": False}, {"mesh": {"points": True}}, {"mesh": {"grids": [True]}},
        {"mesh": {"degree": True}}, {"solver": {"tolerance": True}}, {"splits": {"train": True}},
        {"solver": {"omega": float("inf")}}, {"solver": {"tolerance": float("nan")}},
        {"splits": {"train": float("nan")}}, {"solver": {"max_iterations": 2**31}},
        {"count": 2**64}, {"chunks": 10**15, "count": 10**15}, {"splits": {"n" * 256: 1.0}},
        {"family": f"{'n' * 256}.py:Heat"}, {"solver": {"policy": f"replay {'n' * 256}"}},
        {"family": "a\0b.py:Heat"}, {"family": "\ud800"}, {"training": {"learning_rate": "1e999"}},
    ],
)  # fmt: skip
def test_a_value_that_no_run_could_use_is_refused_by_key(changes: dict[str, Any]) -> None:
    (key, *_) = changes
    with pytest.raises(ConfigError) as caught:
        parse_config(of_dataset(**changes))
    message = str(caught.value)
    assert f"datasets.one.{key}" in message or (key == "chunks" and "datasets.one" in message)
    assert len(message) < 1000


def test_a_dataset_name_that_no_folder_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 100 characters") as caught:
        parse_config({"datasets": {"n" * 256: {}}})
    assert len(str(caught.value)) < 1000

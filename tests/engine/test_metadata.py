"""Each word that a zarr.json of a store may not say, one at a time, and each that it may."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tiler.engine.metadata import check_metadata

CHECKSUM = {"name": "crc32c", "configuration": {}}
PACKING = {"typesize": 2, "cname": "zstd", "clevel": 1, "shuffle": "shuffle", "blocksize": 0}
ARRAY = {
    "zarr_format": 3, "node_type": "array", "attributes": {}, "shape": [3, 100, 70], "data_type": "uint16",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 50, 70]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "fill_value": 0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "blosc", "configuration": PACKING},
               CHECKSUM],
    "dimension_names": ["c", "y", "x"], "storage_transformers": [],
}  # fmt: skip
GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {"tiler": {"a": [1, None, "\udce4"]}}}


def changed(found: dict[str, Any], at: str, value: Any) -> dict[str, Any]:
    """at: keys and indices, with "/" between them."""
    whole = copy.deepcopy(found)
    *way, last = [int(word) if word.isdecimal() else word for word in at.split("/")]
    spot: Any = whole
    for word in way:
        spot = spot[word]
    if value is None:
        del spot[last]
    else:
        spot[last] = value
    return whole


def chunks(*sizes: Any) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": list(sizes)}}


FINE = [
    ("attributes", None), ("dimension_names", None), ("dimension_names", []), ("storage_transformers", None),
    ("dimension_names", ["c", None, "x"]), ("fill_value", -1), ("fill_value", 0.5), ("fill_value", 2**31 - 1),
    ("shape", [2**31 - 1] * 3), ("chunk_grid", chunks(1, 1, 2**30 - 1)), ("codecs/2", {"name": "crc32c"}),
]  # fmt: skip
WRONG = [
    ("zarr_format", 2, "format 3"), ("zarr_format", True, "format 3"), ("zarr_format", 3.0, "format 3"),
    ("zarr_format", None, "format 3"), ("attributes", [], "attributes"), ("node_type", "thing", "group or array"),
    ("node_type", None, "group or array"), ("extra", 1, "'extra' is unknown"),
    ("data_type", "int64", "data_type = 'int64'"), ("data_type", ["uint16"], "data_type"), ("data_type", None, "data"),
    ("shape", [], "shape"), ("shape", [1] * 6, "shape"), ("shape", [3, 0, 70], "shape"), ("shape", "3", "shape"),
    ("shape", [3, 100.0, 70], "shape"), ("shape", [3, True, 70], "shape"), ("shape", [3, 2**31, 70], "shape"),
    ("shape", [3, -1, 70], "shape"), ("shape", None, "shape"), ("shape", [3, 100], "chunk_grid"),
    ("chunk_grid", chunks(3, 50), "chunk_grid"), ("chunk_grid", chunks(3, 50, 0), "chunk_grid"),
    ("chunk_grid", chunks(1, 1, 2**30), "chunk_grid"), ("chunk_grid", chunks(1, 2**15, 2**15), "chunk_grid"),
    ("chunk_grid", None, "chunk_grid"), ("chunk_grid", [], "chunk_grid"), ("chunk_grid/name", "other", "chunk_grid"),
    ("chunk_grid/more", 1, "chunk_grid"), ("chunk_grid/configuration/more", 1, "chunk_grid"),
    ("chunk_grid/configuration", [], "chunk_grid"), ("chunk_key_encoding/configuration/separator", ".", "other names"),
    ("chunk_key_encoding", None, "other names"), ("fill_value", 2**31, "fill_value"), ("fill_value", "0", "fill_value"),
    ("fill_value", -(2**31), "fill_value"), ("fill_value", None, "fill_value"),
    ("dimension_names", "cyx", "dimension_names"), ("dimension_names", ["c", "y"], "dimension_names"),
    ("dimension_names", [1, 2, 3], "dimension_names"), ("storage_transformers", [1], "storage_transformers"),
    ("codecs", None, "codecs"), ("codecs", [], "codecs"), ("codecs", {}, "codecs"), ("codecs/0", "bytes", "codecs"),
    ("codecs/0/name", "pickle", "codecs"), ("codecs/0/configuration/endian", "big", "codecs"),
    ("codecs/0/configuration", {}, "codecs"), ("codecs/0/more", 1, "codecs"), ("codecs/2", None, "codecs"),
    ("codecs/2/configuration", {"a": 1}, "codecs"), ("codecs/1/configuration/cname", "lz4", "codecs"),
    ("codecs/1/configuration/typesize", 4, "codecs"), ("codecs/1/configuration/clevel", 9, "codecs"),
    ("codecs/1/configuration/blocksize", 1, "codecs"), ("codecs/1/configuration/shuffle", "bitshuffle", "codecs"),
]  # fmt: skip


@pytest.mark.parametrize(("at", "value"), FINE)
def test_what_an_array_may_say(at: str, value: Any) -> None:
    check_metadata(json.dumps(ARRAY).encode())
    check_metadata(json.dumps(changed(ARRAY, at, value)).encode())


@pytest.mark.parametrize(("at", "value", "said"), WRONG)
def test_what_an_array_may_not_say(at: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"metadata: .*{said}"):
        check_metadata(json.dumps(changed(ARRAY, at, value)).encode())


@pytest.mark.parametrize(("kind", "item"), [("uint8", 1), ("uint16", 2), ("int32", 4), ("float32", 4), ("float64", 8)])
def test_types_have_their_sizes(kind: str, item: int) -> None:
    of_kind = changed(changed(ARRAY, "data_type", kind), "codecs/1/configuration/typesize", item)
    check_metadata(json.dumps(of_kind).encode())
    plain = changed(of_kind, "codecs/1", None)
    check_metadata(json.dumps(plain).encode())
    most = 2**31 // item
    check_metadata(json.dumps(changed(of_kind, "chunk_grid", chunks(1, 1, most - 1))).encode())
    with pytest.raises(ValueError, match="chunk_grid"):
        check_metadata(json.dumps(changed(of_kind, "chunk_grid", chunks(1, 1, most))).encode())
    without_order = json.dumps(changed(of_kind, "codecs/0/configuration", {})).encode()
    if item == 1:
        check_metadata(without_order)
        return
    with pytest.raises(ValueError, match="codecs"):
        check_metadata(without_order)


def test_groups() -> None:
    check_metadata(json.dumps(GROUP).encode())
    check_metadata(json.dumps({**GROUP, "consolidated_metadata": None}).encode())
    for more, said in (({"consolidated_metadata": {}}, "members"), ({"shape": [1]}, "'shape' is unknown"),
                       ({"attributes": 1}, "attributes")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            check_metadata(json.dumps({**GROUP, **more}).encode())
    for text in (
        b"[]",
        b"3",
        b'"x"',
        b"{",
        b"\xff",
        b'{"zarr_format": 3, "node_type": "group", "attributes": {"a": "\\ud800"}}',
    ):
        with pytest.raises(ValueError):  # noqa: PT011 -- json's own among them
            check_metadata(text)

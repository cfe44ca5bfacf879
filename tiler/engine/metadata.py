"""What a zarr.json of ours may say. Whatever lies in a store was perhaps sent by someone: this is looked at before
zarr, which would look up any codec that is named there, and make room for any shape."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

METADATA_BYTES = 2**22
_ITEM_BYTES = {"uint8": 1, "uint16": 2, "int32": 4, "float32": 4, "float64": 8}
_GROUP = {"attributes", "zarr_format", "node_type", "consolidated_metadata"}
_ARRAY = {
    "attributes", "zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value",
    "codecs", "dimension_names", "storage_transformers",
}  # fmt: skip
_KEYS = {"name": "default", "configuration": {"separator": "/"}}
_LONGEST = 2**31


def check_metadata(data: bytes) -> None:
    """Raise ValueError for what is no metadata of an array or a group of ours."""
    found = json.loads(data)
    # What cannot be part of a file's name can be no text of ours; those that are not UTF-8 can.
    json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogateescape")
    for allowed, what in _rules(found):
        if not allowed:
            raise ValueError(f"metadata: {what}")


def _rules(found: Any) -> Iterator[tuple[bool, str]]:
    """Whether it holds, and what does not."""
    yield isinstance(found, dict), "is no table"
    yield type(found.get("zarr_format")) is int and found["zarr_format"] == 3, "is not of zarr's format 3"
    yield isinstance(found.get("attributes", {}), dict), "its attributes are no table"
    kind = found.get("node_type")
    yield kind in ("group", "array"), "is of no group or array"
    unknown = sorted({*found} - (_GROUP if kind == "group" else _ARRAY))
    yield not unknown, f"{''.join(unknown[:1])[:40]!r} is unknown"
    if kind == "group":
        yield found.get("consolidated_metadata") is None, "what its members are is for them to say"
    else:
        yield from _array_rules(found)


def _array_rules(found: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    kind, shape, grid, fill = (found.get(name) for name in ("data_type", "shape", "chunk_grid", "fill_value"))
    item_bytes = _ITEM_BYTES.get(kind, 0) if isinstance(kind, str) else 0
    yield item_bytes > 0, f"data_type = {str(kind)[:40]!r}"
    yield _are_sizes(shape), f"shape = {str(shape)[:40]}"
    chunks = _chunks(grid)
    fit = _are_sizes(chunks) and len(chunks) == len(shape or ())
    yield fit and math.prod(chunks) * item_bytes < _LONGEST, f"chunk_grid = {str(grid)[:80]}"
    yield found.get("chunk_key_encoding") == _KEYS, "its chunks have other names than in a store"
    yield _are_codecs(found.get("codecs"), item_bytes), "its codecs are not those that a store has"
    yield isinstance(fill, int | float) and abs(fill) < _LONGEST, f"fill_value = {str(fill)[:40]}"
    names = found.get("dimension_names") or []
    yield isinstance(names, list) and all(isinstance(one, str | None) for one in names), "dimension_names"
    yield len(names) in (0, len(shape or ())), "dimension_names"
    yield found.get("storage_transformers", []) == [], "storage_transformers"


def _chunks(grid: Any) -> Any:
    if not isinstance(grid, dict) or grid.get("name") != "regular" or len(grid) != 2:
        return None
    how = grid.get("configuration")
    return how.get("chunk_shape") if isinstance(how, dict) and len(how) == 1 else None


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 5 and all(type(n) is int and 0 < n < _LONGEST for n in value)


def _are_codecs(value: Any, item_bytes: int) -> bool:
    """As the store writes them: bytes, plain or packed by blosc, then a checksum."""
    if not isinstance(value, list) or not all(isinstance(one, dict) and len(one) <= 2 for one in value):
        return False
    found = [(one.get("name"), one.get("configuration", {})) for one in value]
    packing = {"typesize": item_bytes, "cname": "zstd", "clevel": 1, "shuffle": "shuffle", "blocksize": 0}
    packed = [("blosc", packing)] if len(found) == 3 else []
    orders = [{"endian": "little"}, *([{}] if item_bytes == 1 else [])]
    return any(found == [("bytes", order), *packed, ("crc32c", {})] for order in orders)

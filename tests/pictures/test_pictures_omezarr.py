"""OME-Zarr output: valid by the field's own checker, equal in pixels, halved level by level."""

import json
import os

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image

from tiler.errors import OutputError
from tiler.pictures import check_output, write_picture
from tiler.pictures.omezarr import CHUNK

HEIGHT, WIDTH = 2 * CHUNK + 77, CHUNK + 301
PICTURE = np.random.default_rng(3).random((4, HEIGHT, WIDTH)).astype(np.float32)


def bands(picture, rows=130):
    return (picture[:, top : top + rows] for top in range(0, picture.shape[1], rows))


def half(pixels):
    """Means of 2 x 2 in float64, colours weighted by alpha."""
    even = np.pad(pixels.astype(np.float64), ((0, 0), *((0, size % 2) for size in pixels.shape[1:])), mode="edge")
    quads = np.stack([even[:, y::2, x::2] for y in (0, 1) for x in (0, 1)])
    if len(pixels) == 3:
        return quads.mean(0)
    weights = np.broadcast_to(quads[:, 3:], quads[:, :3].shape) + 1e-9
    return np.concatenate([np.average(quads[:, :3], axis=0, weights=weights), quads[:, 3:].mean(0)])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_omezarr(tmp_path, channels, bits):
    write_picture(tmp_path / "a.zarr", HEIGHT, WIDTH, bands(PICTURE[:channels]), bits=bits, metadata={"seed": "é"})
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    image = Image.from_zarr(group)
    assert [one.path for one in image.ome_attributes.multiscales[0].datasets] == ["0", "1", "2"]
    assert [group[key].chunks for key in ("0", "1")] == [
        (channels, CHUNK, CHUNK),
        (channels, CHUNK, group["1"].shape[2]),
    ]
    before = np.rint(PICTURE[:channels] * np.float32(2**bits - 1))
    np.testing.assert_array_equal(np.asarray(group["0"]), before)
    for level in range(3):
        array = group[str(level)]
        assert array.dtype == f"uint{bits}"
        assert array.metadata.dimension_names == ("c", "y", "x")
        assert array.shape == (channels, -(-HEIGHT // 2**level), -(-WIDTH // 2**level))
        scale = group.attrs["ome"]["multiscales"][0]["datasets"][level]["coordinateTransformations"][0]["scale"]
        assert scale == [1, HEIGHT / array.shape[1], WIDTH / array.shape[2]]
    for finer, coarser in (("0", "1"), ("1", "2")):
        difference = np.asarray(group[coarser]) - half(np.asarray(group[finer]))
        assert np.abs(difference).max() <= 0.51
    window = group.attrs["ome"]["omero"]["channels"][0]["window"]
    assert window == {"min": 0, "max": 2**bits - 1, "start": 0, "end": 2**bits - 1}
    assert group.attrs["tiler_poster"] == {"seed": "é"}
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (3, 2)])
def test_tiny_pictures(tmp_path, size):
    write_picture(tmp_path / "a.zarr", *size, [np.full((3, *size), 0.4, np.float32)])
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    Image.from_zarr(group)
    assert {int(value) for _, array in group.arrays() for value in np.unique(np.asarray(array))} == {102}
    assert sorted(group.array_keys()) == (["0", "1"] if max(size) > CHUNK else ["0"])


def test_colours_under_transparency_do_not_bleed(tmp_path):
    picture = np.zeros((4, 2, 1026), np.float32)
    picture[:, :, ::2] = np.float32([1, 0.5, 0, 1])[:, None, None]
    write_picture(tmp_path / "a.zarr", 2, 1026, [picture])
    found = np.asarray(zarr.open_group(tmp_path / "a.zarr", mode="r")["1"])
    assert np.unique(found.reshape(4, -1), axis=1).tolist() == [[255], [128], [0], [128]]


def test_only_an_earlier_output_is_replaced(tmp_path):
    grey = np.full((3, 4, 4), 0.5, np.float32)
    for shade in (0.25, 1):
        write_picture(tmp_path / "a.zarr", 4, 4, [grey * np.float32(shade)])
    assert np.asarray(zarr.open_group(tmp_path / "a.zarr", mode="r")["0"]).max() == 128
    zarr.create_group(tmp_path / "job.zarr", attributes={"tiler": {}})
    zarr.create_group(tmp_path / "data.zarr", attributes={"precious": 1})
    (tmp_path / "file.zarr").write_text("mine")
    (tmp_path / "odd.zarr").mkdir()
    (tmp_path / "odd.zarr" / "zarr.json").write_text(json.dumps([1]))
    for name, words in {"job": "the state of a job", "data": "else", "file": "is no folder", "odd": "else"}.items():
        with pytest.raises(OutputError, match=words):
            check_output(tmp_path / f"{name}.zarr")
    (tmp_path / "empty.zarr").mkdir()
    check_output(tmp_path / "empty.zarr")


def test_failures_leave_the_old_one(tmp_path):
    grey = np.full((3, 600, 4), 0.5, np.float32)
    write_picture(tmp_path / "a.zarr", 600, 4, [grey])
    with pytest.raises(OutputError, match="end at row 600 of 601"):
        write_picture(tmp_path / "a.zarr", 601, 4, [grey * np.float32(0.1)])
    assert np.asarray(zarr.open_group(tmp_path / "a.zarr", mode="r")["0"]).max() == 128
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize(
    ("size", "chunks"),
    [((4, 7), [(3, 4, 7)]), ((513, 3), [(3, 512, 3), (3, 257, 2)]), ((3, 600), [(3, 3, 512), (3, 2, 300)])],
)
def test_chunks_are_no_larger_than_their_level(tmp_path, size, chunks):
    write_picture(tmp_path / "my map.zarr", *size, [PICTURE[:3, : size[0], : size[1]]])
    group = zarr.open_group(tmp_path / "my map.zarr", mode="r")
    assert [group[str(level)].chunks for level in range(len(list(group.array_keys())))] == chunks
    assert [group[str(level)].shape for level in range(len(chunks))] == (
        [(3, *size), (3, (size[0] + 1) // 2, (size[1] + 1) // 2)][: len(chunks)]
    )
    assert group.attrs["ome"]["multiscales"][0]["name"] == "my map"
    assert group.attrs["tiler_poster"] == {}

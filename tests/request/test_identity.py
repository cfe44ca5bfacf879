import hashlib
import json
from dataclasses import replace

import pytest

from tiler.errors import PictureError, StoreError
from tiler.request import identity
from tiler.request.config import RUN, RenderConfig
from tiler.version import __version__

CONFIG = RenderConfig(content="a.png", styles=("b.png", "c.png"), output="d.png", content_weight=0)
# As `resolve_config` leaves it: nothing is open any more.
STORED = replace(
    CONFIG, steps=(9, 5), levels=2, style_blend_weights=(1, 1), precision="fp32", device="cpu", workers=1, threads=2,
    steps_per_round=5, tile=64, feather=16, halo=48,
)  # fmt: skip
FILES = {"content file": "1", "style file 1": "2", "style file 2": "3", "init": "content"}


def check(config, stored=STORED, found=FILES, inputs=FILES, asked=CONFIG, version=__version__):
    job = {"config": stored.to_dict(), "asked": asked.to_dict(), "inputs": inputs, "version": version}
    identity.check_same("job.zarr", json.loads(json.dumps(job)), config, found)


CHANGES = dict(
    style_layer_weights=((1, 1, 1, 1, 2), (1, 1, 1, 1, 1)), region_edge=5,
    size="77x7", at="0.5,0.5", edge=99,
    statistics="w2", style_weight=2, content_weight=2, tv_weight=2, chroma_weight=3, light_weight=3, lines=2, calm=20,
    protect_strength=2, style_scale=2,
    style_blend_weights=(2, 1), wrap="x", content_gsd="50", style_gsd=(20,), color="match", seed=1,
    dream_weight=1, transfer="color", dream_layer="relu3_1", dream_channel=3, jitter=4, keep_detail=True,
    quality="best", steps=(9, 6), levels=3, min_edge=64, optimizer="lbfgs", learning_rate=0.5, pooling="max",
    content_layers=("relu3_2",), style_layers=("relu1_1",), precision="bf16", mode="exact",
    steps_per_round=4, tile=32, feather=8, halo=32, threads=3, device="cuda", stretch="2,98",
)  # fmt: skip
FREE = dict(long_edge=77, scale="2x", print="A0", dpi=300, bits=16, compression="zstd",
            jpeg_quality=5, cog=True, tiles="x", overlay="x",
            content="z.png", styles=("x.png", "y.png"), output="z.tif", store="other.zarr", workers=4,
            state="store", checkpoint_seconds=7,
            init="noise", weights="torchvision", scheduler="tcp://somewhere:1")  # fmt: skip


# Part of the job by the files' roles: see test_where_regions_are_and_in_what_styles_is_part_of_the_job.
ROLES = ("protect", "region", "mask", "labels", "label", "style_mask")


def test_every_option_is_either_part_of_the_job_or_free():
    assert sorted([*CHANGES, *FREE, *ROLES]) == sorted(CONFIG.to_dict())


@pytest.mark.parametrize("name", CHANGES)
def test_a_difference_is_named_with_both_values(name):
    with pytest.raises(StoreError) as error:
        check(replace(CONFIG, **{name: CHANGES[name]}))
    message = str(error.value)
    before, now = (replace(CONFIG, **change).to_dict()[name] for change in ({}, {name: CHANGES[name]}))
    assert f"store job.zarr: holds another job: {name} was {before}, now {now};" in message
    assert "--force-new" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", FREE)
def test_where_things_run_and_what_files_are_called_is_free(name):
    check(replace(CONFIG, **{name: FREE[name]}))


def test_the_same_words_are_the_same_job_and_so_are_the_values_it_derived():
    check(CONFIG)
    check(STORED)


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_asked_for_is_the_same_after_a_trip_through_the_store(name):
    change = {name: CHANGES[name]}
    check(replace(CONFIG, **change), asked=replace(CONFIG, **change))


def test_leaving_out_what_was_asked_for_is_another_job():
    with pytest.raises(StoreError, match=r"steps was \[5\], now None"):
        check(CONFIG, asked=replace(CONFIG, steps=5))
    check(replace(CONFIG, steps=5), asked=replace(CONFIG, steps=5))


@pytest.mark.parametrize(
    ("found", "role"),
    [
        ({**FILES, "style file 2": "0"}, "style file 2"),
        ({**FILES, "content file": "0"}, "content file"),
        ({**FILES, "init": "noise"}, "init"),
        ({role: FILES[role] for role in FILES if role != "style file 2"}, "style file 2"),
    ],
)
def test_a_changed_input_is_named(found, role):
    with pytest.raises(StoreError, match=f"the {role} differs"):
        check(CONFIG, found=found)


def test_inputs_are_the_digests_of_all_files_that_are_read(tmp_path):
    paths = {}
    for name in ("content", "one", "two", "start", "coast"):
        paths[name] = tmp_path / name
        paths[name].write_bytes(name.encode())
    config = RenderConfig(paths["content"], [paths["one"], paths["two"]], "x.png")
    expected = {"content file": "content", "style file 1": "one", "style file 2": "two"}
    digests = {role: hashlib.sha256(name.encode()).hexdigest() for role, name in expected.items()}
    assert identity.inputs(config) == {**digests, "init": "content"}
    config = replace(config, init=str(paths["start"]))
    assert identity.inputs(config)["init"] == hashlib.sha256(b"start").hexdigest()
    protected = replace(config, content_weight=1, protect=str(paths["coast"]))
    assert identity.inputs(protected)["protect file"] == hashlib.sha256(b"coast").hexdigest()


def test_where_regions_are_and_in_what_styles_is_part_of_the_job(tmp_path):
    for name in ("content", "sea", "wood", "map", "part", "coast"):
        (tmp_path / name).write_bytes(name.encode())
    file = {name.name: str(name) for name in tmp_path.iterdir()}
    config = RenderConfig(
        file["content"], (), "x.png", region=[f"sea={file['sea']}"], mask=[f"sea={file['coast']}"],
        labels=file["map"], label=["#0000FF=sea", f"#00ff00={file['wood']}"], style_mask=[f"sea={file['part']}"],
    )  # fmt: skip
    expected = {
        "content file": "content",
        "style file 1 of region sea": "sea",
        "mask of style file 1 of region sea": "part",
        "style file 2 of region #00ff00": "wood",
        "mask 1 of region sea": "coast",
        "labels file, #0000ff being region sea": "map",
        "labels file, #00ff00 being region #00ff00": "map",
    }
    digests = {role: hashlib.sha256(name.encode()).hexdigest() for role, name in expected.items()}
    found = identity.inputs(config)
    assert found == {**digests, "init": "content"}
    swapped = replace(config, label=["#00ff00=sea", f"#0000ff={file['wood']}"])
    with pytest.raises(StoreError, match="the labels file, #0000ff being region"):
        check(swapped, stored=config, asked=config, inputs=found, found=identity.inputs(swapped))


def test_missing_inputs_are_named(tmp_path):
    with pytest.raises(PictureError, match=r"none\.png: No such file"):
        identity.inputs(RenderConfig(str(tmp_path / "none.png"), "b", "c"))


def test_run_options_are_those_of_the_run_group():
    """Should an option move to another group, its part in the identity moves along: think before that."""
    names = {name for name, item in RenderConfig.__dataclass_fields__.items() if item.metadata["group"] == RUN}
    assert names == {"store", "workers", "threads", "device", "scheduler", "state", "checkpoint_seconds"}


def test_another_version_is_refused_by_name():
    with pytest.raises(
        StoreError, match=rf"store job\.zarr: made by tiler 0\.0\.7, and this is {__version__}; .*--force-new"
    ):
        check(CONFIG, version="0.0.7")
    with pytest.raises(StoreError, match=r"made by tiler None"):
        identity.asked_for("job.zarr", {"asked": CONFIG.to_dict()})


def test_a_job_is_stored_with_paths_that_mean_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = identity.located(replace(CONFIG, init="c.png", weights="/d/net.pth"))
    assert files.content == str(tmp_path / "a.png")
    assert files.styles == (str(tmp_path / "b.png"), str(tmp_path / "c.png"))
    assert (files.output, files.init, files.weights) == (str(tmp_path / "d.png"), str(tmp_path / "c.png"), "/d/net.pth")
    words = identity.located(replace(CONFIG, init="noise", weights="torchvision"))
    assert (words.init, words.weights) == ("noise", "torchvision")


def test_what_was_asked_for_is_found_again_with_the_store_where_it_is_now(tmp_path):
    asked = replace(CONFIG, content=str(tmp_path / "a.png"), styles=("/far/b.png", str(tmp_path / "x" / "c.png")))
    asked = replace(asked, output=str(tmp_path / "d.png"), long_edge=99)
    stored = {"asked": identity.kept(asked, str(tmp_path / "j.zarr")), "version": __version__}
    assert stored["asked"]["styles"] == ["/far/b.png", "./x/c.png"]
    found = identity.asked_for("/new/now.zarr", json.loads(json.dumps(stored)))
    there = dict(content="/new/a.png", styles=("/far/b.png", "/new/x/c.png"), output="/new/d.png")
    assert found == replace(asked, **there, store="/new/now.zarr")


def test_the_files_of_regions_are_found_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = RenderConfig(
        "a.png", ("b.png",), "c.png", region=("wood=d.png, e.png",), labels="l.png",
        label=("#00ff00=wood", "#0000ff=f.png"), mask=("rest=m.png",), style_mask=("rest=s.png",),
    )  # fmt: skip
    located = identity.located(config)
    assert located.region == (f"wood={tmp_path}/d.png,{tmp_path}/e.png",)
    assert located.label == ("#00ff00=wood", f"#0000ff={tmp_path}/f.png")
    assert (located.labels, *located.mask, *located.style_mask) == (
        f"{tmp_path}/l.png", f"rest={tmp_path}/m.png", f"rest={tmp_path}/s.png",
    )  # fmt: skip
    assert located.regions.names == config.regions.names
    assert identity.located(located) == located


def test_a_version_that_is_no_version_is_cut_short():
    job = {"version": "9" * 100, "asked": {"content": "a.png", "no such": 1}}
    with pytest.raises(StoreError) as error:
        identity._config("job.zarr", job, "asked")
    assert f"(made by version {'9' * 40}, this is {__version__})" in str(error.value)

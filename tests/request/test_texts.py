"""What texts mean: values on the command line, names in lists, job files; and how what means nothing is refused."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from tiler.errors import ConfigError, PictureError
from tiler.request import jobfile, names, resume
from tiler.request.changing import changeable
from tiler.request.config import RenderConfig, check_keys, needs_content, with_places
from tiler.request.option import HERE, checked
from tiler.request.regions import listed, parse_colour, parse_regions, region_names, spelled
from tiler.request.schedules import not_of_jpegs, steps_of
from tiler.request.spoken import element, read_value
from tiler.request.varying import Varied, value_of

ITEMS = {item.name: item for item in fields(RenderConfig)}
HINTS = get_type_hints(RenderConfig)


# Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", " 7 ", 7),
        ("tv_weight", "1e-3", 0.001),
        ("color", " match ", "match"),
        ("steps", "9, 5", [9, 5]),
        ("style_scale", "0.5", [0.5]),
        ("style_layers", "relu1_1, relu2_1", ["relu1_1", "relu2_1"]),
        ("style_layer_weights", "1, 0,2", [1.0, 0.0, 2.0]),
        ("mask", "sea=a.png,b.png", "sea=a.png,b.png"),
        ("scale", "2x", "2x"),
    ],
)
def test_a_text_is_read_as_its_option_wants_it(name: str, text: str, value: Any) -> None:
    assert read_value(ITEMS[name], HINTS[name], text) == value
    assert {int: int, float: float}.get(element(HINTS[name]), str) is element(HINTS[name])


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [("seed", "1.5", "a whole number"), ("steps", "9,x", "a whole number"), ("style_scale", "1,", "a number")],
)
def test_a_text_that_is_no_number_is_refused(name: str, text: str, kind: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_value(ITEMS[name], HINTS[name], text)
    assert str(error.value) == f"{name} = {text}; allowed: {kind}"


def test_flags_are_varied_by_words() -> None:
    item = ITEMS["keep_detail"]
    assert [value_of(item, text) for text in ("yes", "TRUE", "on", "No", "false", "OFF")] == [True] * 3 + [False] * 3
    with pytest.raises(ConfigError) as error:
        value_of(item, "maybe")
    assert str(error.value) == "keep_detail = maybe; allowed: yes, no"
    assert Varied.over("keep_detail", ["no", "yes"]).values == (False, True)
    assert (Varied.of("steps=9,5").values, Varied.of("style-scale=2").title) == (([9], [5]), "style scale")
    with pytest.raises(ConfigError, match=r"^vary: unknown key 'sed'; did you mean 'seed'"):
        Varied.of("sed=1")


def test_what_may_differ_in_a_part_of_a_poster() -> None:
    some = ("content_weight", "seed", "steps", "style_scale", "statistics", "learning_rate", "mode")
    others = ("wrap", "tile", "halo", "region", "style_layer_weights", "edge", "dpi", "jitter", "device", "region_edge")
    assert [changeable(ITEMS[name]) for name in some] == [True] * len(some)
    assert [changeable(ITEMS[name]) for name in others] == [False] * len(others)


@pytest.mark.parametrize(("edge", "steps"), [(160, (50, 100, 300)), (161, (40, 80, 200)), (5000, (10, 20, 60))])
def test_steps_follow_the_longer_side(edge: int, steps: tuple[int, ...]) -> None:
    for height, width in ((edge, 9), (9, edge)):
        assert tuple(steps_of(quality, height, width) for quality in ("draft", "standard", "best")) == steps
    assert not_of_jpegs("best") == "best"
    with pytest.raises(ValueError, match=r"^draft, standard, best; a JPEG's is --jpeg-quality 90$"):
        not_of_jpegs("90")


@pytest.mark.parametrize(
    ("kind", "meta", "value", "said"),
    [
        (int, dict(low=3, high=9), 2, "n = 2; allowed: 3 to 9"),
        (int, dict(low=3, high=9), 10, "n = 10; allowed: 3 to 9"),
        (float, dict(low=3), 2.5, "n = 2.5; allowed: 3 or more"),
        (int, {}, True, "n = True; allowed: a whole number"),
        (float, {}, False, "n = False; allowed: a number"),
        (bool, {}, 1, "n = 1; allowed: true or false"),
        (str, {}, 5, "n = 5; allowed: a text"),
        (str, {}, "\ud800", "n = '\\ud800'; allowed: a text that is not empty"),
        (str, dict(choices=("left", "right")), "lef", "n = 'lef'; allowed: left, right (did you mean left?)"),
        (tuple[int, ...], {}, {"a": 1}, "n = {'a': 1}; allowed: a list"),
        (tuple[int, ...], {}, [1, [2, "x"]], "n = [2, 'x']; allowed: a whole number"),
        (
            tuple[str, ...],
            dict(repeat=True),
            {"a": [1]},
            "n.a = [1]; allowed: a name without '=', and a text",
        ),
    ],
)
def test_what_a_field_refuses(kind: Any, meta: dict[str, Any], value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        checked("n", value, kind, meta)
    assert str(error.value).startswith(said)


def test_what_a_field_takes() -> None:
    assert [checked("n", value, int, dict(low=3, high=9)) for value in (3, 9)] == [3, 9]
    assert [checked("n", value, int | None, dict(low=3)) for value in (None, 3)] == [None, 3]
    assert (checked("n", 3, None | int, {}), checked("n", 3, float, {})) == (3, 3.0)
    assert type(checked("n", 3, float, {})) is float
    assert checked("n", Path("a/b"), str, {}) == "a/b"
    assert checked("n", {"a": "x,y", "b": ["x,y", Path("z")]}, tuple[str, ...], dict(repeat=True)) == (
        "a=x,y", "b=x\\,y,z",
    )  # fmt: skip
    assert checked("n", [[1, 2], 3], tuple[tuple[int, ...], ...], {}) == ((1, 2), (3,))


# Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (" a.png , b c.png ", ["a.png", "b c.png"]),
        ("a\\, b,c", ["a, b", "c"]),
        ("\\ a\\ ,b\\  ", [" a ", "b "]),
        ("a\\b\\\\,c", ["a\\b\\", "c"]),
        ("a,,b,", ["a", "", "b", ""]),
        ("", [""]),
    ],
)
def test_names_between_commas(text: str, found: list[str]) -> None:
    assert listed(text) == found
    assert listed(spelled(found)) == found


def test_names_are_spelled_no_longer_than_need_be() -> None:
    assert spelled(["a b", "c,d", " e ", "f\\"]) == "a b,c\\,d,\\ e\\ ,f\\\\"


@pytest.mark.parametrize(("text", "colour"), [("#2244aa", (34, 68, 170)), ("0102FF", (1, 2, 255))])
def test_colours(text: str, colour: tuple[int, int, int]) -> None:
    assert parse_colour(text) == colour
    for wrong in (text[:-1], f"{text}0", f"#{text}" if text[0] == "#" else f" {text}"):
        with pytest.raises(ConfigError, match=f"^label = '{wrong}=...'; allowed: a colour of six hexadecimal digits"):
            parse_colour(wrong)


def test_regions_say_where_they_are() -> None:
    assert region_names(["sea=a", " ice =b"], ["#00ff00=sea"]) == ("rest", "sea", "ice", "#00ff00")
    found = parse_regions([], ["sea=a"], [], "l", [" #00ff00 = sea ", "#0000ff=b"], [])
    assert (found.names, found.labels) == (("sea", "#0000ff"), (((0, 255, 0), 0), ((0, 0, 255), 1)))
    assert found.guided
    assert not parse_regions(["a"], [], [], None, [], []).guided
    assert parse_regions(["a"], [], ["rest=m"], None, [], []).masks == ((0, "m"),)
    for said, words in (
        ((["a"], ["rest=b"], [], None, []), "region = 'rest=...'; allowed: each name once, and 'rest' is the default"),
        ((["a"], ["sea=b", "sea=c"], [], None, []), "region = 'sea=...'; allowed: each name once"),
        ((["a"], [" =b"], [], None, []), "region = ' =b'; allowed: NAME=STYLE[,STYLE]"),
        ((["a"], [], ["sea"], None, []), "mask = 'sea'; allowed: NAME=FILE[,FILE]"),
        ((["a"], [], [], "l", ["#00ff00"]), "label = '#00ff00'; allowed: '#RRGGBB=STYLE[,STYLE]' or '#RRGGBB=NAME'"),
        (([], [], [], "l", ["#00ff00=rest"]), "label = '#00ff00=rest', but there is no default STYLE"),
        ((["a"], [], ["se=m"], None, []), "mask = 'se=...': unknown region; allowed: rest"),
        ((["a"], ["sea=b"], [], None, []), "region 'sea' is nowhere: give --mask sea=FILE or --label '#RRGGBB=sea'"),
    ):
        with pytest.raises(ConfigError) as error:
            parse_regions(*said, [])  # type: ignore[arg-type]
        assert str(error.value).startswith(words)


def test_other_programs_words_are_pointed_to_ours() -> None:
    assert names.option_for("original_colors") == "here it is --color content"
    assert names.option_for("style_image") == names.option_for("output_image") != names.option_for("backend")
    assert [names.key_for(name) for name in ("num_iterations", "style_image", "seed")] == [
        "here it is 'steps'", "here it is 'styles'", None,
    ]  # fmt: skip
    assert names.key_for("backend") == names.option_for("backend") == "nothing like it is needed; leave it out"
    with pytest.raises(ConfigError, match=r"^job: unknown key 'save_iter'; not needed; tiler export"):
        check_keys({"seed": 1, "save_iter": 2}, "job")


@pytest.mark.parametrize(
    ("values", "needed"),
    [
        ({}, True),
        (dict(content_weight=0, init="noise"), False),
        (dict(content_weight=0, init="a.png"), False),
        (dict(content_weight=0), True),
        (dict(init="noise"), True),
        (dict(content_weight=0, init="noise", color="match"), True),
        (dict(content_weight=0, init="noise", keep_detail=True), True),
        (dict(content_weight=-1, init="noise"), True),
    ],
)
def test_whether_a_content_would_show(values: dict[str, Any], needed: bool) -> None:
    assert needs_content(values) is needed


def test_regions_named_elsewhere_are_no_files() -> None:
    values = {"label": ("#00ff00=sea", "#0000ff=b.png"), "init": "noise", "store": None, "seed": 3, "styles": ("s",)}
    found = with_places(values, lambda name, places: f"/{name}", ("sea=x",))
    assert found == {"label": ("#00ff00=sea", "#0000ff=/b.png"), "init": "noise", "store": None, "styles": ("/s",)}
    alone = with_places({"label": values["label"]}, lambda name, places: f"/{name}")
    assert alone == {"label": ("#00ff00=/sea", "#0000ff=/b.png")}
    assert ITEMS["store"].metadata["decided"] == HERE


# Job files --------------------------------------------------------------------------------------------------------


def test_a_job_file_is_written_as_it_is_read(tmp_path: Path) -> None:
    config = RenderConfig(
        "a,b.png", ("c.png", "d.png"), "e.png", region={"sea": "s, t.png"}, mask=["sea=m.png"], seed=5
    )
    text = jobfile.job_text(config.to_dict(), "here")
    assert b"long_edge" not in text
    assert RenderConfig.from_dict(jobfile.job_values(text, "job")) == config
    with pytest.raises(ConfigError) as error:
        jobfile.job_text({"seed": 3, "content": f"{'a' * 50}\ud800{'b' * 50}"}, "here")
    assert str(error.value).startswith("here: '")
    assert f"{'a' * 5}\\ud800{'b' * 5}" in str(error.value)
    assert f"{'a' * 40}" not in str(error.value)
    assert f"{'b' * 40}" not in str(error.value)
    assert str(error.value).endswith(" cannot be written in a job file; allowed: names in UTF-8")


def test_a_job_file_as_large_as_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"seed = 12\n"
    monkeypatch.setattr(jobfile, "MOST_BYTES", len(text))
    assert jobfile.job_values(text, "job") == {"seed": 12}
    with pytest.raises(ConfigError, match=r"^job: is larger than 10 bytes; allowed: a TOML file of options$"):
        jobfile.job_values(text + b"\n", "job")


def test_a_job_file_names_its_field(tmp_path: Path) -> None:
    assert jobfile.job_values(b"seed = 5\nsteps = 3\n", "job", ("seed",)) == {"steps": (3,)}
    assert jobfile.job_values(b'store = "x"\nworkers = 2\n', "job") == {"store": "x", "workers": 2}
    for text, said in (
        (b"seed = -5", "seed = -5; allowed: 0 to 9223372036854775807"),
        (b'sede = "5"', "job: unknown key 'sede'; did you mean 'seed'?"),
        (b'store = "s3://x"', "job: store = 's3://x' connects elsewhere; allowed: --store s3://x on the command line"),
        (b'scheduler = "x"', "job: scheduler = 'x' connects elsewhere; allowed: --scheduler x on the command line"),
    ):
        with pytest.raises(ConfigError) as error:
            jobfile.job_values(text, "job")
        assert str(error.value) == said


def test_a_pipe_is_no_job_file(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "job.toml")
    for path, said in (
        (tmp_path / "job.toml", "is not a regular file; allowed: a TOML file"),
        (tmp_path, "is not a regular file; allowed: a TOML file"),
        (tmp_path / "none.toml", "No such file or directory"),
    ):
        with pytest.raises(ConfigError) as error:
            jobfile.read_job_file(path)
        assert str(error.value) == f"--job {path}: {said}"


# Going on ---------------------------------------------------------------------------------------------------------


def test_a_file_is_sought_in_folders_in_turn(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "b.png").touch()
    (tmp_path / "two" / "a.png").touch()
    (tmp_path / "there.png").symlink_to("nowhere")
    folders, notes = [str(tmp_path / name) for name in ("none", "one", "two")], list[str]()

    def sought(name: str) -> str:
        return resume._sought(name, "/x/my job.zarr", folders, notes)

    assert sought(str(tmp_path / "there.png")) == str(tmp_path / "there.png")
    assert [sought("/gone/a.png"), sought("/gone/b.png")] == [f"{tmp_path}/two/a.png", f"{tmp_path}/one/b.png"]
    assert notes == [
        f"/gone/a.png: not there; taken from {tmp_path}/two/a.png",
        f"/gone/b.png: not there; taken from {tmp_path}/one/b.png",
    ]
    with pytest.raises(PictureError) as error:
        sought("/gone/c.png")
    assert str(error.value) == (
        "/gone/c.png: no such file, and the job in /x/my job.zarr looks for it there; where is it now? "
        "tiler resume '/x/my job.zarr' --inputs FOLDER"
    )

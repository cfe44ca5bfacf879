"""What help says of every option: in which group it stands, what stands for its value, and its default."""

from __future__ import annotations

import re

import pytest
from here import run_main

SIZE = ["--long-edge PX", "--size WxH", "--scale Nx", "--print WxHcm|A0"]
PROOF = ["--at X,Y", "--edge PX [768]"]
FILE = [
    "--dpi X",
    "--bits 8|16 [8]",
    "--compression KIND",
    "--jpeg-quality N [95]",
    "--cog",
    "--tiles DIR",
    "--overlay FILE",
]
LOOK = [
    "--style-weight X [1.0]", "--statistics gram|moments|w2 [moments]", "--content-weight X [0.3]", "--keep-detail",
    "--protect MASK", "--protect-strength X [10.0]", "--lines X [0.0]", "--calm X", "--tv-weight X [0.05]",
    "--chroma-weight X [0.02]", "--light-weight X [0.02]", "--style-scale X,... [1.0]", "--content-gsd M|auto",
    "--style-gsd M,...", "--style-blend-weights W,...", "--style-layer-weights W,...",
    "--init content|noise|FILE [content]", "--wrap none|x|y|xy [none]",
    "--color style|grey|content|luminance|match [style]", "--transfer style|color [style]",
    "--stretch LOW,HIGH", "--seed N [0]",
]  # fmt: skip
REGIONS = [
    "--region NAME=STYLE[,STYLE]", "--mask NAME=FILE[,FILE]", "--labels FILE", "--label '#RRGGBB=STYLE'",
    "--region-edge X [1.0]", "--style-mask NAME=FILE",
]  # fmt: skip
DREAM = ["--dream-weight X [0.0]", "--dream-layer L [relu4_3]", "--dream-channel N", "--jitter PX [0]"]
WORK = [
    "--quality draft|standard|best [standard]", "--steps N,...", "--levels N", "--min-edge PX [128]",
    "--optimizer adam|lbfgs [adam]", "--learning-rate X [0.02]",
    "--pooling avg|max [avg]", "--content-layers L,... [relu4_2]",
    "--style-layers L,... [relu1_1,relu2_1,relu3_1,relu4_1,relu5_1]", "--weights bundled|torchvision|FILE [bundled]",
    "--precision auto|fp32|bf16|fp16|fp64 [auto]", "--mode fast|exact [fast]", "--steps-per-round N", "--tile PX",
    "--feather PX", "--halo PX",
]  # fmt: skip
RUN = [
    "--store DIR|URL", "--workers N", "--state auto|device|host|store [auto]", "--checkpoint-seconds S [60.0]",
    "--threads N", "--device auto|cpu|cuda|mps [auto]", "--scheduler tcp://HOST:PORT",
]  # fmt: skip
RENDER = {"Size (one of)": SIZE, "A proof": PROOF, "The file": FILE, "Look": LOOK, "Regions": REGIONS, "Dream": DREAM,
          "How it is computed": WORK, "Where it runs": RUN}  # fmt: skip
SAYING = ["--quiet", "--log-json"]
HELP = "-h, --help"
COMMANDS = {
    "render": {
        "This command": ["[CONTENT] STYLE...", "-o, --output POSTER", "--job FILE.toml", "--force-new",
                         "--auto-regions N", *SAYING, HELP],
        **RENDER,
    },
    "dream": {
        "This command": ["IMAGE", "-o, --output OUT [required]", "--layer L [relu4_3]", "--channel N",
                         "--octaves N [4]", "--zoom FRAMES [x>=1]", "--zoom-factor X [1.05]",
                         "--force-new", *SAYING, HELP],
        **RENDER,
    },
    "sheet": {
        "This command": ["[CONTENT] STYLE...", "-o, --output SHEET [required]", "--vary NAME=VALUE,... [required]",
                         "--job FILE.toml", "--auto-regions N", *SAYING, HELP],
        **{name: options for name, options in RENDER.items() if name not in ("The file", "Where it runs")},
        "Where it runs": RUN[1:],
    },
    "proof": {
        "This command": ["[CONTENT] STYLE...", "-o, --output PROOF", "--job FILE.toml", "--force-new",
                         "--auto-regions N", *SAYING, HELP],
        **RENDER,
        "The file": [option for option in FILE if not option.startswith(("--tiles", "--overlay"))],
    },
    "plan": {
        "This command": ["[CONTENT] [STYLE...]", "-o, --output POSTER [poster.png]", "--job FILE.toml",
                         "--auto-regions N", "--json", HELP],
        **RENDER,
    },
    "demo": {
        "This command": ["-o, --output POSTER [default: tiler-demo/poster.png]", *SAYING, "--force-new",
                         "--auto-regions N [2]", HELP],
        **RENDER,
    },
    "export": {"This command": ["STORE", "-o, --output FILE", "--level K", "--quiet", HELP], "The file": FILE},
    "resume": {
        "This command": ["STORE", "-o, --output POSTER", "--inputs DIR", *SAYING, HELP],
        "The file": ["--tiles DIR"],
        "Where it runs": ["--workers N", "--state auto|device|host|store [auto]", "--checkpoint-seconds S [60.0]",
                          "--scheduler tcp://HOST:PORT"],
    },
    "retouch": {
        "This command": ["STORE", "--mask FILE [required]", "--set NAME=VALUE", "-o, --output POSTER [required]",
                         "--feather PX [48]", *SAYING, HELP],
        "Where it runs": ["--workers N", "--state auto|device|host|store [auto]", "--checkpoint-seconds S [60.0]",
                          "--scheduler tcp://HOST:PORT"],
    },
    "queue add": {
        "This command": ["FOLDER", "[CONTENT] STYLE...", "-o, --output POSTER [FOLDER/NAME.png]", "--job FILE.toml",
                         "--name NAME", "--auto-regions N", HELP],
        **RENDER,
        "Where it runs": ["--threads N", "--device auto|cpu|cuda|mps [auto]"],
    },
    "queue run": {
        "This command": ["FOLDER", "--scheduler tcp://HOST:PORT", "--wait", *SAYING, HELP],
        "Where it runs": ["--workers N", "--state auto|device|host|store [auto]", "--checkpoint-seconds S [60.0]"],
    },
    "queue list": {"Options": ["--json", HELP]},
    "queue plan": {"Options": ["--price-per-hour X [x>=0]", "--json", HELP]},
    "learn": {
        "This command": ["PHOTO...", "-o, --output LAND [required]", "--minutes M [15]", "--steps N",
                         "--architecture spatial|dcgan [spatial]", "--channels N [16; dcgan 128]",
                         "--patch PX [128; dcgan 64]", "--batch N [4; dcgan 32]", "--seed N [0]",
                         "--device auto|cpu|cuda [auto]", "--threads N", "--checkpoint-seconds S [60]", "--force-new",
                         *SAYING, HELP],
    },
    "grow": {
        "This command": ["LAND", "-o, --output FILE [required]", "--size WxH [1024x1024, or that of --labels]",
                         "--offset X,Y [0,0]", "--only NAME", "--label '#RRGGBB=NAME'", "--blend PX [64]",
                         "--walk FRAMES", "--to-seed N [seed + 1]", *SAYING, HELP],
        "The file": [option for option in FILE if not option.startswith(("--tiles", "--overlay"))],
        "Look": ["--wrap none|x|y|xy [none]", "--seed N [0]"],
        "Regions": ["--labels FILE"],
        "Where it runs": ["--workers N", "--device auto|cpu|cuda|mps [auto]", "--scheduler tcp://HOST:PORT"],
    },
    "info": {"Options": ["--json", HELP]},
    "verify": {"Options": [HELP]},
    "studio": {"Options": ["--host ADDRESS [127.0.0.1]", "--port N [0<=x<=65535]",
                            "--scheduler tcp://HOST:PORT", HELP]},
    "watch": {"Options": ["--host ADDRESS [127.0.0.1]", "--port N [0<=x<=65535]", "--keep POSTER", HELP]},
}  # fmt: skip


def _groups(text: str) -> dict[str, list[str]]:
    """Group -> its options, with what ends their description in brackets."""
    found: dict[str, list[str]] = {}
    for title, body in re.findall(r"^(\S.*):\n((?:  .*\n)+)", text, re.M):
        for head, first, more in re.findall(r"^  (\S.*?)(?:  +(\S.*))?\n((?:   .*\n)*)", body, re.M):
            default = re.search(r"\[[^\]]*\]$", f"{first} {more}".strip())
            found.setdefault(title, []).append(head + (f" {default[0]}" if default else ""))
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_spelled_as_it_is_known(command: str) -> None:
    assert _groups(run_main(*command.split(), "--help").stdout) == COMMANDS[command]

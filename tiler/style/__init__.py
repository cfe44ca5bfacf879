"""What is minimised: the backbone's features, their statistics, and the losses on them."""

from importlib.util import find_spec
from pathlib import Path

from tiler.errors import InstallError


def _check_kernels() -> None:
    """Another distribution of that name may have been installed over ours, or instead of it."""
    found = find_spec("kernels")
    place = Path(found.origin) if found and found.origin else None
    if place is None or not place.with_name("gram_triton.py").is_file():
        raise InstallError(
            f"the package 'kernels' is {place or 'missing'}, and not the one that tiler-render brings; install "
            "tiler-render into an environment of its own, without the distribution called kernels"
        )


_check_kernels()

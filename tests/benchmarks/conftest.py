"""The benchmarks' modules, which are no package, as their programs import them: after the packages, since one of them
is called as one of these."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

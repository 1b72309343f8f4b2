"""Scripts that have nothing to do start quickly: they load nothing that only the work needs."""

import subprocess
import sys

from conftest import ROOT

# each takes a tenth of a second to some seconds
HEAVY = (
    "jinja2",
    "matplotlib",
    "netCDF4",
    "pandas",
    "planetary_computer",
    "pyogrio",
    "pystac",
    "pystac_client",
    "requests",
    "scipy",
    "shapely",
    "torch",
    "wandb",
)


def test_stage_scripts_load_no_heavy_package_before_there_is_work():
    code = (
        "import sys, dataAPI, alignment, createPatches, movement\n"
        "from DeepLearning import evaluate, forecast, trainUNet\n"
        f"print(*sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []

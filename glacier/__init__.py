"""What the scripts are made of; docs/ARCHITECTURE.md says which room holds what."""

import os
from importlib.util import find_spec
from pathlib import Path

# where QGIS or conda say that their PROJ and GDAL have their data
_OF_OTHERS = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")


def _leave_out_other_installations() -> None:
    """Forget where other installations keep their data, if ours brings its own: theirs is of other versions."""
    package = find_spec("rasterio")
    if (
        package is not None
        and package.origin
        and (Path(package.origin).parent / "proj_data").is_dir()
    ):
        for name in _OF_OTHERS:
            os.environ.pop(name, None)


_leave_out_other_installations()


def open(name: str):
    """Return a glacier's results as xarray data sets: `composites`, `forecast`, `velocity`, and `table`.

    name : its folder under datasets/. GlacierError if alignment.py has not run for it.
    """
    import config
    from glacier.export import Opened

    return Opened(config.load(config.Config, name=name))

"""What is written as NetCDF is read back by xarray at the right place and time."""

from datetime import date

import numpy as np
import pytest
import rasterio
import xarray
from rasterio.crs import CRS

from glacier.storage import netcdf

TRANSFORM = (30.0, 0.0, 600015.0, 0.0, -30.0, 3500025.0)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "made.nc"
    with netcdf.writing(path, title="test") as dataset:
        netcdf.add_grid(dataset, "EPSG:32643", TRANSFORM, (3, 5))
        netcdf.add_time(
            dataset, [date(2020, 1, 1), date(2020, 4, 1)], [date(2020, 4, 1), date(2020, 7, 1)]
        )
        values = netcdf.add_variable(dataset, "index", ("time", "y", "x"), "f4", "1", "snow index")
        values[:] = np.arange(30).reshape(2, 3, 5)
        values[0, 0, 0] = np.nan
    return path


def test_values_lie_where_and_when_they_were(path):
    with xarray.open_dataset(path) as dataset:
        assert dataset.index[1, 2, 4] == 29
        assert np.isnan(dataset.index[0, 0, 0])
        assert dataset.x[0] == 600030
        assert dataset.y[0] == 3500010
        assert str(dataset.time.values[0])[:10] == "2020-02-15"
        bounds = dataset.time_bounds.values.astype("datetime64[D]").astype(str)
        assert bounds.tolist() == [["2020-01-01", "2020-04-01"], ["2020-04-01", "2020-07-01"]]


def test_gdal_finds_the_same_map(path):
    with rasterio.open(f"netcdf:{path}:index") as file:
        assert file.crs == CRS.from_epsg(32643)
        assert tuple(file.transform)[:6] == pytest.approx(TRANSFORM)
        assert file.read(2)[2, 4] == 29


@pytest.mark.parametrize("crs", ["EPSG:32643", "EPSG:32719", "EPSG:3413", "EPSG:3031"])
def test_the_named_projection_is_that_of_the_code(crs):
    """The attributes that CF names stand for the same projection as the code."""
    attributes = netcdf.projection(crs)
    known = CRS.from_string(crs).to_dict(projjson=True)
    parameters = {entry["name"]: entry["value"] for entry in known["conversion"]["parameters"]}
    assert attributes["false_northing"] == parameters["False northing"]
    assert attributes["false_easting"] == parameters["False easting"]
    if "longitude_of_central_meridian" in attributes:
        assert (
            attributes["longitude_of_central_meridian"] == parameters["Longitude of natural origin"]
        )
    else:
        assert attributes["standard_parallel"] == parameters["Latitude of standard parallel"]
        assert (
            attributes["straight_vertical_longitude_from_pole"] == parameters["Longitude of origin"]
        )


def fail(path):
    with netcdf.writing(path) as dataset:
        netcdf.add_grid(dataset, "EPSG:32643", TRANSFORM, (3, 5))
        raise RuntimeError


def test_a_file_that_failed_is_not_there(path):
    before = path.read_bytes()
    with pytest.raises(RuntimeError):
        fail(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["made.nc"]

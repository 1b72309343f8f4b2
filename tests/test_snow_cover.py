"""Snow-covered area, snow line and hydrological year against numbers worked out by hand."""

from datetime import date

import numpy as np
import pytest

from glacier.snow_cover import Altitudes, SnowYear, covered_area, summer_start, year_end, year_start


def test_hydrological_years():
    assert year_start(date(2020, 9, 30), southern=False) == date(2019, 10, 1)
    assert year_start(date(2020, 10, 1), southern=False) == date(2020, 10, 1)
    assert year_start(date(2020, 3, 31), southern=True) == date(2019, 4, 1)
    assert year_start(date(2020, 4, 1), southern=True) == date(2020, 4, 1)
    assert year_end(date(2019, 10, 1)) == date(2020, 10, 1)
    assert summer_start(date(2019, 10, 1)) == date(2020, 7, 1)
    assert summer_start(date(2019, 4, 1)) == date(2020, 1, 1)


def test_area():
    assert covered_area(np.array([[True, False], [True, True]]), 900.0) == pytest.approx(0.0027)
    assert covered_area(np.full((10, 10), 0.25), 1e6) == pytest.approx(25)


def test_snow_line_lies_between_bare_and_snow():
    elevation = np.arange(12.0).reshape(3, 4) * 100
    elevation[0, 0] = np.nan
    altitudes = Altitudes(elevation)
    assert altitudes.snow_line(elevation > 650) == 650
    assert altitudes.snow_line(np.ones((3, 4), bool)) == 100
    assert altitudes.snow_line(np.zeros((3, 4), bool)) == 1100
    assert np.isnan(Altitudes(np.full((2, 2), np.nan)).snow_line(np.ones((2, 2), bool)))


def test_snow_line_of_probabilities_and_of_stray_pixels():
    """One bare pixel high up and one snowy one far below do not move the line; probabilities count as shares."""
    elevation = np.arange(100.0).reshape(10, 10)
    snow = elevation >= 40
    altitudes = Altitudes(elevation)
    snow[8, 0], snow[1, 0] = False, True
    assert altitudes.snow_line(snow) == 39.5
    assert altitudes.snow_line(1 / (1 + np.exp(-(elevation - 60.5) / 5))) == 60.5


def test_a_year_of_four_steps_by_hand():
    """Three pixels: always snow, snow in winter and spring, never; the steps are calendar quarters."""
    elevation = np.array([[3000.0, 2000.0, 1000.0]])
    ice = np.array([[True, True, False]])
    year = SnowYear(date(2019, 10, 1), (1, 3), Altitudes(elevation), ice)
    quarters = [date(2019, 10, 1), date(2020, 1, 1), date(2020, 4, 1), date(2020, 7, 1)]
    ends = [*quarters[1:], date(2020, 10, 1)]
    maps = [[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]]
    for begin, end, snow in zip(quarters, ends, maps, strict=True):
        year.add(begin, end, np.array([snow], bool))
    numbers = year.numbers()
    assert numbers["snow_cover_days"] == pytest.approx((366 + 91 + 91) / 3)
    assert numbers["first_snow_day"] == pytest.approx((0 + 92) / 2)
    assert numbers["last_snow_day"] == pytest.approx((365 + 92 + 182 - 1) / 2)
    assert numbers["end_of_summer_snow_line"] == 2500
    assert numbers["accumulation_area_ratio"] == 0.5
    assert year.day(92) == date(2020, 1, 1)


def test_the_end_of_summer_is_when_snow_covers_least():
    """Three months of summer: the highest snow line and the smallest covered share are those of August."""
    elevation = np.arange(10.0)[None] * 100
    year = SnowYear(date(2019, 10, 1), (1, 10), Altitudes(elevation), np.ones((1, 10), bool))
    for month, bare in ((6, 9), (7, 3), (8, 8), (9, 5)):  # June is no summer yet
        year.add(date(2020, month, 1), date(2020, month + 1, 1), np.arange(10)[None] >= bare)
    numbers = year.numbers()
    assert numbers["end_of_summer_snow_line"] == 750
    assert numbers["accumulation_area_ratio"] == 0.2


def test_a_step_across_the_turn_of_the_year_counts_its_own_days():
    """Half-year steps: the first holds only October to December of this hydrological year."""
    year = SnowYear(date(2019, 10, 1), (1, 1))
    snow = np.ones((1, 1), bool)
    year.add(date(2019, 7, 1), date(2020, 1, 1), snow)
    assert year.numbers()["snow_cover_days"] == 92
    year.add(date(2020, 7, 1), date(2021, 1, 1), snow)
    assert year.numbers()["snow_cover_days"] == 92 + 92
    assert year.numbers()["last_snow_day"] == 365


def test_a_year_without_snow():
    year = SnowYear(date(2019, 10, 1), (2, 2))
    year.add(date(2019, 10, 1), date(2020, 10, 1), np.zeros((2, 2), bool))
    numbers = year.numbers()
    assert numbers.pop("snow_cover_days") == 0
    assert np.isnan(list(numbers.values())).all()

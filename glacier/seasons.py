"""The steps of a year: seasons, months, or equal parts."""

from __future__ import annotations

from datetime import date, timedelta


def year_step(day: date, steps_per_year: int) -> int:
    """Return the number of the step that holds a day, counted from the year 0.

    Steps are whole months where these divide among them (4: calendar quarters), else equal numbers of days.
    """
    if 12 % steps_per_year == 0:
        return day.year * steps_per_year + (day.month - 1) * steps_per_year // 12
    days = date(day.year, 12, 31).timetuple().tm_yday
    return day.year * steps_per_year + (day.timetuple().tm_yday - 1) * steps_per_year // days


def step_date(step: int, steps_per_year: int) -> date:
    """Return the first day of a step of year_step."""
    year, part = divmod(step, steps_per_year)
    if 12 % steps_per_year == 0:
        return date(year, 1 + part * 12 // steps_per_year, 1)
    days = date(year, 12, 31).timetuple().tm_yday
    return date(year, 1, 1) + timedelta(days=-(-part * days // steps_per_year))


def step_middle(step: int, steps_per_year: int) -> date:
    """Return the day in the middle of a step of year_step."""
    first = step_date(step, steps_per_year)
    after = step_date(step + 1, steps_per_year)
    return first + (after - first) / 2


def step_name(first: date, steps_per_year: int) -> str:
    """Return what to call a step that begins on `first`: Jul-Sep 2021, Jul 2021, 8-15 Jul 2021, 31 Jul-7 Aug 2021."""
    last = step_date(year_step(first, steps_per_year) + 1, steps_per_year) - timedelta(days=1)
    if 12 % steps_per_year:
        if last.month == first.month:
            return f"{first.day}-{last.day} {first:%b %Y}"
        return f"{first.day} {first:%b}-{last.day} {last:%b %Y}"
    if last.month == first.month:
        return f"{first:%b %Y}"
    return f"{first:%b}-{last:%b %Y}"

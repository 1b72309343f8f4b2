"""The viewer shows the numbers of the files: a real browser slides, clicks and reads; the files say what is right."""

import json
import re

import numpy as np
import pytest
import rasterio
from conftest import ARTEFACTS, run_folder


@pytest.fixture
def page(finished_home, browser):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto((finished_home / "datasets" / "small" / "report.html").as_uri())
    yield page
    page.close()


def click(page, shape, row, column):
    """Click on a pixel of the map; return what is told of it."""
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    place = {
        "x": (column + 0.5) * box["width"] / shape[1],
        "y": (row + 0.5) * box["height"] / shape[0],
    }
    page.locator("#map").click(position=place)
    return page.locator("#readout").inner_text()


def slide(page, frame):
    page.locator("#time").evaluate(
        "(slider, frame) => { slider.value = frame; slider.dispatchEvent(new Event('input')); }",
        frame,
    )


def number(text, word):
    return float(text.split(word)[1].split(",")[0])


def test_what_is_shown_is_what_the_files_hold(finished_home, page):
    folder = finished_home / "datasets" / "small" / "aligned"
    values, observed = np.load(folder / "composites.npy"), np.load(folder / "observed.npy")
    shape = values.shape[2:]
    dates = json.loads((folder / "composites.json").read_text())["dates"]
    row, column = 30, 70
    for step in (0, 7, len(values) - 1):
        slide(page, step)
        told = click(page, shape, row, column)
        assert told.startswith(f"row {row}, column {column}:")
        assert number(told, "snow index") == pytest.approx(values[step, 0, row, column], abs=0.01)
        assert told.endswith("observed" if observed[step, row, column] else "filled")
        label = page.locator("#label").inner_text()
        assert label.startswith(dates[step])
        (share,) = re.findall(r": (\d+) % observed", label)
        assert int(share) == pytest.approx(100 * observed[step].mean(), abs=0.51)
    shown = page.eval_on_selector_all(
        "#series .observed", "dots => dots.map(dot => [+dot.dataset.frame, +dot.dataset.value])"
    )
    steps = np.flatnonzero(observed[:, row, column])
    assert [frame for frame, _ in shown] == steps.tolist()
    assert [value for _, value in shown] == pytest.approx(
        values[steps, 0, row, column].tolist(), abs=0.005
    )
    page.locator("#viewer").screenshot(path=ARTEFACTS / "viewer.png")


def test_forecast_and_velocity_are_those_of_the_files(finished_home, page):
    folder = run_folder(finished_home) / "forecast"
    steps = len(np.load(finished_home / "datasets" / "small" / "aligned" / "composites.npy"))
    row, column = 12, 50
    with rasterio.open(folder / "forecast.tif") as file:
        bands = {
            (file.tags(band)["QUANTITY"], file.tags(band)["DATES"]): file.read(band)[row, column]
            for band in file.indexes
        }
        shape = file.shape
    spans = sorted({span for _, span in bands})
    slide(page, steps + 1)
    told = click(page, shape, row, column)
    assert number(told, "mean") == pytest.approx(bands["mean", spans[1]], abs=0.01)
    page.locator("#show").select_option(label="snow index; forecast: P(snow)")
    told = page.locator("#readout").inner_text()
    assert number(told, "P(snow)") == pytest.approx(bands["p_snow", spans[1]], abs=0.01)
    shown = page.eval_on_selector_all(
        "#series .band", "bars => bars.map(bar => [+bar.dataset.low, +bar.dataset.high])"
    )
    for span, (low, high) in zip(spans, shown, strict=True):
        assert low == pytest.approx(bands["q05", span], abs=0.005)
        assert high == pytest.approx(bands["q95", span], abs=0.005)
    page.locator("#show").select_option(label="speed of the ice")
    velocity = finished_home / "datasets" / "small" / "movement" / "velocity.tif"
    with rasterio.open(velocity) as file:
        (speed,) = next(
            file.sample(
                [rasterio.transform.xy(pixels(finished_home), row, column)],
                indexes=file.descriptions.index("speed") + 1,
            )
        )
    told = page.locator("#readout").inner_text()
    if np.isnan(speed):
        assert "unknown" in told
    else:
        assert number(told, "[m/yr]") == pytest.approx(speed, rel=0.02, abs=0.5)


def pixels(home):
    """The map transform of the composites."""
    folder = home / "datasets" / "small" / "aligned"
    return rasterio.Affine(*json.loads((folder / "composites.json").read_text())["transform"])

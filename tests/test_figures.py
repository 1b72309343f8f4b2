"""Pictures carry their scale, and the report page carries everything else with it."""

import base64
import datetime as dt
import functools
import html
import io
import re
import tempfile
from pathlib import Path

import layout
import numpy as np
import pytest
from PIL import Image, ImageSequence

from config import Config
from glacier.figures import animations, charts, maps, skill
from glacier.report import answer, movement, pages, scenes
from glacier.storage import runner

SCENE = np.linspace(0, 1, 40 * 60, dtype=np.float32).reshape(40, 60)


@pytest.mark.parametrize(
    ("pixel_size", "text"), [(30.0, "500 m"), (460.0, "5 km"), (10.0, "200 m"), (0.5, "10 m")]
)
def test_the_scale_bar_is_as_long_as_it_says(pixel_size, text):
    _, (axis,) = maps.draw_maps([SCENE], ["2020-01-01"], "NDSI [1]", (0, 1), "cividis", 1)
    maps.add_scale(axis, 60, pixel_size)
    assert text in [word.get_text() for word in axis.texts]
    left, right = axis.lines[0].get_xdata()
    number, unit = text.split()
    assert (right - left) * 60 * pixel_size == pytest.approx(
        float(number) * {"m": 1, "km": 1000}[unit]
    )


def test_equal_pictures_are_equal_bytes(tmp_path):
    days = [dt.date(2013, 4, 18), dt.date(2014, 12, 31)]
    for draw in (
        lambda path: maps.map_row(path, [SCENE] * 3, list("abc"), "NDSI [1]", pixel_size=30.0),
        lambda path: charts.calendar(path, days, [0.2, 1.0], "seen [1]"),
        lambda path: animations.animation(path, [SCENE, SCENE / 2], ["a", "b"], "NDSI [1]"),
        lambda path: charts.curves(path, days, {"x": [1.0, 2.0]}, "date", "shift [m]"),
    ):
        assert draw(tmp_path / "one").read_bytes() == draw(tmp_path / "two").read_bytes()


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """A glacier with a name to escape, two finished stages, a run and runs of others, each with a section."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    cfg = Config(name="a <b> & c", boundingBox=(77.4, 32.0, 77.6, 32.2))
    finish(cfg.folder / "rawData", {})
    finish(
        cfg.folder / "aligned",
        {"rawData": runner.manifest_hash(runner.read_manifest(cfg.folder / "rawData"))},
    )
    runs = tmp_path / "DeepLearning" / "runs"
    for name in (cfg.name, cfg.name + "-2", "another"):
        finish(runs / f"{name}-Network-001", {"patches": "1"})
        finish(runs / f"{name}-Network-001" / "evaluation", {"run": "1"})
    finish(runs / "another-Network-001" / f"forecast-{cfg.name}", {"run": "1"})
    return cfg


@functools.cache
def drawn() -> bytes:
    """Return a picture, drawn once for all."""
    with tempfile.TemporaryDirectory() as folder:
        path = maps.map_row(Path(folder) / "map.png", [SCENE], ["2020"], "NDSI [1]")
        return path.read_bytes()


def finish(folder, inputs):
    picture = folder / "quicklooks" / "a picture.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(drawn())
    rows, fold = [("scene", "snow [%]"), ("x", 1.5)], pages.Fold("Ids", [("id",), ("LC08",)])
    section = pages.section(
        folder,
        f"Made by {folder.name}",
        "One & two < three",
        rows,
        pages.Picture(picture, 'A "map"'),
        fold,
    )
    runner.write_manifest(folder, {"years": [2013, 2022]}, inputs, [picture, section], {}, 1.0)


def test_the_report_shows_a_glaciers_sections_in_run_order_and_needs_no_other_file(cfg):
    page = pages.report(cfg).read_text()
    assert [html.unescape(head) for head in re.findall("<h2>(.*?)</h2>", page)] == [
        "Made by rawData",
        "Made by aligned",
        "Made by a <b> & c-Network-001",
        "Made by evaluation",
        "Made by forecast-a <b> & c",
        "Glossary",
    ]
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in page
    assert (
        len(
            re.findall(
                r'<img src="data:image/png;base64,[\w+/=]{1000,}" alt="A &#34;map&#34;">', page
            )
        )
        == 5
    )
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "One &amp; two &lt; three" in page
    assert '<td class="number">1.5</td>' in page
    assert "numpy:" in page
    assert "changed since" not in page
    assert pages.report(cfg).read_text() == page


def test_the_report_leaves_out_what_is_not_finished_and_tells_what_is_old(cfg):
    finish(cfg.folder / "rawData", {"source": "another"})
    (cfg.folder / "rawData" / "quicklooks" / "a picture.png").unlink()
    assert "rawData changed since: run this again" in pages.report(cfg).read_text()
    (cfg.folder / "aligned" / "manifest.yaml").unlink()
    assert "Made by aligned" not in pages.report(cfg).read_text()


@pytest.mark.parametrize("shape", [(40, 60), (60, 60), (80, 60), (100, 205), (45, 56)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_nothing_sticks_out_of_a_picture(shape, count):
    for image in (np.zeros(shape), np.zeros((3, *shape))):
        titles = ["2020-01-01 forecast"] * count
        figure, _ = maps.draw_maps([image] * count, titles, "NDSI [1]", (0, 1), "cividis", 2)
        figure.draw_without_rendering()
        for axis in figure.axes:
            left, bottom, right, top = axis.get_tightbbox().extents
            assert min(left, bottom) >= -1
            assert right <= figure.bbox.width + 1
            assert top <= figure.bbox.height + 1


def test_a_section_full_of_scripts_stays_text(tmp_path):
    attack = "<script>alert(1)</script>"
    picture = pages.Picture(tmp_path / f"{attack[:8]}.png", attack)
    rows = [(attack, "n"), (attack, 1.0)]
    path = pages.section(tmp_path, attack, attack, rows, picture, pages.Fold(attack, rows))
    piece = path.read_text()
    assert "<script" not in piece
    assert html.unescape(piece).count("<script") == 10


def test_pictures_that_would_make_the_page_too_large_are_made_smaller(cfg, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (300, 1500, 3), np.uint8)
    picture = cfg.folder / "rawData" / "quicklooks" / "a picture.png"
    Image.fromarray(noise).save(picture)
    path = pages.report(cfg)
    whole = path.read_text()
    assert "image/webp" not in whole
    path.unlink()
    monkeypatch.setattr(pages, "MOST_BYTES", picture.stat().st_size)
    page = pages.report(cfg).read_text()
    assert page.count("image/png") == 4
    (small,) = re.findall('data:image/webp;base64,([^"]+)', page)
    with Image.open(io.BytesIO(base64.b64decode(small))) as image:
        assert image.size == (1000, 200)
    assert len(page) < len(whole) / 2


def test_a_page_of_the_present_stages_stays(cfg):
    path = pages.report(cfg)
    path.write_text(path.read_text().replace("One &amp; two", "One and two"))
    assert "One and two" in pages.report(cfg).read_text()
    finish(cfg.folder / "aligned", {"rawData": "other"})
    assert "One and two" not in pages.report(cfg).read_text()


def test_the_trend_of_snow_is_that_put_in():
    """1.5 km2 less each year, below a season of 200 km2 and seen half of the time."""
    days = [dt.date(year, month, 1) for year in range(2010, 2020) for month in (1, 4, 7, 10)]
    season = np.array([200.0, 150.0, 10.0, 60.0] * 10)
    noise = np.random.default_rng(0).normal(0, 1, 40)
    values = season + noise - 1.5 * np.repeat(np.arange(10), 4)
    text = answer.trend(days, values)
    slope, low, high, count = map(float, re.findall(r"[-+]?[\d.]+(?!²)", text.replace("km²", "")))
    assert slope == pytest.approx(-1.5, abs=0.15)
    assert low < -1.5 < high
    assert high - low < 0.5
    assert count == 40
    assert "no trend" in answer.trend(days[:8], values[:8])


def test_the_first_page_says_what_is_known_and_what_is_not_yet(cfg):
    first = answer.answer(cfg, [])
    assert first.place == "32.10° N, 77.50° E"
    values = {figure.name: figure.value for figure in first.figures}
    assert values["Scenes"] == "none yet"
    assert values["Forecast"] == "not scored yet"
    folder = cfg.folder.parent.parent / "DeepLearning/runs/a-Network-001/forecast"
    folder.mkdir(parents=True)
    head = "part,first_day,last_day,quantity,unit,p5,p50,p95,observed_pixels"
    rows = [
        f"past,{year}-{month:02d}-01,{year}-{month:02d}-28,snow_covered_area,km2,1,{area},9,{seen}"
        for year in range(2010, 2016)
        for month, area, seen in ((1, 30, 100), (7, 10, 100), (10, 500, 20))
    ]
    line = "past,2014-10-01,2015-09-30,end_of_summer_snow_line,m,4800,4900,5000,300"
    (folder / "snow.csv").write_text("\n".join([head, *rows, line]))
    values = {figure.name: figure for figure in answer.answer(cfg, [folder]).figures}
    assert values["Snow-covered area"].value == "20 km²"  # October was hardly seen
    assert values["Snow line at the end of summer"].value == "4900 m"
    assert values["Snow line at the end of summer"].note == "4800 to 5000 m, 2015"


# ── What pictures show ───────────────────────────────────────────────────────────────────────────────────────────


def pixels(path) -> np.ndarray:
    """A picture as numbers, (h, w, 3)."""
    with Image.open(path) as image:
        return np.array(image.convert("RGB")).astype(int)


def test_what_is_missing_is_hatched_and_what_was_filled_is_pale(tmp_path):
    """A map of one value: its left half seen, its right half filled, its lower half unknown."""
    image = np.ones((40, 40), np.float32)
    image[20:] = np.nan
    seen = np.zeros((40, 40), bool)
    seen[:, :20] = True
    for shape in (image, np.stack([image, image, 0 * image])):
        path = maps.map_row(
            tmp_path / "map.png", [shape], ["a"], "NDSI [1]", columns=1, seen=[seen]
        )
        picture = pixels(path)
        inside = picture[40:-110] if shape.ndim == 2 else picture[40:-10]
        height, width = inside.shape[:2]
        full, pale = inside[height // 5, width // 4], inside[height // 5, 3 * width // 4]
        assert full[2] < 100 < pale[2]  # yellow has little blue
        hatched = inside[3 * height // 4, 20 : width - 20]
        assert np.ptp(hatched, axis=1).max() < 6  # grey
        assert np.ptp(hatched[:, 0]) > 60  # lines on a light ground


def test_a_map_without_any_value_says_so(tmp_path):
    nothing = np.full((20, 20), np.nan)
    figure, (axis, _) = maps.draw_maps([nothing, SCENE], ["a", "b"], "x", (0, 1), "cividis", 2)
    assert [text.get_text() for text in axis.texts] == ["not observed"]
    figure, (axis,) = maps.draw_maps([nothing], ["a"], "x", (0, 1), "cividis", 1, empty="never")
    assert [text.get_text() for text in axis.texts] == ["never"]


def test_only_the_map_changes_from_frame_to_frame(tmp_path):
    """Colour bar, frame and size stay as they are, however different the maps: one palette for all."""
    images = [np.zeros((40, 60)), SCENE, np.full((40, 60), 0.5)]
    path = animations.animation(tmp_path / "a.gif", images, ["a", "b", "c"], "NDSI [1]")
    with Image.open(path) as gif:
        frames = [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]
    bars = [frame[-60:] for frame in frames]
    assert len({bar.tobytes() for bar in bars}) == 1
    assert len(np.unique(bars[0].reshape(-1, 3), axis=0)) > 50
    assert (frames[0][:3] == 255).all()
    assert not (frames[0][:40] == 255).all()  # no wide margin above the title


def test_a_skill_of_two_hundredths_is_seen_beside_one_that_is_hopeless(tmp_path):
    lines = {
        "network": skill.Line([0.02, 0.01], [-0.01, np.nan], [0.05, np.nan]),
        "persistence": skill.Line([-2.6, -3.0], [-8.0, np.nan], [-0.4, np.nan]),
    }
    low, high = skill.limits_around({"network": lines["network"]})
    assert -0.04 < low < -0.01
    assert 0.05 < high < 0.07
    low, high = skill.limits_around(lines)
    assert -0.4 < low < skill.LOWEST
    assert skill.skill_by_lead(
        tmp_path / "skill.png", {"region seen": lines}, "skill [1]"
    ).is_file()


@pytest.mark.parametrize("count", [1, 4])
def test_a_band_of_one_date_is_seen_as_well(tmp_path, count):
    """The share of the picture in the band's colour, of one date or of several."""
    dates = [dt.date(2020, month, 1) for month in range(1, count + 1)]
    quantiles = np.array([0.1, 0.3, 0.5, 0.7, 0.9])[None, :, None] * np.ones(count)
    truths = np.full((1, count), 0.6)
    path = skill.bands(tmp_path / "b.png", dates, quantiles, truths, ["a"], "NDSI [1]")
    red, _, blue = np.moveaxis(pixels(path), -1, 0)
    assert (blue - red > 15).mean() > 0.004


def test_the_axis_of_a_split_names_years_or_days():
    years = [f"{year}-{month:02d}-01" for year in range(2013, 2031) for month in (1, 4, 7, 10)]
    places, names = charts.step_ticks(years)
    assert names == ["2013", "2016", "2019", "2022", "2025", "2028"]
    assert [years[place] for place in places] == [f"{name}-01-01" for name in names]
    days = [str(dt.date(2015, 4, 1) + dt.timedelta(8 * step)) for step in range(27)]
    places, names = charts.step_ticks(days)
    assert len(places) <= 8
    assert names[:2] == ["1 Apr\n2015", "3 May\n2015"]


def test_the_clearest_scene_is_one_that_looks_as_most_do():
    """An overcast day and a dark one, both called clear, lose against any day that shows the ground."""
    rng = np.random.default_rng(0)
    ground = rng.random((3, 30, 30))
    images = [ground + rng.normal(0, 0.05, ground.shape) for _ in range(5)]
    overcast = 0.9 + rng.normal(0, 0.02, ground.shape)
    dark = 0.01 + rng.normal(0, 0.005, ground.shape)
    flat = np.full_like(ground, 0.5)
    clouded = np.where(np.arange(30) < 15, np.nan, images[0])
    days = [overcast, dark, flat, *images, clouded]
    candidates = [
        scenes.Candidate(str(number), 1.0, image, "red, green, blue", 1)
        for number, image in enumerate(days)
    ]
    assert scenes.clearest_of(candidates).title in "345678"
    assert scenes.clearest_of(candidates[:1]).title == "0"


def test_a_frame_of_the_moving_ice_shows_it_whole():
    """One scene a year, of the clearest one's season; a year whose scenes are half hidden has none."""
    days = [dt.date(year, month, 10) for year in (2013, 2014, 2015) for month in (3, 9, 10)]
    images = np.ones((9, 20, 20), np.float32)
    images[1:3, :10] = np.nan  # 2013 in autumn
    images[4] = np.nan
    part = (slice(0, 15), slice(0, 20))
    texture = np.array([0.9, 0.5, 0.5, 0.9, 0.8, 0.5, 0.9, 0.6, 0.5])
    chosen = movement.scene_a_year(images, days, texture, part, clearest=7)
    assert [days[scene] for scene in chosen] == [dt.date(2014, 10, 10), dt.date(2015, 9, 10)]


def figure_of(draw):
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    draw(figure, figure.subplots())
    return figure


@pytest.mark.parametrize(
    ("draw", "fault"),
    [
        (lambda figure, axis: None, "a panel is empty"),
        (lambda figure, axis: axis.set_title("emptied"), "a panel is empty"),
        (lambda figure, axis: axis.imshow(np.full((3, 3), np.nan)), "grey without a word"),
        (lambda figure, axis: axis.plot([0, 1], label="x") and axis.legend(), "a legend lies over"),
        (lambda figure, axis: axis.plot([0, 1]) and axis.set_title("1 windows"), "one as many"),
    ],
)
def test_the_layout_check_notices(draw, fault):
    (found,) = layout.problems(figure_of(draw), whole=True)
    assert fault in found
    assert not layout.problems(figure_of(lambda figure, axis: axis.plot([0, 1])), whole=True)

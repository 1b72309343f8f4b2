"""The notebook: what its functions say of a box, its cells with shapes put in by hand, and drawn in a real browser."""

import functools
import html
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
import shapely
import yaml
from conftest import ARTEFACTS, ROOT, environment

import config
from config import Config, GlacierError
from glacier import glaciers, region
from glacier.grid import make_grid
from glacier.outlines import outline_mask
from glacier.patches.split import patch_parts

NOTEBOOK = ROOT / "getCoordinatesFromMap.ipynb"
BOX = (77.4, 32.0, 77.6, 32.2)


def rectangle(west, south, east, north) -> dict:
    return glaciers.as_feature((west, south, east, north), {})


def quadrilateral(*points) -> dict:
    return {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [[*points, points[0]]]},
    }


# ── The functions ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rectangle_is_read_wherever_the_map_was_scrolled_to():
    assert glaciers.read_rectangle([rectangle(*BOX)]) == BOX
    assert glaciers.read_rectangle([rectangle(77.4 + 360, 32, 77.6 + 360, 32.2)]) == BOX
    assert glaciers.read_rectangle([rectangle(77.4 - 720, 32, 77.6 - 720, 32.2)]) == BOX
    assert glaciers.read_rectangle([]) is None


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ([rectangle(*BOX), rectangle(1, 2, 3, 4)], "2 shapes"),
        (
            [quadrilateral((77.5, 32), (77.6, 32.1), (77.5, 32.2), (77.4, 32.1))],
            "no upright rectangle",
        ),
        (
            [quadrilateral((77.4, 32), (77.6, 32), (77.6, 32.2), (77.5, 32.3), (77.4, 32.2))],
            "no upright rectangle",
        ),
        ([quadrilateral((77.4, 32), (77.4, 32), (77.4, 32))], "no upright rectangle"),
        (
            [{"type": "Feature", "geometry": {"type": "Point", "coordinates": [77, 32]}}],
            "no upright rectangle",
        ),
        ([rectangle(179.9, 65, 180.1, 65.1)], "antimeridian"),
        ([rectangle(-180.1, 65, -179.9, 65.1)], "antimeridian"),
    ],
)
def test_other_shapes_are_refused_with_a_reason(features, says):
    with pytest.raises(GlacierError, match=says):
        glaciers.read_rectangle(features)


def test_a_pulled_corner_takes_its_neighbours_along():
    pulled = quadrilateral((77.4, 32.0), (77.4, 32.2), (77.7, 32.3), (77.6, 32.0))
    assert glaciers.read_rectangle([pulled], BOX) == (77.4, 32.0, 77.7, 32.3)
    with pytest.raises(GlacierError, match="no upright rectangle"):
        glaciers.read_rectangle([pulled])


def plan_of(box):
    """What a box means under the default settings."""
    cfg = Config(boundingBox=box)
    return glaciers.plan_box(
        cfg.boundingBox,
        cfg.years,
        cfg.sensor[0],
        cfg.pixelSize,
        cfg.stepsPerYear,
        cfg.patchSize,
        cfg.stride,
    )


def lines_of(cfg):
    """The edit block's lines for a glacier."""
    return glaciers.edit_lines(cfg.name, cfg.boundingBox, cfg.years)


def test_what_a_box_means_is_what_the_stages_make_of_it():
    cfg = Config(boundingBox=BOX)
    facts, warnings = plan_of(BOX)
    grid = make_grid(BOX, 30.0, 15.0)
    assert warnings == []
    assert facts["UTM zone"] == "43 N"
    assert facts["pixels"] == f"{grid.shape[0]} x {grid.shape[1]} of 30 m"
    assert facts["composites"] == "40 in 2013-2022"
    patches = patch_parts(grid.shape, cfg.patchSize, cfg.stride, None).size
    assert facts["patches"] == f"{patches:,} of 50 x 50 px a composite"
    area = float(facts["area"].split()[0])
    assert area == pytest.approx(
        18.86 * 22.18, rel=0.005
    )  # km: WGS 84 arcs of 0.2 degrees at 32.1 N


@pytest.mark.parametrize(
    ("drawn", "says"),
    [
        ((77.4, 32.0, 77.41, 32.01), "Too small: a patch has 50 px"),
        ((70.0, 30.0, 75.0, 35.0), "Very large"),
    ],
)
def test_an_unreasonable_box_is_warned_of(drawn, says):
    assert any(says in warning for warning in plan_of(drawn)[1])


@pytest.mark.parametrize(
    ("drawn", "zone"),
    [
        ((-73.4, -50.6, -73.0, -50.3), "18 S"),
        ((-35.0, 83.9, -34.0, 84.2), "none, polar stereographic"),
        ((160.0, -80.5, 160.5, -80.3), "none, polar stereographic"),
    ],
)
def test_zones_are_named_from_pole_to_pole(drawn, zone):
    assert plan_of(drawn)[0]["UTM zone"] == zone


def test_a_glacier_is_not_written_over_unasked_and_keeps_its_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    path = glaciers.write_glacier(Config(name="beas", boundingBox=BOX))
    assert config.load(Config, name="beas").boundingBox == BOX
    path.write_text(path.read_text().replace("2013", "2015") + "stepsPerYear: 12\n")
    moved = Config(name="beas", boundingBox=(77.0, 32.0, 77.2, 32.2))
    with pytest.raises(glaciers.GlacierExistsError, match="there already"):
        glaciers.write_glacier(moved)
    glaciers.write_glacier(moved, replace=True)
    cfg = config.load(Config, name="beas")
    assert (cfg.boundingBox, cfg.years, cfg.stepsPerYear) == (moved.boundingBox, (2015, 2022), 12)
    (tmp_path / "datasets" / "broken").mkdir()
    (tmp_path / "datasets" / "broken" / "glacier.yaml").write_text("boundingBox: [")
    assert glaciers.known_glaciers() == {"beas": moved.boundingBox}


def test_the_printed_lines_are_lines_of_the_edit_block():
    source = (ROOT / "config.py").read_text()
    assert lines_of(Config()) in source
    scope = {"__name__": "edited"}
    sys.modules["edited"] = type(sys)("edited")  # where dataclasses look up annotations
    lines = lines_of(Config(name='5 o"clock', boundingBox=BOX, years=(2015, 2016)))
    exec(
        source.replace(lines_of(Config()), lines).replace(
            "__file__", repr(str(ROOT / "config.py"))
        ),
        scope,
    )
    edited = scope["Config"]()
    assert (edited.name, edited.boundingBox, edited.years) == ('5 o"clock', BOX, (2015, 2016))


def test_a_typed_place_is_read():
    assert glaciers.read_place("32.1, 77.65") == (32.1, 77.65)
    assert glaciers.read_place("-50.5 -73.2") == (-50.5, -73.2)
    for text in ("", "Parvati", "1, 2, 3", "95, 10"):
        with pytest.raises(GlacierError):
            glaciers.read_place(text)


def saved_items(folder: Path, years) -> str:
    """A saved answer of an archive: an item in the middle of each year, over BOX."""
    features = []
    for year in years:
        features.append(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": f"scene-{year}",
                "collection": "landsat-c2-l2",
                "bbox": BOX,
                "geometry": None,
                "links": [],
                "properties": {"datetime": f"{year}-07-01T05:00:00Z", "platform": "landsat-8"},
                "assets": {},
            }
        )
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def test_the_years_of_the_archive_are_told(tmp_path):
    source = saved_items(tmp_path, range(2014, 2021))
    there = functools.partial(glaciers.years_there, sensor=("landsat-8-9",))
    assert there(source, BOX, (2013, 2022)) == "the archive has 2014 to 2020, not 2013, 2021, 2022"
    assert there(source, BOX, (2015, 2016)) == "the archive has 2014 to 2020"
    elsewhere = (7.0, 46.0, 7.2, 46.2)
    assert there(source, elsewhere, (2015, 2016)) == "the archive has nothing of this box"
    missing = str(tmp_path / "no.json")
    assert there(missing, BOX, (2015, 2016)).startswith("the archive does not answer")


def two_outlines(folder: Path) -> str:
    """An outline file of two glaciers; both are called Twin."""
    squares = [shapely.box(77.0, 32.0, 77.02, 32.02), shapely.box(77.5, 32.0, 77.52, 32.02)]
    features = []
    for number, square in enumerate(squares):
        properties = {"RGIId": f"RGI60-14.{number}", "Name": "Twin", "glac_name": f"one {number}"}
        geometry = json.loads(shapely.to_geojson(square))
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    path = folder / "outlines.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return str(path)


def test_a_glacier_of_an_outline_file_has_a_box_around_it(tmp_path):
    source = two_outlines(tmp_path)
    box, outline = region.find(source, "RGI60-14.1")
    west, south, east, north = box
    assert west < 77.5 < 77.52 < east
    assert south < 32.0 < 32.02 < north
    assert east - west < 0.1
    assert outline == f"{source}:RGI60-14.1"
    assert region.find(source, "one 1") == (box, outline)
    mask = outline_mask(outline, make_grid(box, 30.0, 15.0))
    assert 900e-6 * mask.sum() == pytest.approx(1.886 * 2.218, rel=0.02)  # km2
    with pytest.raises(GlacierError, match=r"2 glaciers .* give the id of one"):
        region.find(source, "Twin")
    with pytest.raises(GlacierError, match="no outline"):
        region.find(source, "RGI60-14.9")


# ── Without a browser ────────────────────────────────────────────────────────────────────────────────────────────

DRAW = """
def drawn(*features):
    drawing.data = list(features)
    return facts.value, save.disabled

def saved(name):
    title.value = name
    save.disabled or save.click()
    return answer.value, save.description

def choose(archive, first, last):
    source.value, first_year.value, last_year.value = archive, first, last
    return source.value

def the_years():
    import time
    end = time.monotonic() + 20
    while "asking" in holds.value and time.monotonic() < end:
        time.sleep(0.1)
    return holds.value

def from_file(file, name):
    outlines.value, glacier.value = file, name
    return not save.disabled, answer.value
"""


def private_environment(folder: Path) -> dict[str, str]:
    """The environment of a Jupyter that reads and writes nothing outside `folder`."""
    names = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
        "JUPYTERLAB_SETTINGS_DIR",
    )
    return environment(folder) | {name: str(folder / name) for name in names}


def test_the_notebook_has_three_cells_and_no_outputs():
    cells = nbformat.read(NOTEBOOK, 4).cells
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells[1:])


def test_the_notebook_saves_what_is_drawn(tmp_path, monkeypatch):
    for name, value in private_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "datasets" / "old").mkdir(parents=True)
    (tmp_path / "datasets" / "old" / "glacier.yaml").write_text(
        yaml.safe_dump({"boundingBox": [77, 32, 77.1, 32.1]})
    )
    notebook = nbformat.read(NOTEBOOK, 4)
    two = f"{rectangle(*BOX)!r}, {rectangle(1, 2, 3, 4)!r}"
    archive = saved_items(tmp_path, range(2014, 2021))
    outlines_file = two_outlines(tmp_path)
    asked = [
        f"choose({archive!r}, 2015, 2022)",
        "sum(isinstance(layer, Rectangle) for layer in chart.layers)",
        f"drawn({rectangle(*BOX)!r})",
        f"drawn({two})",
        "saved('x')",
        f"drawn({rectangle(*BOX)!r})",
        "saved('')",
        "saved('old')",
        "saved('old')",
        "saved('beas kund')",
        "the_years()",
        "drawn()",
        f"from_file({outlines_file!r}, 'Twin')",
        f"from_file({outlines_file!r}, 'RGI60-14.1')",
        "saved('twin')",
        "(setattr(last_year, 'value', 2010), facts.value)[1]",
        "(setattr(place, 'value', '50, 8'), chart.center)[1]",
    ]
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in (DRAW, *asked)]
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    told = [cell.outputs[0]["data"]["text/plain"] for cell in notebook.cells[-len(asked) :]]
    _, old, facts, second, nothing, _, unnamed, there, replaced, saved, *more = told
    years, cleared, twins, outlined, _, reversed_years, centre = more
    assert old == "1"
    assert "32 in 2015-2022" in facts  # composites
    assert "the archive has 2014 to 2020, not 2021, 2022" in years
    assert "give the id of one" in twins
    assert outlined.startswith("(True")
    assert "years" in reversed_years
    assert "43 N" in facts
    assert facts.endswith("False)")
    assert "2 shapes are drawn" in second
    assert second.endswith("True)")
    assert nothing.startswith("(''")  # the button is off
    assert "name is a plain folder name" in unnamed
    assert "there already" in there
    assert there.endswith("'Replace')")
    assert "Wrote" in replaced
    (line,) = re.findall("python dataAPI.py[^\\\\]*", html.unescape(saved.replace("\\'", "'")))
    assert shlex.split(line)[2:] == ["--name=beas kund", "--dryRun=True"]
    assert cleared.endswith("True)")
    assert centre == "[50.0, 8.0]"
    for name in ("old", "beas kund", "twin"):
        content = yaml.safe_load((tmp_path / "datasets" / name / "glacier.yaml").read_text())
        assert content["years"] == [2015, 2022]
        assert content["source"] == archive
        if name == "twin":
            assert content["boundingBox"] == list(region.find(outlines_file, "RGI60-14.1")[0])
            assert content["iceOutline"] == f"{outlines_file}:RGI60-14.1"
        else:
            assert content["boundingBox"] == list(BOX)
            assert "iceOutline" not in content


# ── In a browser ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab with a copy of the notebook; its datasets are in tmp_path."""
    project = tmp_path / "project"
    project.mkdir()
    for path in (NOTEBOOK, *ROOT.glob("*.py")):
        shutil.copy(path, project)
    shutil.copytree(ROOT / "glacier", project / "glacier")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = (
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=test",
        f"--ServerApp.root_dir={project}",
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (
        open(tmp_path / "lab.log", "w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words],
            env=private_environment(tmp_path) | {"PATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as server,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token=test", tmp_path / "lab.log")
            yield f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK.name}?token=test"
        finally:
            server.terminate()


def wait_for(address: str, log: Path, seconds: float = 90) -> None:
    """Return once a server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"no answer from {address}:\n{log.read_text()[-2000:]}")


def test_a_rectangle_drawn_with_the_mouse_becomes_a_glacier(lab, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(90_000)
    try:
        save_with_the_mouse(page, lab, saved_items(tmp_path, range(2014, 2021)))
    finally:
        page.screenshot(path=ARTEFACTS / "notebook.png")
        page.close()
    cfg = config.read_yaml(tmp_path / "datasets" / "beas" / "glacier.yaml")
    west, south, east, north = cfg["boundingBox"]
    across = 360 / (256 * 2**9)  # degrees a pixel of the map at zoom 9
    assert east - west == pytest.approx(200 * across, abs=2 * across)
    assert north - south == pytest.approx(120 * across * np.cos(np.radians(32.1)), abs=2 * across)
    assert (west, south) < Config.boundingBox[:2]
    assert cfg["years"] == list(Config.years)


def save_with_the_mouse(page, address: str, archive: str) -> None:
    """Run the cells, name an archive, draw 150 x 100 px, pull a corner 50 and 20 px outwards, name it and save it."""
    page.goto(address)
    page.locator(".jp-CodeCell").first.wait_for()
    page.get_by_text("| Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.locator(".widget-text", has_text="Archive").locator("input").fill(archive)
    page.keyboard.press("Enter")
    page.locator(".leaflet-pm-icon-rectangle").click()
    frame = page.locator(".leaflet-container").bounding_box()
    left, top = frame["x"] + 150, frame["y"] + 230
    page.mouse.click(left, top)
    page.mouse.move(left + 150, top + 100, steps=5)
    page.mouse.click(left + 150, top + 100)
    page.get_by_text("43 N").wait_for()
    page.get_by_text("the archive has 2014 to 2020, not 2013, 2021, 2022").wait_for()
    page.locator(".leaflet-pm-icon-edit").click()
    page.mouse.move(left + 150, top + 100)
    page.mouse.down()
    page.mouse.move(left + 200, top + 120, steps=5)
    page.mouse.up()
    page.get_by_placeholder("name of the glacier").fill("beas")
    page.locator(".jp-OutputArea").get_by_role("button", name="Save").click()
    page.get_by_text(re.compile("Wrote .*glacier.yaml")).wait_for()
    chart = page.locator(".leaflet-container").bounding_box()
    attribution = page.locator(".leaflet-control-attribution").bounding_box()
    assert attribution["y"] + attribution["height"] <= chart["y"] + chart["height"] + 1
    assert attribution["height"] < 30  # one line: it hides nothing of the map

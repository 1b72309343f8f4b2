"""The archive over the network: faults, outages, kills, tokens, and a real STAC API."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from stac_api import stac_api, why_not

import config
import dataAPI
from config import Config, GlacierError
from demo.cog_server import CogServer
from demo.makeGlacier import MODEL_COLLECTION, make_glacier
from glacier import workers
from glacier.satellites import reading, search, signing
from glacier.satellites.selection import select
from glacier.scenes import read_scenes, year_files
from glacier.storage import disk, runner

ROOT = Path(__file__).resolve().parents[1]

YEARS = (2014, 2015)


@pytest.fixture(scope="module")
def glacier(tmp_path_factory) -> Path:
    """The archive of a small demo glacier: 2 years, 64 x 64 px. Do not change it."""
    folder = tmp_path_factory.mktemp("glacier")
    make_glacier(folder, size=64, years=YEARS, scenes_per_year=8)
    return folder


@pytest.fixture
def server(glacier):
    with CogServer(glacier) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits, so that faults are over soon; no memory of files read before in this process."""
    monkeypatch.setattr(reading, "FIRST_WAIT", 0.05)
    for name, value in {
        "GDAL_HTTP_LOW_SPEED_TIME": "1",
        "GDAL_HTTP_RETRY_DELAY": "0.05",
        "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/",
    }.items():
        monkeypatch.setenv(name, value)


def write_catalogue(glacier: Path, address: str, folder: Path) -> Path:
    """Write the archive's catalogue, of its scenes alone, with its files at a web address; return its path."""
    for path in [
        glacier / "catalog.json",
        glacier / "collection.json",
        *glacier.glob("LC08*/*.json"),
    ]:
        content = json.loads(path.read_text())
        for key, asset in content.get("assets", {}).items():
            asset["href"] = f"{address}/{path.parent.name}/{key}.tif"
        links = content["links"]
        content["links"] = [link for link in links if MODEL_COLLECTION not in link["href"]]
        target = folder / path.relative_to(glacier)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))
    return folder / "catalog.json"


@pytest.fixture
def settings(glacier, tmp_path, monkeypatch):
    """A function that returns the settings of a glacier in an empty home, its files at a web address."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path / "home"))
    box = json.loads((glacier / "collection.json").read_text())["extent"]["spatial"]["bbox"][0]

    def make(address: str, **keywords) -> Config:
        source = write_catalogue(glacier, address, tmp_path / "web")
        given = {
            "name": "web",
            "source": str(source),
            "boundingBox": box,
            "years": YEARS,
            "maxCloudPercent": 100.0,
            "maxMissingFraction": 0.95,
            "elevation": None,
        }
        return config.load(Config, [], **(given | keywords))

    return make


def clearest(glacier: Path) -> str:
    """Return the scene of the first year with the least cloud."""
    items = [
        json.loads(path.read_text())
        for path in sorted(glacier.glob(f"LC08_*_{YEARS[0]}*_02_T1/*.json"))
    ]
    return min(items, key=lambda item: item["properties"]["eo:cloud_cover"])["id"]


def hashes(cfg: Config) -> dict[str, str]:
    return {path.name: disk.file_hash(path) for path in year_files(cfg)}


@pytest.fixture
def reference(settings, server):
    """A function that returns the hashes of the years read without any fault; counters and files are then reset."""

    def make(**keywords) -> dict[str, str]:
        cfg = settings(server.address, **keywords)
        assert dataAPI.run(cfg) == 0
        made = hashes(cfg)
        for path in sorted(cfg.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        server.reset()
        return made

    return make


# ── Faults ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fifth_of_all_requests_fails_and_nothing_is_lost(settings, server, reference):
    """429, 503, dropped connections, short bodies, stalls: the same bytes as without."""
    expected = reference()
    server.fault_rate = 0.2
    cfg = settings(server.address)
    assert dataAPI.run(cfg) == 0
    assert set(server.faults) == {"429", "503", "drop", "short", "stall"}
    assert hashes(cfg) == expected


def test_server_goes_away_for_a_while(settings, server, reference):
    """All connections are dropped for some seconds in the middle: the same bytes."""
    expected = reference()

    def fail_from_the_middle(path):
        if server.total == 100:
            server.down = True
            threading.Timer(4, lambda: setattr(server, "down", False)).start()

    server.on_request = fail_from_the_middle
    cfg = settings(server.address)
    assert dataAPI.run(cfg) == 0
    assert server.total > 100
    assert hashes(cfg) == expected


def test_a_file_missing_for_good_costs_its_scene_and_no_other(settings, server, reference, caplog):
    """Exit code 3, reason in table and manifest; once it is back, a rerun asks for it and for nothing else."""
    expected = reference()
    cfg = settings(server.address)
    scene = clearest(server.folder)
    server.missing = {f"{scene}/red.tif"}
    with caplog.at_level(logging.INFO):
        assert dataAPI.run(cfg) == 3
    assert f"lost: {scene}: cannot be read: red: HTTP response code: 404" in caplog.text
    counts = runner.read_manifest(cfg.folder / "rawData")["counts"]
    assert list(counts["lost_scenes"]) == [scene]
    kept = {scene.id for scene in read_scenes(cfg)}
    assert (
        len(kept)
        == counts["kept"]
        == len(list(server.folder.glob("LC08*"))) - 1 - counts["dropped"]
    )
    assert scene not in kept

    server.missing = set()
    server.reset()
    with caplog.at_level(logging.INFO):
        assert dataAPI.run(cfg) == 0
    assert "1 scenes were lost to faults" in caplog.text
    assert {path.split("/")[0] for path in server.files_asked()} == {scene}
    assert hashes(cfg) == expected
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert dataAPI.run(cfg) == 0
    assert "up to date" in caplog.text


def test_all_scenes_lost_is_a_fault_and_not_the_users_mistake(settings, server):
    server.missing = {
        f"{path.parent.name}/qa_pixel.tif" for path in server.folder.glob("LC08*/green.tif")
    }
    with pytest.raises(
        GlacierError, match=r"scenes were lost to faults and none is left: .*404"
    ) as caught:
        dataAPI.run(settings(server.address))
    assert caught.value.exit_code == 3


def test_more_years_read_only_the_new_scenes(settings, server, reference):
    expected = reference()
    cfg = settings(server.address, years=[2014, 2014])
    assert dataAPI.run(cfg) == 0
    server.reset()
    cfg = settings(server.address)
    assert dataAPI.run(cfg) == 0
    assert {path.split("_")[3][:4] for path in server.files_asked()} == {"2015"}
    assert hashes(cfg) == expected


def test_no_more_files_at_once_than_workers(settings, server):
    server.latency = 0.02
    assert dataAPI.run(settings(server.address, workers=3)) == 0
    assert server.most_at_once == 3


# ── Kills ────────────────────────────────────────────────────────────────────────────────────────────────────────


def kill_once(cfg: Config, server: CogServer, after: int) -> bool:
    """Run the command, kill it at its `after`-th request; return whether it was killed before it ended."""
    flags = [
        f"--{key}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in runner.used_settings(cfg, [*dataAPI.USES, "source"]).items()
        if value not in ("", [])
    ]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "dataAPI.py"), f"--name={cfg.name}", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    seen = server.total
    while process.poll() is None and server.total - seen < after:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    error = process.communicate()[1].decode()
    assert process.returncode in (0, -signal.SIGKILL), error
    return process.returncode == -signal.SIGKILL


def killed_and_rerun(cfg: Config, server: CogServer, kills: int, seed: int) -> int:
    """Kill the stage at random moments; return how often that was in time. No finished file is asked for again."""
    rng, killed = random.Random(seed), 0
    for _ in range(kills):
        finished = {path.name for path in (cfg.folder / "rawData").glob(".scenes-*/[!.]*")}
        done = {name for name in finished if name.endswith((".pkl", ".txt"))}
        scenes = {name.rpartition("-")[0] for name in done}
        files = {(name.rpartition("-")[0], name.split(".")[1]) for name in finished}
        before = server.requests.copy()
        killed += kill_once(cfg, server, rng.randint(1, 160))
        asked = {path for path, _ in server.requests - before}
        assert not {path for path in asked if path.split("/")[0] in scenes}
        assert not {path for path in asked if tuple(path.removesuffix(".tif").split("/")) in files}
    return killed


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_goes_on_where_it_was(settings, server, reference, kills):
    """SIGKILL, rerun, and so on: the same bytes, and no finished scene or file is read again, nor a dropped one."""
    expected = reference(maxMissingFraction=0.3)
    server.latency = 0.01
    cfg = settings(server.address, maxMissingFraction=0.3)
    killed = 0
    while killed < kills:
        killed += killed_and_rerun(cfg, server, min(4, kills - killed), seed=kills + killed)
        assert dataAPI.run(cfg) == 0
        assert hashes(cfg) == expected
        assert runner.read_manifest(cfg.folder / "rawData")["counts"]["dropped"] > 5
        if killed < kills:
            (cfg.folder / "rawData" / "manifest.yaml").unlink()
            for path in year_files(cfg):
                path.unlink()


# ── The Planetary Computer's way: blob addresses, tokens ─────────────────────────────────────────────────────────


@pytest.fixture
def planetary(server, monkeypatch):
    """The server as blob storage behind a proxy, and as the endpoint that gives tokens."""
    import planetary_computer

    fresh = planetary_computer.settings.Settings()
    fresh.sas_url = f"{server.address}/token"
    monkeypatch.setattr(planetary_computer.settings.Settings, "get", staticmethod(lambda: fresh))
    monkeypatch.setenv("GDAL_HTTP_PROXY", f"127.0.0.1:{server.port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    planetary_computer.sas.TOKEN_CACHE.clear()
    server.token_life = 3600.0
    yield server
    planetary_computer.sas.TOKEN_CACHE.clear()


BLOBS = "http://demo.blob.core.windows.net/glacier"


def secrets_in(server: CogServer, *texts: str, folder: Path) -> list[str]:
    """Return the tokens that appear in the texts or in any file of the folder."""
    content = [text.encode() for text in texts] + [
        path.read_bytes() for path in folder.rglob("*") if path.is_file()
    ]
    return [secret for secret in server.secrets if any(secret.encode() in text for text in content)]


def test_signed_files_are_read_with_one_token(settings, planetary, reference):
    expected = reference()
    cfg = settings(BLOBS)
    assert dataAPI.run(cfg) == 0
    assert len(planetary.secrets) == 1
    assert hashes(cfg).keys() == expected.keys()
    assert same_scenes(cfg, settings(planetary.address, name="plain"))


def same_scenes(cfg: Config, other: Config) -> bool:
    """Read the other settings too; tell whether the scenes are equal, bit by bit."""
    dataAPI.run(other)
    scenes = zip(read_scenes(cfg), read_scenes(other), strict=True)
    return all(
        one.id == two.id and (one.dn == two.dn).all() and (one.mask == two.mask).all()
        for one, two in scenes
    )


def test_tokens_that_expire_on_the_way_are_renewed_and_never_written(
    settings, planetary, caplog, capfd
):
    """Tokens the server honours for half a second, and faults besides: all scenes arrive; no token is written."""
    planetary.token_life, planetary.latency, planetary.fault_rate = 0.5, 0.01, 0.1
    cfg = settings(BLOBS, years=[2014, 2014])
    with caplog.at_level(logging.DEBUG):
        assert dataAPI.run(cfg) == 0
    assert len(planetary.secrets) > 2
    assert not secrets_in(planetary, caplog.text, *capfd.readouterr(), folder=cfg.folder)
    planetary.fault_rate, planetary.token_life = 0.0, 3600.0
    assert same_scenes(cfg, settings(planetary.address, name="plain", years=[2014, 2014]))


def test_lost_signed_files_are_told_without_their_token(settings, planetary, caplog, capfd):
    cfg = settings(BLOBS, years=[2014, 2014])
    planetary.missing = {f"{clearest(planetary.folder)}/red.tif"}
    with caplog.at_level(logging.DEBUG):
        assert dataAPI.run(cfg) == 3
    assert "HTTP response code: 404" in caplog.text
    assert not secrets_in(planetary, caplog.text, *capfd.readouterr(), folder=cfg.folder)


def test_token_that_never_comes(settings, planetary, monkeypatch):
    monkeypatch.setattr(signing, "TOKEN_TIMEOUT", 0.5)
    planetary.token_delay = 5.0
    with pytest.raises(
        GlacierError, match="no token for http://demo.blob.core.windows.net/glacier .TimeoutError"
    ):
        dataAPI.run(settings(BLOBS))


def test_token_refused(settings, planetary):
    planetary.refuse_tokens = True
    with pytest.raises(
        GlacierError, match=r"no token for http://demo.blob.core.windows.net/glacier .*403.*KEY"
    ):
        dataAPI.run(settings(BLOBS))
    assert planetary.total == 0


# ── Beyond one machine ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.peers
def test_two_workers_of_a_dask_cluster_make_the_same_scenes(settings, server, reference):
    distributed = pytest.importorskip(
        "distributed", reason="distributed is not installed: requirements-cluster.txt"
    )
    expected = reference(maxMissingFraction=0.3)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        cfg = settings(server.address, executor=cluster.scheduler_address, maxMissingFraction=0.3)
        assert dataAPI.run(cfg) == 0
        with distributed.Client(cluster, set_as_default=False) as client:
            busy = client.run(
                lambda: len(sys.modules.get("glacier.satellites.layers").reading_pool(8)._threads)
            )
    assert len(busy) == 2
    assert all(busy.values())
    assert hashes(cfg) == expected


@pytest.mark.peers
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("tcp://127.0.0.1:1", "no Dask scheduler at executor"),
        ("thread", "no Dask scheduler at executor thread"),
    ],
)
def test_scheduler_that_is_not_there(settings, server, address, says, monkeypatch):
    pytest.importorskip(
        "distributed", reason="distributed is not installed: requirements-cluster.txt"
    )
    monkeypatch.setattr(workers, "SCHEDULER_TIMEOUT", 2)
    with pytest.raises(GlacierError, match=says):
        dataAPI.run(settings(server.address, executor=address))


# ── A real STAC API ──────────────────────────────────────────────────────────────────────────────────────────────


def collection_of(name: str) -> dict:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": "-",
        "license": "CC0-1.0",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2000-01-01T00:00:00Z", None]]},
        },
        "links": [],
    }


@pytest.fixture(scope="module")
def web(glacier):
    with CogServer(glacier) as running:
        yield running


@pytest.fixture(scope="module")
def api(glacier, web, tmp_path_factory):
    """The demo archive behind stac-fastapi and pgstac, beside 300 older copies and items of other kinds and places."""
    if why_not():
        if os.environ.get("CI_NEEDS_STAC_API"):
            pytest.fail(why_not())
        pytest.skip(why_not())
    items = []
    for path in sorted(glacier.glob("LC08*/*.json")):
        item = json.loads(path.read_text())
        item["links"] = []
        for key, asset in item["assets"].items():
            asset["href"] = f"{web.address}/{path.parent.name}/{key}.tif"
        items.append(item)

    def like(item, name, collection="landsat-c2-l2", **properties):
        return item | {
            "id": name,
            "collection": collection,
            "properties": item["properties"] | properties,
        }

    extra = [
        like(
            items[0],
            f"old{day:03d}",
            datetime=f"2013-{1 + day // 28:02d}-{1 + day % 28:02d}T05:00:00Z",
        )
        for day in range(300)
    ]
    extra.append(like(items[0], "seven", platform="landsat-7", datetime="2014-03-03T05:00:00Z"))
    extra.append(
        like(items[0], "cloudy", datetime="2014-03-04T05:00:00Z", **{"eo:cloud_cover": 99.0})
    )
    extra.append(
        like(
            items[0],
            "S2",
            "sentinel-2-l2a",
            datetime="2014-03-05T05:00:00Z",
            platform="Sentinel-2A",
        )
    )
    moved = [[[x + 102.3, y - 49] for x, y in ring] for ring in items[0]["geometry"]["coordinates"]]
    extra.append(
        like(items[0], "dateline")
        | {
            "geometry": {"type": "Polygon", "coordinates": moved},
            "bbox": [179.9, -17.0, 180.0, -16.8],
        }
    )
    names = ("landsat-c2-l2", "sentinel-2-l2a")
    with stac_api(
        tmp_path_factory.mktemp("api"), [collection_of(name) for name in names], items + extra
    ) as address:
        yield address


def query_of(cfg: Config) -> search.Query:
    return search.Query(
        cfg.source,
        cfg.boundingBox,
        cfg.years,
        cfg.sensor,
        max_cloud_percent=cfg.maxCloudPercent,
    )


def selected(cfg: Config) -> tuple[dict[str, str], dict[str, str]]:
    """Return the sensor of each item to read, and why the others are left out."""
    items, _ = search.search(query_of(cfg))
    kept, dropped = select(items, cfg.sensor, (), cfg.maxCloudPercent, lambda address: {})
    return {one.item.id: one.sensor for one in kept}, dict(dropped)


def search_settings(glacier: Path, api: str, **keywords) -> Config:
    box = json.loads((glacier / "collection.json").read_text())["extent"]["spatial"]["bbox"][0]
    given = {
        "name": "api",
        "source": api,
        "boundingBox": box,
        "years": YEARS,
        "maxCloudPercent": 100.0,
        "maxMissingFraction": 0.95,
    }
    return config.load(Config, [], **(given | keywords))


@pytest.mark.peers
def test_real_api_gives_all_pages(api, glacier):
    """300 items of 2013 come in two pages of 250; none twice."""
    items, odd = search.search(query_of(search_settings(glacier, api, years=[2013, 2013])))
    assert [item.id for item in items] == [f"old{day:03d}" for day in range(300)]
    assert not odd


@pytest.mark.peers
def test_real_api_filters_clouds_and_the_stage_platforms(api, glacier):
    cfg = search_settings(glacier, api, maxCloudPercent=30.0)
    items, _ = search.search(query_of(cfg))
    assert "seven" in {item.id for item in items}
    assert "cloudy" not in {item.id for item in items}
    assert all(item.cloud_percent <= 30 for item in items)
    kept, dropped = selected(cfg)
    assert dropped["seven"] == "platform landsat-7"
    assert set(kept.values()) == {"landsat-8-9"}


@pytest.mark.peers
def test_real_api_gives_several_sensors(api, glacier):
    cfg = search_settings(glacier, api, sensor="landsat-8-9,landsat-4-5-7,sentinel-2")
    kept, dropped = selected(cfg)
    assert kept["seven"] == "landsat-4-5-7"
    assert dropped["S2"] == "no asset SCL"


@pytest.mark.peers
def test_real_api_across_the_antimeridian(api, glacier):
    cfg = search_settings(glacier, api, boundingBox=[179.9, -17.0, 180.05, -16.8])
    items, _ = search.search(query_of(cfg))
    assert [item.id for item in items] == ["dateline"]


@pytest.mark.peers
def test_real_api_and_catalogue_on_disk_give_the_same_scenes(api, glacier, tmp_path, monkeypatch):
    """The whole stage over HTTP, against the same archive read from disk."""
    monkeypatch.setenv("GLACIER_HOME", str(tmp_path))
    cfg = search_settings(glacier, api, years=[2015, 2015])
    assert dataAPI.run(cfg) == 0
    assert same_scenes(
        cfg,
        search_settings(glacier, str(glacier / "catalog.json"), name="disk", years=[2015, 2015]),
    )

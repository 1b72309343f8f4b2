"""How much of an attack the project holds:  python benchmarks/reliability.py --seed=1

Forged and harmed files, flipped bits, wrong settings, full disks, kills and races, all made from the seed, thrown at
the readers and at the commands as a user types them. A case is held if nothing ran, nothing crashed, nothing was lost,
and what had to be refused was refused in one line. Prints a table of tried and held, then each case that was not;
exit code 1 if there is one. Takes some minutes on two cores; works in a folder of its own, which goes at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import config
import createPatches
import dataAPI
from config import Config, GlacierError, setting
from demo import archive_server, attacks
from glacier import console
from glacier.aligned import read_aligned_scenes, read_composites
from glacier.satellites import reading, search, web
from glacier.satellites.items import parse_item
from glacier.satellites.metadata import OddItemError
from glacier.satellites.overpasses import overpasses
from glacier.satellites.selection import select
from glacier.storage import disk, integrity, manifests, pickles, tensors
from glacier.velocity.fields import read_movement

GLACIER = ("--size=64", "--years=2013,2017", "--scenesPerYear=8")
STAGES = ("dataAPI.py", "alignment.py", "createPatches.py", "movement.py")
TRAINING = ("--epochs=2", "--samplesPerEpoch=32", "--wandb=disabled")
FOLDERS = {
    "dataAPI.py": "rawData",
    "alignment.py": "aligned",
    "createPatches.py": "patches",
    "movement.py": "movement",
}
LONGEST = 2.0  # seconds of the processor that a small file may take

Case = tuple[str, bool]  # what was tried, and whether it held


@dataclass(frozen=True)
class Settings(Config):
    seed: int = setting(0, "of all attacks", low=0)
    streams: int = setting(10_000, "forged pickle streams", low=1)
    only: str = setting("", "groups whose name holds this; empty: all")


# ── What holds ───────────────────────────────────────────────────────────────────────────────────────────────────


def refused_or_read(call: Callable[[], object]) -> str:
    """Return "read", "refused" for a GlacierError of one line, or what else came."""
    start = time.process_time()
    try:
        call()
        end = "read"
    except GlacierError as error:
        end = "refused" if "\n" not in str(error) else "refused in several lines"
    except (Exception, RecursionError) as error:  # whatever else comes is what is looked for here
        return f"{type(error).__name__}: {error}"[:200]
    if time.process_time() - start > LONGEST:
        return "took too long"
    return end


def run(home: Path, *words: str, limit: int | None = None) -> subprocess.CompletedProcess:
    """Run a command on the small glacier. limit : size to which a file may grow [bytes]."""
    line = [sys.executable, str(config.ROOT / words[0]), "--name=small", *words[1:]]

    def lower():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        line,
        env=environment(home),
        capture_output=True,
        text=True,
        preexec_fn=lower if limit else None,
    )


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a command whose data are in `home`."""
    extra = {"GLACIER_HOME": str(home), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return os.environ | extra | {"PYTHONPATH": str(config.ROOT)}


def one_line(done: subprocess.CompletedProcess, code: int) -> bool:
    """Return whether a command ended with an exit code and one line that says why."""
    return done.returncode == code and done.stderr.count("\n") == 1


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder, manifests and their hash aside."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("manifest.yaml", "report.html"):
            files[str(path.relative_to(folder))] = path.read_bytes()
    return files


def copied(reference: Path, folder: Path) -> Path:
    """Return a copy of a home; times stay."""
    home = folder / f"home{len(list(folder.iterdir()))}"
    shutil.copytree(reference, home)
    settings = home / "datasets" / "small" / "glacier.yaml"
    settings.write_text(settings.read_text().replace(str(reference), str(home)))
    return home


def keeping_time(path: Path, content: bytes) -> None:
    """Overwrite a file as a failing disk does."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


# ── Pickle streams ───────────────────────────────────────────────────────────────────────────────────────────────


def read_stream(path: Path) -> None:
    """Read and use every object of a stream."""
    for content in pickles.read_pickles(path):
        attacks.use(content)


def try_streams(streams: list[bytes]) -> list[str]:
    """Return what became of each stream; runs in a process of its own, which a memory fault would end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "2015.pkl"
        ends = []
        for stream in streams:
            path.write_bytes(stream)
            ends.append(refused_or_read(lambda: read_stream(path)))
        return ends


def forged_streams(cfg: Settings) -> Iterator[Case]:
    """Yield the streams of random instructions and the harmed ones."""
    size = 500
    streams = list(attacks.forged_pickles(cfg.streams, cfg.seed))
    for first in range(0, len(streams), size):
        some = streams[first : first + size]
        with ProcessPoolExecutor(1) as pool:
            try:
                ends = pool.submit(try_streams, some).result()
            except RuntimeError as error:  # the process was ended by a signal
                ends = [str(error)] * len(some)
        for number, end in enumerate(ends, first):
            yield f"stream {number}: {end}", end in ("read", "refused")


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(marker: Path) -> dict[str, object]:
    """Return objects that leave a file, or do other harm, when they are unpickled by Python's own reader."""
    shell = f"touch {marker}"
    return {
        "os.system": Call(os.system, shell),
        "subprocess": Call(subprocess.getoutput, shell),
        "eval": Call(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Call(exec, f"open({str(marker)!r}, 'w')"),
        "open": Call(open, str(marker), "w"),
        "getattr": Call(getattr, "text", "upper"),
        "import": Call(__import__, "antigravity"),
        "numpy.save": Call(np.save, str(marker), np.zeros(1)),
        "memmap": Call(np.memmap, str(marker), "u1", "w+", 0, (1,)),
        "objects": np.array([Call(os.system, shell)], object),
        "a path": marker,
        "a class": Call,
        "a complex": 1j,
        "a range": range(3),
        "a tensor": torch.zeros(2),
    }


def payload_pickles(folder: Path) -> Iterator[Case]:
    """Yield pickles that carry code, and those that ask for memory, time or depth, in each protocol."""
    marker = folder / "harmed"
    path = folder / "2015.pkl"
    streams = {name: content for name, content in attacks.bombs().items()}
    for name, content in payloads(marker).items():
        for protocol in range(6):
            streams[f"{name}, protocol {protocol}"] = pickle.dumps({"dn": content}, protocol)
    for name, stream in streams.items():
        path.write_bytes(stream)
        end = refused_or_read(lambda: read_stream(path))
        if "memo" in name:
            expected = ("read", "refused")
        else:
            expected = ("refused",)
        yield f"{name}: {end}", end in expected and not marker.exists()


def payload_tensors(folder: Path) -> Iterator[Case]:
    """Yield patches and checkpoints that carry code, are cut, or hold something else."""
    marker = folder / "harmed"
    path = folder / "window.pt"
    files = {}
    for name, content in (payloads(marker) | {"a dict": {"a": 1}, "a text": "text"}).items():
        if name == "a tensor":
            continue
        buffer = io.BytesIO()
        torch.save(content, buffer)
        files[name] = buffer.getvalue()
        files[f"{name}, as a plain pickle"] = pickle.dumps(content)
    buffer = io.BytesIO()
    torch.save(torch.arange(100.0), buffer)
    for part in (0, 1, 10, 100, 500):
        files[f"the first {part} bytes"] = buffer.getvalue()[:part]
    for name, content in files.items():
        path.write_bytes(content)
        end = refused_or_read(lambda: tensors.read_tensor(path, "run it again"))
        yield f"{name}: {end}", end == "refused" and not marker.exists()


# ── Damage ───────────────────────────────────────────────────────────────────────────────────────────────────────


def flipped_bits(cfg: Settings, folder: Path) -> Iterator[Case]:
    """Yield single bits that flip in a file of each format; whoever reads it must notice."""
    cells = np.random.default_rng(cfg.seed)
    stage = folder / "datasets" / "small" / "rawData"
    with disk.writing(stage / "2015.pkl") as file:
        file.write(pickles.pickled(attacks.honest_scene(cells)))
    with disk.writing_array(stage / "scenes.npy", (20, 30)) as array:
        array[:] = cells.random((20, 30))
    disk.write_json(stage / "scenes.json", {"scenes": list(range(50))})
    with disk.writing(stage / "best.pt") as file:
        torch.save({"weights": torch.arange(300.0)}, file)
    readers = {
        "2015.pkl": (read_stream, 200),
        "scenes.npy": (disk.read_array, 60),
        "scenes.json": (disk.read_json, 60),
        "best.pt": (lambda path: tensors.read(path, "train again"), 60),
    }
    files = [stage / name for name in readers]
    manifests.write_manifest(stage, {}, {}, files, {}, 0.0, "python dataAPI.py --name=small")
    for name, (reader, count) in readers.items():
        path = stage / name
        whole = path.read_bytes()
        for number in range(count):
            integrity._compared.clear()
            keeping_time(path, attacks.one_bit_flipped(whole, cfg.seed + number))
            end = refused_or_read(lambda reader=reader, path=path: reader(path))
            yield f"{name}, bit {number}: {end}", end == "refused"
        keeping_time(path, whole)


def noticed_by_commands(cfg: Settings, reference: Path, folder: Path) -> Iterator[Case]:
    """Yield bits that flip in what a stage reads, seen by the command of the stage; --verify sees those of its own."""
    home = copied(reference, folder)
    data = home / "datasets" / "small"
    readers = {
        "rawData/2015.pkl": ("alignment.py", "--force"),
        "aligned/scenes.npy": ("movement.py", "--force"),
        "aligned/composites.npy": ("createPatches.py", "--force"),
        "aligned/composites.json": ("createPatches.py", "--force"),
        "patches/splits.yaml": ("DeepLearning/trainConvLSTM.py", *TRAINING, "--force"),
        "movement/velocity.tif": ("movement.py", "--verify"),
        "aligned/manifest.yaml": ("createPatches.py",),
    }
    for number, (name, words) in enumerate(readers.items()):
        path = data / name
        whole = path.read_bytes()
        # not within the line that holds the hash of the others
        part = whole.rpartition(integrity.CHECK)[0] or whole
        rest = whole[len(part) :]
        keeping_time(path, attacks.one_bit_flipped(part, cfg.seed + number) + rest)
        done = run(home, *words)
        said = name.split("/")[-1] in done.stderr and "python" in done.stderr
        yield f"{name} by {words[0]}: {done.returncode} {done.stderr}", one_line(done, 2) and said
        keeping_time(path, whole)


METADATA = (
    "aligned/manifest.yaml",
    "aligned/composites.json",
    "rawData/manifest.yaml",
    "patches/manifest.yaml",
    "patches/splits.yaml",
)


def damaged_metadata(reference: Path, folder: Path) -> Iterator[Case]:
    """Yield records of ours that are cut, empty, of another kind, deep or hostile, seen by who reads them."""
    home = copied(reference, folder)
    harm = {
        "empty": b"",
        "cut": None,
        "bytes": b"\xff\xfe\x00\x01" * 50,
        "a list": b"[1, 2]\n",
        "a number": b"3\n",
        "null": b"null\n",
        "deep": b"[" * 20_000,
        "python": b"!!python/object/apply:os.system ['touch harmed']\n",
        "keys of another kind": b"schema: 1\nsettings: 3\ninputs: []\noutputs: x\ncounts: {}\nwindows: 5\n",
        "references": b"a: &a [1, 1]\nb: [*a, *a]\n",
        "another version": b"schema: 99\n",
    }
    with data_in(home):
        cfg = config.load(Config, name="small")
        for name in METADATA:
            path = cfg.folder / name
            whole = path.read_bytes()
            for kind, content in harm.items():
                path.write_bytes(whole[: len(whole) // 2] if content is None else content)
                integrity._compared.clear()
                end = refused_or_read(lambda cfg=cfg: createPatches.read_patches(cfg))
                yield f"{name}, {kind}: {end}", end == "refused"
            path.write_bytes(whole)


def forged_records(cfg: Settings, reference: Path, folder: Path) -> Iterator[Case]:
    """Yield records whose members are of another kind though all hashes fit, seen by who reads them."""
    home = copied(reference, folder)
    readers = {
        "aligned/scenes.json": read_aligned_scenes,
        "aligned/composites.json": read_composites,
        "movement/movement.json": read_movement,
    }
    with data_in(home):
        given = config.load(Config, name="small")
        for name, reader in readers.items():
            path = given.folder / name
            record = json.loads(path.read_text())
            manifest = integrity.read_manifest(path.parent)
            files = [path.parent / output for output in manifest["outputs"]]
            for number in range(50):
                random = np.random.default_rng([cfg.seed, number])
                forged = attacks.with_strange_members(random, record)
                disk.write_json(path, forged)
                manifests.write_manifest(path.parent, {}, {}, files, {}, 0.0)
                end = refused_or_read(lambda reader=reader: reader(given))
                yield f"{name}, {number}: {end}", end in ("read", "refused")


def strange_folders(reference: Path, folder: Path) -> Iterator[Case]:
    """Yield folders among the runs that are none of ours: they are passed over."""
    from DeepLearning.training import run_folders

    home = copied(reference, folder)
    with data_in(home):
        runs = run_folders.list_runs()
        for name in ("my notes", f"{runs[0].name}-backup", "small-UNet-x1", ".hidden-001", "-001"):
            strange = run_folders.runs_folder() / name
            strange.mkdir()
            for content in ("network: [", "network: 3", "", "network: UNet\nnames: [small]\n"):
                (strange / "config.yaml").write_text(content)
                yield f"{name}: {content!r}", run_folders.list_runs() == runs


@contextlib.contextmanager
def data_in(home: Path) -> Iterator[None]:
    """Let functions called here have their data in `home`."""
    before = os.environ.get("GLACIER_HOME")
    os.environ["GLACIER_HOME"] = str(home)
    try:
        yield
    finally:
        os.environ.pop("GLACIER_HOME")
        if before is not None:
            os.environ["GLACIER_HOME"] = before


# ── The archive ──────────────────────────────────────────────────────────────────────────────────────────────────


def harmed_archive(cfg: Settings, reference: Path, folder: Path) -> Iterator[Case]:
    """Yield archives with one item or one file that was harmed: the others' scenes come, or one line says why not."""
    home = copied(reference, folder)
    archive = home / "datasets" / "small" / "archive"
    items = sorted(path for path in archive.rglob("*.json") if is_item(path))
    images = sorted(archive.rglob("*.tif"))
    images = [path for path in images if "truth" not in path.parts]
    for number in range(12):
        random = np.random.default_rng([cfg.seed, number])
        paths = items if number % 2 else images
        path = paths[int(random.integers(len(paths)))]
        whole = path.read_bytes()
        path.write_bytes(attacks.harmed(random, whole))
        with data_in(home):
            given = config.load(Config, name="small", years=(2013, 2014), force=True)
            end = refused_or_read(lambda given=given: dataAPI.run(given))
        yield f"{path.name}: {end}", end in ("read", "refused", "took too long")
        path.write_bytes(whole)


def is_item(path: Path) -> bool:
    """Return whether a file is a STAC item."""
    return json.loads(path.read_text()).get("type") == "Feature"


def item_of(name: str, **changes) -> dict:
    """Return an item of a made archive with some members changed."""
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "landsat-c2-l2",
        "bbox": [77.2, 32.2, 77.8, 32.8],
        "geometry": None,
        "properties": {"datetime": "2020-05-01T05:00:00Z", "platform": "landsat-8"},
        "links": [],
        "assets": {key: {"href": f"./{key}.tif"} for key in ("green", "swir16", "qa_pixel")},
    } | changes


QUERY = search.Query("", (77.0, 32.0, 78.0, 33.0), (2019, 2021), ("landsat-8-9",))


def search_at(address: str) -> None:
    """Search a source for the scenes of a box, as stage 1 does."""
    search.search(dataclasses.replace(QUERY, source=address))


def strange_items(cfg: Settings) -> Iterator[Case]:
    """Yield items with members of another kind: read, or left out with the reason, each by itself."""
    for number in range(2000):
        random = np.random.default_rng([cfg.seed, number])
        item = attacks.with_strange_members(random, item_of("scene"))
        end = refused_or_read(lambda item=item: understand(item))
        yield f"item {number}: {end} {str(item)[:300]}", end in ("read", "refused")


def understand(item: dict) -> None:
    """Read an item and choose its files; GlacierError, in one line, where it is left out."""
    try:
        parsed = parse_item(item, "/archive/item.json")
    except OddItemError as error:
        raise GlacierError(str(error)) from None
    acquisitions, _ = select([parsed], QUERY.sensors, (), 100.0, dict)
    overpasses(acquisitions, "EPSG:32643")


ANSWERS: dict[str, tuple[int, dict, bytes]] = {
    "a day of patience": (503, {"Retry-After": "86400"}, b"{}"),
    "a date far off": (429, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, b"{}"),
    "an account": (401, {}, b"{}"),
    "a page to sign in": (200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html>"),
    "an error with status 200": (200, {}, b'{"code": "Timeout", "description": "try again"}'),
    "an address that leads to itself": (302, {"Location": "/stac/search"}, b""),
    "an address that is none": (302, {"Location": "http://[::1"}, b""),
    "a file of this machine": (302, {"Location": "file:///etc/passwd"}, b""),
    "nothing": (204, {}, b""),
    "half an answer": (200, {}, b'{"features": ['),
    "a gzip that unpacks without end": (
        200,
        {"Content-Encoding": "gzip"},
        archive_server.bomb(300),
    ),
    "no gzip": (200, {"Content-Encoding": "gzip"}, b"plain"),
    "lists in lists": (200, {}, b"[" * 200_000),
    "another kind": (200, {}, b'{"features": {"a": 1}}'),
    "numbers without end": (200, {}, b'{"features": [' + b"9" * 100_000 + b"]}"),
}


def servers_without_end() -> Iterator[Case]:
    """Yield servers that keep a client waiting or reading: one line, within the patience that is set here."""
    web.FIRST_PATIENCE = web.PATIENCE = 1.0
    items = [item_of(f"s{number:03d}") for number in range(300)]
    turns: dict[str, Callable[[int, int], int]] = {
        "the same page": lambda start, size: start,
        "the first page": lambda start, size: 0,
        "one item further": lambda start, size: start + 1,
        "empty pages": lambda start, size: start + 10**6,
    }
    for methods in (("GET",), ("POST",)):
        for name, turn in turns.items():
            with archive_server.ArchiveServer(items) as server:
                server.methods = methods
                server.turn_page = turn
                server.endless = True
                end = refused_or_read(lambda server=server: search_at(server.address))
            yield f"{name}, {methods}: {end}", end == "refused"
        for name, answer in ANSWERS.items():
            with archive_server.ArchiveServer(items) as server:
                server.methods = methods
                server.answer = lambda method, path, answer=answer: (
                    answer if path.endswith("search") else None
                )
                end = refused_or_read(lambda server=server: search_at(server.address))
            yield f"{name}, {methods}: {end}", end == "refused"


ADDRESSES = (
    "/etc/passwd",
    "/dev/zero",
    "../../../../../../etc/passwd",
    "/vsicurl/http://127.0.0.1:1/x.tif",
    "/vsizip//etc/x.zip/x.tif",
    "http://127.0.0.1:1/x.tif",
    "http://[::1",
    "http://user:geheim@127.0.0.1:1/x.tif",
    "file:///etc/passwd",
    "ftp://127.0.0.1/x.tif",
    "data:image/tiff;base64,SUkqAA==",
    "s3://",
    "x" * 5000,
    "a\x00b.tif",
    "\x1b[2J.tif",
    "",
    "HDF5:/etc/passwd",
    "<VRTDataset></VRTDataset>",
)


def strange_addresses(reference: Path, folder: Path) -> Iterator[Case]:
    """Yield items with an address that leads nowhere good: that scene is lost, the others are there."""
    home = copied(reference, folder)
    archive = home / "datasets" / "small" / "archive"
    path = min(path for path in archive.rglob("*.json") if is_item(path))
    whole = path.read_text()
    reading.TRIES = 2
    for address in ADDRESSES:
        content = json.loads(whole)
        content["assets"]["green"]["href"] = address
        path.write_text(json.dumps(content))
        with data_in(home):
            given = config.load(Config, name="small", years=(2013, 2013), force=True)
            end = refused_or_read(lambda given=given: dataAPI.run(given))
            scenes = 0
            if end == "read":
                scenes = len(list(dataAPI.read_scenes(given)))
        yield f"{address[:60]!r}: {end}, {scenes} scenes", end == "read" and scenes > 0
    path.write_text(whole)


# ── Disks, kills, races ──────────────────────────────────────────────────────────────────────────────────────────


def full_disks(reference: Path, folder: Path) -> Iterator[Case]:
    """Yield stages whose files cannot grow: one line, exit code 2, and a rerun that ends in the same bytes."""
    for script in STAGES:
        home = copied(reference, folder)
        stage = home / "datasets" / "small" / FOLDERS[script]
        expected = contents(stage)
        shutil.rmtree(stage)
        done = run(home, script, limit=8000)
        yield f"{script}: {done.returncode} {done.stderr}", one_line(done, 2)
        again = run(home, script)
        same = contents(stage) == expected
        yield f"{script} again: {again.returncode} {again.stderr}", again.returncode == 0 and same
        shutil.rmtree(home)


def killed(
    home: Path, number: int, words: tuple[str, ...], seconds: float
) -> subprocess.CompletedProcess:
    """Start a command, send it a signal after some time, and return how it ended."""
    line = [sys.executable, str(config.ROOT / words[0]), "--name=small", *words[1:]]
    process = subprocess.Popen(
        line,
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(number)
    printed, complaint = process.communicate()
    return subprocess.CompletedProcess(line, process.returncode, printed, complaint)


def members(session: int) -> list[str]:
    """Return the processes of a session, as /proc tells them."""
    running = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, own, *_ = path.read_text().rpartition(")")[2].split()
            if int(own) == session and state != "Z":
                running.append(path.parent.name)
    return running


def kills(cfg: Settings, reference: Path, folder: Path) -> Iterator[Case]:
    """Yield stages that are stopped at some moment: how they end, and the bytes after a rerun."""
    random = np.random.default_rng(cfg.seed)
    for script in STAGES:
        for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
            home = copied(reference, folder)
            stage = home / "datasets" / "small" / FOLDERS[script]
            expected = contents(stage)
            shutil.rmtree(stage)
            done = killed(home, number, (script,), random.uniform(1.0, 4.0))
            ended_before = done.returncode == 0
            not_begun = done.returncode == -number and not done.stdout  # while Python was loading
            clean = done.returncode == code and "Traceback" not in done.stderr
            held = clean or ended_before or not_begun
            yield f"{script}, {number.name}: {done.returncode} {done.stderr}", held
            again = run(home, script)
            same = again.returncode == 0 and contents(stage) == expected
            yield f"{script}, {number.name}, again: {again.returncode} {again.stderr}", same
            shutil.rmtree(home)


def killed_trainings(cfg: Settings, reference: Path, folder: Path) -> Iterator[Case]:
    """Yield trainings that are stopped at some moment: how they end, and the bytes after a rerun."""
    random = np.random.default_rng(cfg.seed)
    words = ("DeepLearning/trainConvLSTM.py", *TRAINING)
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)):
        home = copied(reference, folder)
        runs = home / "DeepLearning" / "runs"
        expected = trained(runs)
        shutil.rmtree(runs)
        done = killed(home, number, words, random.uniform(3.0, 9.0))
        not_begun = done.returncode == -number and not done.stdout
        held = done.returncode in (0, code) or not_begun
        yield f"{number.name}: {done.returncode} {done.stderr}", held
        again = run(home, *words)
        same = again.returncode == 0 and trained(runs) == expected
        yield f"{number.name}, again: {again.returncode} {again.stderr}", same
        shutil.rmtree(home)


def trained(runs: Path) -> dict[str, bytes]:
    """Return the bytes of what a training leaves; last.pt, which is to go on from, aside."""
    files = contents(runs)
    return {name: content for name, content in files.items() if not name.endswith("last.pt")}


def races(reference: Path, folder: Path) -> Iterator[Case]:
    """Yield two runs of a stage at once: one makes it, the other says who works there; none breaks."""
    for script in STAGES:
        home = copied(reference, folder)
        stage = home / "datasets" / "small" / FOLDERS[script]
        expected = contents(stage)
        shutil.rmtree(stage)
        line = [sys.executable, str(config.ROOT / script), "--name=small"]
        processes = [
            subprocess.Popen(
                line,
                env=environment(home),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        complaints = [process.communicate()[1] for process in processes]
        codes = sorted(process.returncode for process in processes)
        held = codes in ([0, 0], [0, 4]) and contents(stage) == expected
        yield f"{script}: {codes} {complaints}", held
        shutil.rmtree(home)


def wrong_settings() -> Iterator[Case]:
    """Yield values of settings that are none: each is one line."""
    values = ("inf", "nan", "-1e999", "9" * 6000, "[1", "{a: 1}", "x" * 300, "\x1b[31m", "a/../b")
    names = ("boundingBox", "years", "pixelSize", "patchSize", "maxCloudPercent", "stepsPerYear")
    for name in names:
        for value in values:
            end = refused_or_read(lambda flag=f"--{name}={value}": config.load(Config, [flag]))
            yield f"--{name}={value[:20]}: {end}", end == "refused"
    for name in ("..", ".", "", "a/../../b", "x" * 256, "a\nb", "\x00", "é" * 200):
        end = refused_or_read(lambda name=name: config.load(Config, name=name))
        yield f"--name={name[:20]!r}: {end}", end == "refused"


# ── All of it ────────────────────────────────────────────────────────────────────────────────────────────────────


def make_reference(home: Path) -> None:
    """Make the small glacier, every stage of it, and a run."""
    home.mkdir()
    commands = [("demo/makeGlacier.py", *GLACIER)]
    commands += [(script,) for script in STAGES]
    for words in commands:
        done = run(home, *words)
        if done.returncode:
            raise GlacierError(f"{words[0]} ended with {done.returncode}: {done.stderr}")
        if words[0] == "demo/makeGlacier.py":
            with open(home / "datasets" / "small" / "glacier.yaml", "a") as file:
                file.write("stride: 16\n")
    done = run(home, "DeepLearning/trainConvLSTM.py", *TRAINING)
    if done.returncode:
        raise GlacierError(f"the training ended with {done.returncode}: {done.stderr}")


def attack(cfg: Settings) -> int:
    """Throw everything, print the table; return the exit code."""
    rows: list[tuple] = [("group", "tried", "held", "seconds")]
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = folder / "reference"
        start = time.monotonic()
        make_reference(reference)
        log.info("A small glacier was made in %.0f s.", time.monotonic() - start)
        with data_in(folder):
            groups = {
                "pickles that carry code, bombs": payload_pickles(folder),
                "forged and harmed pickles": forged_streams(cfg),
                "patches and checkpoints that carry code": payload_tensors(folder),
                "flipped bits, by who reads": flipped_bits(cfg, folder),
                "flipped bits, by command": noticed_by_commands(cfg, reference, folder),
                "damaged records": damaged_metadata(reference, folder),
                "records forged and signed": forged_records(cfg, reference, folder),
                "folders that are no runs": strange_folders(reference, folder),
                "harmed items and files of the archive": harmed_archive(cfg, reference, folder),
                "items with members of another kind": strange_items(cfg),
                "addresses that lead nowhere": strange_addresses(reference, folder),
                "servers without end": servers_without_end(),
                "full disks, and the rerun": full_disks(reference, folder),
                "kills, and the rerun": kills(cfg, reference, folder),
                "trainings killed, and the rerun": killed_trainings(cfg, reference, folder),
                "two runs at once": races(reference, folder),
                "settings": wrong_settings(),
            }
            for group, cases in groups.items():
                if cfg.only not in group:
                    continue
                start = time.monotonic()
                results = list(cases)
                held = sum(held for _, held in results)
                rows.append((group, len(results), held, round(time.monotonic() - start)))
                failures += [f"{group}: {text}" for text, held in results if not held]
                log.info("%s: %d of %d", group, held, len(results))
    log.info("%s", "\n".join(console.lines_of(rows)))
    for failure in failures:
        log.info("not held: %s", failure)
    return 1 if failures else 0


log = logging.getLogger(__name__)

if __name__ == "__main__":
    sys.exit(console.main(attack, Settings))

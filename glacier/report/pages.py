"""The report: a section a stage, and one page that opens with the answer and holds all sections."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import config
from config import Config
from glacier.report.answer import answer, newest
from glacier.report.glossary import GLOSSARY
from glacier.report.viewer import viewer
from glacier.stages import STAGES, runs_folder
from glacier.storage import disk, runner

SECTION = "section.html"  # of each folder that has something to show
MOST_BYTES = 3_500_000  # of all pictures; in the page they take a third more
NARROWER = 1000  # px, the width of pictures that would make the page too large
NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]\d+)?")


class Picture(NamedTuple):
    """A picture of a section: its file, below the section's folder, and what it shows."""

    path: Path
    caption: str


class Fold(NamedTuple):
    """Rows of a table that are shown when asked for."""

    title: str
    rows: Sequence[tuple]


class Chapter(NamedTuple):
    """A section on the page. changed : the inputs that were made again since."""

    title: str
    content: str
    changed: list[str]
    provenance: str


@cache
def template(name: str):
    """Return a template of this folder; what it is given is escaped."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.tests["numeric"] = lambda cell: bool(NUMBER.fullmatch(cell))
    return environment.get_template(name)


def section(folder: Path, title: str, *parts: str | Picture | Fold | Sequence[tuple]) -> Path:
    """Write the report's section of a stage as a piece of HTML that names its pictures; return its path.

    parts : a text is a paragraph, rows are a table with the first row as its head.
    """
    described = [describe(part, folder) for part in parts]
    piece = template("parts.html.j2").render(title=title, parts=described)
    with disk.writing(folder / SECTION) as file:
        file.write(piece.encode())
    return folder / SECTION


def describe(part: str | Picture | Fold | Sequence[tuple], folder: Path) -> dict:
    """Return a part of a section as the template wants it."""
    if isinstance(part, str):
        return {"kind": "text", "text": part}
    if isinstance(part, Picture):
        name = str(part.path.relative_to(folder))
        return {"kind": "picture", "name": name, "caption": part.caption}
    if isinstance(part, Fold):
        return {"kind": "fold", "title": part.title, "rows": texts(part.rows)}
    return {"kind": "table", "rows": texts(part)}


def texts(rows: Sequence[tuple]) -> list[list[str]]:
    """Return the cells of a table as texts, numbers with four digits."""
    table = []
    for row in rows:
        cells = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row]
        table.append(cells)
    return table


def report(cfg: Config) -> Path:
    """Write datasets/<name>/report.html; return its path.

    The page opens with the answer; the sections of all finished stages and runs follow, folded. It needs no other file
    and no network. Each section tells what it was made with, and from what.
    """
    folders = with_sections(cfg)
    manifests = {folder: runner.read_manifest(folder) for folder in folders}
    finished = {folder: manifest for folder, manifest in manifests.items() if manifest}
    stages = [folder for folder in finished if folder.parent == cfg.folder]
    present = {folder.name: runner.manifest_hash(finished[folder]) for folder in stages}
    path = cfg.folder / "report.html"
    mark = f"<!-- {fingerprint(finished)} -->"
    if path.is_file() and path.read_text().startswith(mark):
        return path
    first_page = answer(cfg, list(finished))
    room = Room(pictures_of(first_page, finished))
    chapters = [chapter(folder, finished[folder], present, room) for folder in finished]
    pictures: list[Any] = []
    for path_of_picture, caption in first_page.pictures:
        pictures.append({"source": room.source(path_of_picture), "caption": caption})
    page = template("page.html.j2").render(
        name=cfg.name,
        answer=first_page._replace(pictures=pictures),
        chapters=chapters,
        data=viewer(cfg, newest(list(finished), "forecast")),
        glossary=GLOSSARY,
    )
    disk.sweep_parts(path)
    with disk.writing(path) as file:
        file.write(f"{mark}\n{page}".encode())
    return path


def fingerprint(finished: dict[Path, dict]) -> str:
    """Return what the page depends on: the manifests of its stages and runs, and how it is made."""
    manifests = [[str(folder), manifest] for folder, manifest in finished.items()]
    makers = sorted(Path(__file__).parent.glob("[a-z]*.*"))
    return config.fingerprint([manifests, [path.read_text() for path in makers]])


def chapter(folder: Path, manifest: dict, present: dict[str, str], room: Room) -> Chapter:
    """Return the section of a folder. present : hashes of the stages as they are."""
    from markupsafe import Markup

    piece = (folder / SECTION).read_text(encoding="utf-8")
    heading = re.search("<h2>(.*)</h2>", piece)
    title = html.unescape(heading[1]) if heading else folder.name
    body = re.sub("<h2>.*</h2>", "", piece, count=1)
    inputs = manifest["inputs"]
    changed = [name for name in inputs if present.get(name, inputs[name]) != inputs[name]]
    told = {key: manifest[key] for key in ("settings", "inputs", "packages", "seconds")}
    provenance = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100)
    return Chapter(title, Markup(embed(folder, body, room)), changed, provenance)


def with_sections(cfg: Config) -> list[Path]:
    """Return the folders of a glacier that have a section: stages in run order, then each run and what it has below."""
    stages = [cfg.folder / stage for stage in STAGES]
    name = re.escape(config.file_name(cfg.name))
    runs = runs_folder()
    pattern = re.compile(
        rf"{name}-\w+-[\d-]+(/(evaluation|forecast))?|.*/(evaluation|forecast)-{name}"
    )
    sections = [*runs.glob(f"*/{SECTION}"), *runs.glob(f"*/*/{SECTION}")]
    folders = sorted(path.parent for path in sections)
    matching = [path for path in folders if pattern.fullmatch(path.relative_to(runs).as_posix())]
    return [folder for folder in (*stages, *matching) if (folder / SECTION).is_file()]


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures that the section of a folder names."""
    names = re.findall(r'src="([^"]+)"', (folder / SECTION).read_text(encoding="utf-8"))
    return [folder / html.unescape(name) for name in names]


def pictures_of(first_page, folders) -> list[Path]:
    """Return all pictures of the page."""
    pictures = [picture.path for picture in first_page.pictures]
    for folder in folders:
        pictures += pictures_in(folder)
    return [path for path in pictures if path.is_file()]


class Room:
    """Pictures as addresses that hold them; where all together take more than MOST_BYTES, the largest are made smaller.

    paths : of all pictures of the page.
    """

    def __init__(self, paths: Sequence[Path]):
        sizes = {path: path.stat().st_size for path in paths}
        total = float(sum(sizes[path] for path in paths))
        self.smaller: set[Path] = set()
        for path in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if total <= MOST_BYTES:
                break
            self.smaller.add(path)
            total -= 0.8 * sizes[path]  # what a smaller one saves, about

    def source(self, path: Path) -> str:
        """Return the address of a picture; empty for one that is not there."""
        if not path.is_file():
            return ""
        kind, content = path.suffix[1:], path.read_bytes()
        if path in self.smaller:
            kind, content = "webp", as_webp(content)
        return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def as_webp(content: bytes) -> bytes:
    """Return a picture or an animation as WebP, at most NARROWER px wide."""
    from PIL import Image, ImageSequence

    with Image.open(io.BytesIO(content)) as image:
        height = round(image.height * min(1, NARROWER / image.width))
        size = (min(image.width, NARROWER), height)
        frames = [frame.convert("RGB").resize(size) for frame in ImageSequence.Iterator(image)]
        duration = image.info.get("duration", 0)
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "WEBP", quality=75, save_all=True, append_images=frames[1:], duration=duration
    )
    return buffer.getvalue()


def embed(folder: Path, piece: str, room: Room) -> str:
    """Return a piece of HTML with the pictures it names inside it."""

    def inside(match: re.Match) -> str:
        return f'src="{room.source(folder / html.unescape(match[1]))}"'

    return re.sub(r'src="([^"]+)"', inside, piece)

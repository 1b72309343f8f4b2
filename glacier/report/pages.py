"""The report: a section a stage, and one page of all sections."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

import config
from config import Config
from glacier.stages import STAGES
from glacier.storage import disk, runner

SECTION = "section.html"  # of each folder that has something to show


STYLE = """
body { margin: 0 auto; max-width: 50rem; padding: 0 1rem 3rem; font: 1rem/1.5 system-ui, sans-serif; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem; }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; } figcaption, details { font-size: .9rem; }
.wide { overflow-x: auto; margin: .8rem 0; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; } th { border-bottom: 1px solid #888; }
.number { text-align: right; } .old { color: #b2182b; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 40rem) { table { font-size: .8rem; } th, td { padding-right: .5rem; } }
@media print { nav { display: none; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  body { max-width: none; } details::details-content { content-visibility: visible; } }
"""


class Picture(NamedTuple):
    """A picture of a section: its file, below the section's folder, and what it shows."""

    path: Path
    caption: str


class Fold(NamedTuple):
    """Rows of a table that are shown when asked for."""

    title: str
    rows: Sequence[tuple]


def section(folder: Path, title: str, *parts: str | Picture | Fold | Sequence[tuple]) -> Path:
    """Write the report's section of a stage as a piece of HTML that names its pictures; return its path.

    parts : a text is a paragraph, rows are a table with the first row as its head.
    """
    pieces = [f"<h2>{html.escape(title)}</h2>"]
    for part in parts:
        if isinstance(part, str):
            pieces.append(f"<p>{html.escape(part)}</p>")
        elif isinstance(part, Picture):
            name, text = (
                html.escape(str(word)) for word in (part.path.relative_to(folder), part.caption)
            )
            pieces.append(
                f'<figure><img src="{name}" alt="{text}"><figcaption>{text}</figcaption></figure>'
            )
        elif isinstance(part, Fold):
            pieces.append(
                f"<details><summary>{html.escape(part.title)}</summary>{table(part.rows)}</details>"
            )
        else:
            pieces.append(table(part))
    with disk.writing(folder / SECTION) as file:
        file.write("\n".join(pieces).encode())
    return folder / SECTION


def table(rows: Sequence[tuple]) -> str:
    """Return rows as an HTML table; the first row is the head, numbers stand to the right."""
    lines = []
    for tag, row in zip(("th", *["td"] * len(rows)), rows, strict=False):
        cells = [
            (f"{cell:.4g}" if isinstance(cell, float) else html.escape(str(cell))) for cell in row
        ]
        marks = [
            ' class="number"' if re.fullmatch(r"[-+]?[\d.,]+(e[-+]\d+)?", cell) else ""
            for cell in cells
        ]
        lines.append(
            "".join(f"<{tag}{mark}>{cell}</{tag}>" for cell, mark in zip(cells, marks, strict=True))
        )
    return (
        '<div class="wide"><table>'
        + "".join(f"<tr>{line}</tr>" for line in lines)
        + "</table></div>"
    )


def report(cfg: Config) -> Path:
    """Write datasets/<name>/report.html, the sections of all finished stages and runs as one page; return its path.

    The page needs no other file and no network. Each section tells what it was made with, and from what.
    """
    made = {
        folder: manifest
        for folder in with_sections(cfg)
        if (manifest := runner.read_manifest(folder))
    }
    now = {
        folder.name: runner.manifest_hash(made[folder])
        for folder in made
        if folder.parent == cfg.folder
    }
    links, sections = [], []
    for number, (folder, manifest) in enumerate(made.items()):
        piece = embed(folder, (folder / SECTION).read_text())
        links.append(f'<a href="#part{number}">{re.search("<h2>(.*)</h2>", piece)[1]}</a>')
        old = [name for name, value in manifest["inputs"].items() if now.get(name, value) != value]
        note = f'<p class="old">{", ".join(old)} changed since: run this again.</p>' if old else ""
        sections.append(f'<section id="part{number}">{piece}{note}{provenance(manifest)}</section>')
    title = html.escape(cfg.name)
    page = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{title}</h1><nav>{' · '.join(links)}</nav>{''.join(sections)}</body></html>"
    )
    with disk.writing(cfg.folder / "report.html") as file:
        file.write(page.encode())
    return cfg.folder / "report.html"


def with_sections(cfg: Config) -> list[Path]:
    """Return the folders of a glacier that have a section: stages in run order, then each run and what it has below."""
    stages, name = [cfg.folder / stage for stage in STAGES], re.escape(cfg.name)
    runs = config.home() / "DeepLearning" / "runs"
    own = re.compile(rf"{name}-\w+-[\d-]+(/(evaluation|forecast))?|.*/(evaluation|forecast)-{name}")
    found = sorted(
        path.parent
        for depth in ("*", "*/*")
        for path in runs.glob(f"{depth}/{SECTION}")
        if own.fullmatch(path.parent.relative_to(runs).as_posix())
    )
    return [folder for folder in (*stages, *found) if (folder / SECTION).is_file()]


def embed(folder: Path, piece: str) -> str:
    """Return a piece of HTML with the pictures it names inside it."""

    def inside(found: re.Match) -> str:
        path = folder / html.unescape(found[1])
        content = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
        return f'src="data:image/{path.suffix[1:]};base64,{content}"'

    return re.sub(r'src="([^"]+)"', inside, piece)


def provenance(manifest: dict) -> str:
    """Return what a stage or run was made with, folded away."""
    told = {key: manifest[key] for key in ("settings", "inputs", "packages", "seconds")}
    text = html.escape(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100))
    return f"<details><summary>Made with these settings, inputs and versions</summary><pre>{text}</pre></details>"

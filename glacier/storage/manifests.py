"""What is written into a manifest, and what stands for the settings and inputs of a stage."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import yaml

import config
from config import Config
from glacier.storage.disk import writing
from glacier.storage.integrity import MANIFEST, SCHEMA, file_hash, signed

PACKAGES = ("numpy", "opencv-python-headless", "rasterio", "torch")


class PlainDumper(yaml.SafeDumper):
    """Writes YAML without references: what is said twice is written twice."""

    def ignore_aliases(self, data) -> bool:
        return True


def write_manifest(
    folder: Path,
    settings: dict,
    inputs: dict,
    files: Iterable[Path],
    counts: dict,
    seconds: float,
    command: str = "",
) -> None:
    """Write manifest.yaml, the last file of a stage. command : what makes the stage again."""
    outputs = {}
    for path in sorted(files):
        size = path.stat().st_size
        outputs[str(path.relative_to(folder))] = {"bytes": size, "sha256": file_hash(path)}
    content = {
        "schema": SCHEMA,
        "command": config.without_secrets(command),
        "settings": settings,
        "settings_hash": config.fingerprint(settings),
        "inputs": inputs,
        "outputs": outputs,
        "counts": counts,
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "seconds": round(seconds, 1),
    }
    text = yaml.dump(content, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=120)
    with writing(folder / MANIFEST) as file:
        file.write(signed(text.encode()))


def manifest_hash(manifest: dict) -> str:
    """Return the fingerprint of what a stage made and from what: equal whenever its output is equal."""
    return config.fingerprint([manifest["settings"], manifest["inputs"], manifest["outputs"]])


def used_settings(cfg: Config, names: Iterable[str]) -> dict:
    """Return the settings a stage uses, as plain containers."""
    settings = {}
    for name in names:
        value = getattr(cfg, name)
        if isinstance(value, str):
            value = config.without_secrets(value)
        settings[name] = value
        if isinstance(value, tuple):
            settings[name] = list(value)
    return settings


def file_inputs(
    cfg: Config, names: Iterable[str], more: Iterable[Path] = ()
) -> list[tuple[str, str]]:
    """Return what stands for the files that settings name: (setting, hash), or the address of what is no file here.

    more : files that belong to those, as the projection beside a shapefile.
    """
    inputs = []
    for name in names:
        path = getattr(cfg, name)
        if path:
            address = config.without_secrets(path)
            content = address
            if Path(path).is_file():
                content = file_hash(Path(path))
            inputs.append((name, content))
    for number, path in enumerate(more, 1):
        inputs.append((f"file {number}", file_hash(path)))
    return inputs

"""Settings: edit the block below for a new glacier, or draw it in getCoordinatesFromMap.ipynb.

Every setting is also a flag of every script, spelled alike:  python alignment.py --name=parvati --stepsPerYear=12
A later place wins: this file < datasets/<name>/glacier.yaml < --config=FILE.yaml < --setting=value.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import json
import os
import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent
CONTAINER = re.compile(r'(?i)(netcdf|hdf5|zarr):"?(?P<path>[^":]+)"?:')


class GlacierError(Exception):
    """Something the user can mend: the text says the value, the rule and what to do. Scripts print it, exit code 2."""

    exit_code = 2


def setting(default, help, low=None, high=None, choices=None, path=False):
    """Return a dataclass field with its help and rule; `path` marks a value that may name a file."""
    rule = {"help": help, "low": low, "high": high, "choices": choices, "path": path}
    return dataclasses.field(default=default, metadata=rule)


@dataclass(frozen=True)
class Config:
    # ── The glacier. For a new one change these three lines, or draw it in the notebook. ─────────────────────────
    # fmt: off
    name: str = setting("parvati", "folder under datasets/")
    boundingBox: tuple[float, ...] = setting((77.488, 31.993, 77.821, 32.225), "west, south, east, north [degrees]")
    years: tuple[int, ...] = setting((2013, 2022), "first and last year, both included")
    # fmt: on

    # ── 1 Scenes: dataAPI.py ─────────────────────────────────────────────────────────────────────────────────────
    source: str = setting(
        "planetary-computer", "that, a STAC API's address, or the path of a catalog.json", path=True
    )
    sensor: tuple[str, ...] = setting(
        ("landsat-8-9",), "satellites, rows of SENSORS, as landsat-8-9,landsat-4-5-7"
    )
    collection: str = setting("", "STAC collection; empty: the sensor's own")
    platforms: tuple[str, ...] = setting(
        (), "satellites of the collection; empty: the sensor's own"
    )
    maxCloudPercent: float = setting(
        20.0, "scenes with more cloud are not read [% of the scene]", low=0, high=100
    )
    maxMissingFraction: float = setting(
        0.5, "scenes with more missing in the box are dropped [0-1]", low=0, high=1
    )
    pixelSize: float = setting(30.0, "of the common grid [m]", low=0.1)
    elevation: str | None = setting(
        "cop-dem-glo-30",
        "of the ground: that, from the source, the path of a GeoTIFF [m], or None",
        path=True,
    )
    workers: int = setting(8, "files read, or pairs of scenes compared, at once", low=1)
    executor: str = setting(
        "threads", "what reads and compares scenes: this machine, or a Dask scheduler's address"
    )
    dryRun: bool = setting(False, "say what would be read, and read nothing")

    # ── 2 Co-registration and composites: alignment.py ───────────────────────────────────────────────────────────
    extractNDSI: bool = setting(True, "True: snow-index maps; False: the red, green and blue bands")
    alignmentMethod: str = setting(
        "orientation", "co-registration method", choices=("orientation", "ecc")
    )
    alignmentFrame: str = setting(
        "archive",
        "what the scenes are laid on: the middle of all as delivered, or the one "
        "most like the others",
        choices=("archive", "central"),
    )
    motionModel: str = setting(
        "affine", "of the correction", choices=("translation", "euclidean", "affine", "homography")
    )
    stoppingCriterion: float = setting(
        1e-5, "ECC: smallest gain of an iteration that goes on", low=0
    )
    maxIterations: int = setting(100, "ECC: iterations at most", low=1)
    maxGeometricError: float = setting(
        12.0,
        "scenes with more, and Landsat's Tier 2, count only where others confirm them [m]",
        low=0,
    )
    iceOutline: str | None = setting(
        None,
        "outline file of the moving ice, or FILE:ID for one glacier of it; None: found from the "
        "series",
        path=True,
    )
    stepsPerYear: int = setting(
        4, "composites a year: 4 seasons, 12 months, 46 eight-day steps", low=1, high=366
    )

    # ── 3 Patches and split: createPatches.py ────────────────────────────────────────────────────────────────────
    patchSize: int = setting(50, "side of a patch [px]", low=4)
    stride: int = setting(10, "between neighbouring patches [px]", low=1)
    sequenceLength: int = setting(4, "input steps", low=1)
    horizon: int = setting(4, "target steps", low=1)
    snowThreshold: float | None = setting(
        0.3, "NDSI below it is 0 in the patches; None keeps all", low=-1, high=1
    )
    testFraction: float = setting(
        0.2, "last part of the steps, for the test only", low=0.01, high=0.9
    )
    validationFraction: float = setting(
        0.1,
        "part of the steps before that, to stop training and to weigh it; whole years from 4 on",
        low=0.01,
        high=0.9,
    )

    # ── 4 Movement: movement.py ──────────────────────────────────────────────────────────────────────────────────
    maxVelocity: float = setting(
        200.0, "of the ice; faster is not looked for [m/yr]", low=1, high=30000
    )
    trackingBand: str = setting("nir08", "what is tracked: a band of the archive, or ndsi")
    itsLive: str | None = setting(
        None,
        "ITS_LIVE velocities to compare with: path or address of a GeoTIFF with vx and "
        "vy, of the one of a pair that ends in _vx.tif, of a NetCDF granule, or of a Zarr cube",
        path=True,
    )

    # ── Every stage ──────────────────────────────────────────────────────────────────────────────────────────────
    force: bool = setting(False, "run the stage even if it is up to date")
    verify: bool = setting(
        False, "compare every byte that is read or was made with its manifest first"
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check_rule(field, getattr(self, field.name))
        if not self.name or self.name != Path(self.name).name or self.name.startswith("."):
            raise GlacierError(f"name is a plain folder name under datasets/; got {self.name!r}")
        box = self.boundingBox
        if len(box) != 4 or not (
            -180 <= box[0] < box[2] <= box[0] + 360
            and -90 <= box[1] < box[3] <= 90
            and box[0] <= 180
        ):
            raise GlacierError(
                "boundingBox is west, south, east, north in degrees, west < east and south < north "
                f"(across the antimeridian east exceeds 180, as 179.5 to 180.5); got {list(box)}"
            )
        if len(self.years) != 2 or self.years[0] > self.years[1]:
            raise GlacierError(
                f"years are the first and the last year, in this order; got {list(self.years)}"
            )
        if self.testFraction + self.validationFraction >= 1:
            raise GlacierError(
                "testFraction + validationFraction must leave steps to train on; "
                f"got {self.testFraction} + {self.validationFraction}"
            )

    @property
    def folder(self) -> Path:
        """The glacier's folder, datasets/<name>."""
        return home() / "datasets" / self.name


def home() -> Path:
    """Return the folder that holds datasets/ and DeepLearning/runs/: the project's, or GLACIER_HOME (a bigger disk)."""
    return Path(os.environ.get("GLACIER_HOME", ROOT)).resolve()


def check_rule(field: dataclasses.Field, value) -> None:
    """Raise GlacierError if a value breaks the range or the choices of its setting."""
    choices, low, high = (field.metadata.get(key) for key in ("choices", "low", "high"))
    if choices is not None and value not in choices:
        raise GlacierError(
            f"{field.name} must be one of {', '.join(choices)}; got {value!r}{nearest(value, choices)}"
        )
    if value is None or (low is None and high is None):
        return
    for number in value if isinstance(value, tuple) else (value,):
        if (low is not None and number < low) or (high is not None and number > high):
            bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
            raise GlacierError(
                f"{field.name} must be {bounds} ({field.metadata['help']}); got {number}"
            )


def nearest(word: str, names) -> str:
    """Return '; did you mean X?' for the name most like `word`, or nothing."""
    match = difflib.get_close_matches(
        word.lower(), {str(name).lower(): name for name in names}, n=1
    )
    return (
        f"; did you mean {next(name for name in names if str(name).lower() == match[0])}?"
        if match
        else ""
    )


def convert(name: str, value, kind, origin: str):
    """Return a value from a flag (text) or a YAML file as the type of its setting; GlacierError if it is not one."""
    text = isinstance(value, str)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value is None or (text and value.strip().lower() in ("none", "null", "")):
            return None
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is tuple:
        parts = (
            value.strip("[]()").split(",")
            if text
            else value
            if isinstance(value, list | tuple)
            else [value]
        )
        return tuple(
            convert(name, part, typing.get_args(kind)[0], origin) for part in parts if part != ""
        )
    if text and kind in (int, float):
        value = yaml.safe_load(value)
        if isinstance(value, str):  # YAML reads 1e-3 as text
            with contextlib.suppress(ValueError):
                value = float(value)
    if text and kind is bool:
        value = {"true": True, "yes": True, "false": False, "no": False}.get(value.lower(), value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind is str and isinstance(value, str):
        value = value.strip()
    if type(value) is not kind or (kind is float and value != value):
        word = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}[kind]
        raise GlacierError(f"{origin}: {name} must be {word}; got {value!r}")
    return value


# the parser written in C, five times as fast, where it is installed
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str):
    """Return the plain containers of a YAML text."""
    return yaml.load(text, Loader=_Loader)


def read_yaml(path: Path) -> dict:
    """Return the settings of a YAML file; GlacierError if it cannot be read as settings."""
    try:
        content = load_yaml(path.read_text())
    except OSError as error:
        raise GlacierError(
            f"{path}: {error.strerror}; --config takes the path of a YAML file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GlacierError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, dict):
        raise GlacierError(f"{path} must hold lines 'setting: value'; got {type(content).__name__}")
    return content or {}


def read_flags(argv: list[str], kinds: dict) -> dict[str, str]:
    """Return {setting: text} from --setting=value, --setting value, or a bare --setting for a yes/no one."""
    flags, queue = {}, list(argv)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            raise GlacierError(
                f"{word!r} is not a setting; write --setting=value (--help lists them)"
            )
        name, equals, value = word[2:].partition("=")
        if not equals:
            if kinds.get(name) is bool:
                value = "True"
            elif queue and not queue[0].startswith("--"):
                value = queue.pop(0)
            else:
                hint = "" if name in kinds else nearest(name, kinds)
                raise GlacierError(f"--{name} needs a value: --{name}=value{hint}")
        flags[name] = value
    return flags


def load(
    cls: type[Config], argv: list[str] | None = None, say=lambda line: None, **keywords
) -> Config:
    """Return the settings of a run: defaults < glacier.yaml < --config file < flags < keywords.

    cls : Config or a subclass with more settings. argv : the flags, or None.
    say : called with one line for each setting that is not the default, naming where it came from.
    Raises GlacierError for an unknown setting or a wrong value, naming the file and the rule.
    """
    kinds = {
        name: kind
        for name, kind in typing.get_type_hints(cls).items()
        if name in cls.__dataclass_fields__
    }
    flags = read_flags(argv or [], kinds)
    extra = Path(flags.pop("config")).absolute() if "config" in flags else None
    layers = [(str(extra), extra.parent, read_yaml(extra))] if extra else []
    layers += [("flag", Path.cwd(), flags), ("keyword", Path.cwd(), keywords)]
    name = next((layer["name"] for _, _, layer in reversed(layers) if "name" in layer), cls.name)
    overlay = home() / "datasets" / str(name) / "glacier.yaml"
    if overlay.is_file():
        content = read_yaml(overlay)
        if content.get("name", name) != name:
            raise GlacierError(
                f"{overlay}: name is {content['name']!r} but its folder is {name!r}; make them the same"
            )
        layers.insert(0, (str(overlay), overlay.parent, content))
    values, origins = {}, {}
    for origin, folder, layer in layers:
        for key, value in layer.items():
            if key not in kinds:
                raise GlacierError(f"{origin}: unknown setting {key!r}{nearest(str(key), kinds)}")
            values[key], origins[key] = convert(key, value, kinds[key], origin), origin
            field = cls.__dataclass_fields__[key]
            if field.metadata["path"] and values[key] != field.default:
                values[key] = absolute(values[key], folder)
    cfg = cls(**values)
    for key, origin in origins.items():
        say(f"  {key} = {getattr(cfg, key)}   ({origin})")
    return cfg


def absolute(value: str | None, folder: Path) -> str | None:
    """Return a path as seen from `folder` (of the file it was written in); addresses and names stay as they are."""
    if value is None or "://" in value:
        return value
    container = CONTAINER.match(value)
    if container:  # a variable of a file, as netcdf:granule.nc:vx
        start, end = container.span("path")
        return value[:start] + str((folder / value[start:end]).resolve()) + value[end:]
    return str((folder / value).resolve())


def usage(cls: type[Config]) -> str:
    """Return the help page: every setting with its default and meaning."""
    lines = ["  --config=FILE.yaml   settings from a file"]
    for field in dataclasses.fields(cls):
        shown = (
            ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        )
        choices = (
            f" ({', '.join(map(str, field.metadata['choices']))})"
            if field.metadata["choices"]
            else ""
        )
        lines.append(f"  --{field.name}={shown}\n        {field.metadata['help']}{choices}")
    return "\n".join(lines)


def fingerprint(values) -> str:
    """Return 16 hexadecimal digits that change with any of the values (plain containers, numbers, text)."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]

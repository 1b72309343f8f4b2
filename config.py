"""Settings: edit the block below for a new glacier, or draw it in getCoordinatesFromMap.ipynb.

Every setting is also a flag of every script, spelled alike:  python alignment.py --name=parvati --stepsPerYear=12
A later place wins: this file < datasets/<name>/glacier.yaml < --config=FILE.yaml < --setting=value.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import itertools
import json
import math
import os
import re
import stat
import sys
import textwrap
import types
import typing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

if not all(map(find_spec, ("numpy", "rasterio", "yaml"))):  # not the Python of .venv
    print(
        f"error: {sys.executable} lacks the packages of this project; once in each new terminal: "
        "source .venv/bin/activate (make demo sets .venv up)",
        file=sys.stderr,
    )
    sys.exit(2)

import yaml  # noqa: E402

import glacier  # noqa: E402, F401  before rasterio, which looks at once where PROJ and GDAL have their data

ROOT = Path(__file__).resolve().parent


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
    name: str = setting("parvati", "folder under datasets/; several: a,b or 'group/*'")
    boundingBox: tuple[float, ...] = setting((77.488, 31.993, 77.821, 32.225), "west, south, east, north [degrees]")
    years: tuple[int, ...] = setting((2013, 2022), "first and last year, both included", low=1900, high=2200)
    # fmt: on

    # ── 1 Scenes: dataAPI.py ─────────────────────────────────────────────────────────────────────────────────────
    source: str = setting(
        "planetary-computer",
        "that, a STAC API's address, or path or address of a catalog.json, collection.json, saved "
        "item collection or item",
        path=True,
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
    harmonise: bool = setting(
        False, "take the bias between sensors, found where they overlap, from the snow index"
    )
    pixelSize: float = setting(30.0, "of the common grid [m]", low=0.1)
    elevation: str | None = setting(
        "cop-dem-glo-30",
        "of the ground: that, from the source, the path of a GeoTIFF [m], or None",
        path=True,
    )
    workers: int = setting(8, "files read, or pairs of scenes compared, at once", low=1, high=512)
    executor: str = setting(
        "threads", "what reads and compares scenes: this machine, or a Dask scheduler's address"
    )
    dryRun: bool = setting(False, "say what would be read, and read nothing")

    # ── 2 Co-registration and composites: alignment.py ───────────────────────────────────────────────────────────
    extractNDSI: bool = setting(True, "True: snow-index maps; False: the red, green and blue bands")
    alignmentMethod: str = setting(
        "orientation",
        "co-registration method; ecc follows snow lines and may leave scenes worse than delivered",
        choices=("orientation", "ecc"),
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
    trackingBand: str = setting(
        "nir08",
        "what is tracked: a band of the archive, or ndsi; nir of Sentinel-2 on its own 10 m",
    )
    pairDays: tuple[float, ...] | None = setting(
        None,
        "fewest and most days between the scenes of a pair; None: whole years, and short pairs where "
        "maxVelocity makes them resolvable",
        low=1,
        high=3650,
    )
    points: tuple[float, ...] = setting(
        (),
        "longitude, latitude of each point of the time series [degrees]; empty: on the flow line",
    )
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
        check_name(self.name)
        check_box(self.boundingBox)
        if len(self.years) != 2 or self.years[0] > self.years[1]:
            raise GlacierError(
                f"years are the first and the last year, in this order; got {list(self.years)}"
            )
        if self.pairDays is not None and (
            len(self.pairDays) != 2 or self.pairDays[0] > self.pairDays[1]
        ):
            raise GlacierError(
                "pairDays are the fewest and the most days between two scenes, in this order, as 8,100; "
                f"got {list(self.pairDays)}"
            )
        if len(self.points) % 2:
            raise GlacierError(
                "points are longitude,latitude of each point, one after the other, as 77.6,32.1,77.7,32.2; "
                f"got {len(self.points)} numbers"
            )
        if self.stride > self.patchSize:
            raise GlacierError(
                f"stride ({self.stride} px) is larger than patchSize ({self.patchSize} px), so that no patch "
                "would hold the pixels between; lower stride or raise patchSize"
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


# ── Where things are, and what a value must be ───────────────────────────────────────────────────────────────────

# bounds of what is read as a setting
LONGEST_NAME = 100  # bytes; a file name may have 255
LONGEST_TEXT = 4000
LONGEST_NUMBER = 40  # digits
LONGEST_LINE = 100  # of what is printed, letters
LARGEST_INTEGER = 1 << 53
LARGEST_YAML = 1_000_000  # bytes
DEEPEST_YAML = 20
# user:password@ in an address
SECRET = re.compile(r"(?<=://)[^/?#\s]*@")
CONTAINER = re.compile(r'(?i)(netcdf|hdf5|zarr):"?(?P<path>[^":]+)"?:')


def home() -> Path:
    """Return the folder that holds datasets/ and DeepLearning/runs/: the project's, or GLACIER_HOME (a bigger disk)."""
    named = os.environ.get("GLACIER_HOME")
    if named is None:
        return ROOT
    folder = Path(named).expanduser().resolve()
    possible = folder.is_dir() or (not folder.exists() and folder.parent.is_dir())
    if not named.strip() or not possible:
        raise GlacierError(
            f"GLACIER_HOME is {named!r}, which is no folder; make it (mkdir -p), name another, or unset it"
        )
    return folder


def check_box(box: tuple[float, ...]) -> None:
    """Raise GlacierError unless a box is west, south, east, north in degrees; offer what latitude first would mean."""
    if is_box(box):
        return
    line = (
        "boundingBox is west, south, east, north in degrees, west < east and south < north "
        f"(across the antimeridian east exceeds 180, as 179.5 to 180.5); got {list(box)}"
    )
    if len(box) == 4:
        south, west, north, east = box
        swapped = west, south, east, north
        if is_box(swapped):
            words = ",".join(f"{degrees:.10g}" for degrees in swapped)
            line += f"; if latitude came first, give --boundingBox={words}"
    raise GlacierError(line)


def is_box(box: tuple[float, ...]) -> bool:
    """Tell whether four numbers are west, south, east, north in degrees."""
    if len(box) != 4:
        return False
    west, south, east, north = box
    return -180 <= west < east <= west + 360 and west <= 180 and -90 <= south < north <= 90


def check_rule(field: dataclasses.Field, value) -> None:
    """Raise GlacierError if a value breaks the range or the choices of its setting."""
    choices = field.metadata.get("choices")
    low = field.metadata.get("low")
    high = field.metadata.get("high")
    if choices is not None and value not in choices:
        names = ", ".join(choices)
        raise GlacierError(
            f"{field.name} must be one of {names}; got {value!r}{nearest(value, choices)}"
        )
    if isinstance(value, tuple):
        numbers = value
    else:
        numbers = (value,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if low is not None and number < low or high is not None and number > high:
            if high is None:
                bounds = f"at least {low}"
            else:
                bounds = f"from {low} to {high}"
            raise GlacierError(
                f"{field.name} must be {bounds} ({field.metadata['help']}); got {number}"
            )


def check_name(name: str) -> None:
    """Raise GlacierError unless a glacier's name is that of a folder under datasets/, or of one in a group's folder."""
    parts = name.split("/")
    if len(parts) > 2 or not all(map(is_folder_name, parts)):
        raise GlacierError(
            f"name is a plain folder name under datasets/, or group/name; got {name!r:.80}"
        )
    if len(name.encode()) > LONGEST_NAME:
        raise GlacierError(
            f"name has {len(name.encode())} bytes, and folders of runs add to it; at most {LONGEST_NAME}"
        )


def is_folder_name(text: str) -> bool:
    """Tell whether a text can be the name of one folder, without a path."""
    plain = text == Path(text).name and not text.startswith(".")
    return bool(text) and plain and text.isprintable() and "\\" not in text


def file_name(name: str) -> str:
    """Return a glacier's name as part of the name of a file or a run: group/one as group@one."""
    return name.replace("/", "@")


def nearest(word: str, names) -> str:
    """Return '; did you mean X?' for the name most like `word`, or nothing."""
    spellings = {str(name).lower(): name for name in names}
    matches = difflib.get_close_matches(str(word).lower(), spellings, n=1)
    if not matches:
        return ""
    return f"; did you mean {spellings[matches[0]]}?"


# ── From text to values ──────────────────────────────────────────────────────────────────────────────────────────


def convert(name: str, value, kind, origin: str):
    """Return a value from a flag (text) or a YAML file as the type of its setting; GlacierError if it is not one."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value is None or str(value).strip().lower() in ("none", "null", ""):
            return None
        (kind,) = [part for part in typing.get_args(kind) if part is not type(None)]
    if typing.get_origin(kind) is tuple:
        member = typing.get_args(kind)[0]
        try:
            return tuple(convert(name, part, member, origin) for part in parts_of(value))
        except GlacierError as error:
            raise GlacierError(f"{error}{with_commas(name, value, member)}") from None
    if isinstance(value, str):
        value = parse(value.strip(), kind)
    if kind is float and type(value) is int and abs(value) <= LARGEST_INTEGER:
        value = float(value)
    if kind is int and type(value) is float and value.is_integer():
        value = int(value)
    problem = what_is_wrong(value, kind)
    if problem:
        raise GlacierError(f"{origin}: {name} must be {problem}; got {short(value)}")
    return value


def with_commas(name: str, value, kind: type) -> str:
    """Return '; write --years=2013,2022' for numbers that were written with other signs between, or nothing."""
    patterns = {int: r"\d+", float: r"(?<![\d.])-?\d+(?:\.\d+)?"}
    if kind not in patterns or not isinstance(value, str):
        return ""
    numbers = re.findall(patterns[kind], value)
    if len(numbers) > 1:
        return f"; write --{name}={','.join(numbers)}"
    return ""


def parts_of(value) -> list:
    """Return the parts of a value that is a list, from a file, or a text with commas, from a flag."""
    if isinstance(value, str):
        value = value.strip("[]()").split(",")
    if not isinstance(value, list | tuple):
        value = [value]
    return [part for part in value if part != ""]


def parse(text: str, kind: type):
    """Return a text as a number or a yes or no; as it is where it is none."""
    if kind is bool:
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
    if kind not in (int, float) or len(text) > LONGEST_NUMBER:
        return text
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text


def what_is_wrong(value, kind) -> str | None:
    """Return what a value should be where it is not, None where it is."""
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    if type(value) is not kind:
        return words[kind]
    if kind is float and not math.isfinite(value):
        return "a finite number"
    if kind is int and abs(value) > LARGEST_INTEGER:
        return f"a whole number of at most {LARGEST_INTEGER}"
    if kind is str and not value.isprintable():
        return "text without control characters"
    if kind is str and len(value) > LONGEST_TEXT:
        return f"text of at most {LONGEST_TEXT} characters"
    return None


def short(value) -> str:
    """Return a value as a message shows it: in one line, not too long."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    if type(value) is int and abs(value) > LARGEST_INTEGER:
        return "a larger one"
    text = repr(value)
    if len(text) < 80:
        return text
    return f"{text[:76]}..."


# ── Files of settings ────────────────────────────────────────────────────────────────────────────────────────────

# the parser written in C, five times as fast, where it is installed
_Loader: typing.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class SettingsLoader(_Loader):
    """Reads plain containers, and refuses a key that is given twice."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                line = node.value[number][0].start_mark.line + 1
                raise ValueError(f"line {line}: {short(key)} is given twice")
        return super().construct_mapping(node, deep)


def load_yaml(text: str):
    """Return the plain containers of a YAML text of ours."""
    return yaml.load(text, Loader=_Loader)


def check_yaml(text: str) -> None:
    """Raise ValueError for YAML that nests deep or refers to itself, before anything is built from it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("references (*) are not read")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST_YAML:
            raise ValueError(f"it is nested more than {DEEPEST_YAML} deep")


def read_yaml(path: Path) -> dict:
    """Return the settings of a YAML file; GlacierError if it cannot be read as settings."""
    text = ""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise GlacierError(f"{path} is no file; --config takes the path of a YAML file")
        if status.st_size > LARGEST_YAML:
            raise GlacierError(
                f"{path} has {status.st_size} bytes, too many for a file of settings ({LARGEST_YAML})"
            )
        text = path.read_text(encoding="utf-8")
        check_yaml(text)
        content = yaml.load(text, Loader=SettingsLoader)
    except OSError as error:
        raise GlacierError(
            f"{path}: {error.strerror}; --config takes the path of a YAML file"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        tabs = [number for number, line in enumerate(text.split("\n"), 1) if "\t" in line]
        if tabs:
            reason = f"line {tabs[0]} holds a tab; YAML takes blanks only"
        raise GlacierError(f"{path} is not valid YAML: {reason:.300}") from error
    if content is not None and not isinstance(content, dict):
        raise GlacierError(f"{path} must hold lines 'setting: value'; got {type(content).__name__}")
    return content or {}


def read_flags(argv: list[str], kinds: dict) -> dict[str, str]:
    """Return {setting: text} from --setting=value, --setting value, or a bare --setting for a yes/no one."""
    flags: dict[str, str] = {}
    queue = list(argv)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--"):
            hint = with_commas(*pieces_of([*flags.items()][-1:], [word, *queue]), float)
            raise GlacierError(
                f"{word!r} is not a setting; write --setting=value (--help lists them){hint}"
            )
        name, equals, value = word[2:].partition("=")
        if not equals:
            if kinds.get(name) is bool:
                value = "True"
            elif queue and not queue[0].startswith("--"):
                value = queue.pop(0)
            else:
                if name in kinds:
                    hint = ""
                else:
                    hint = nearest(name, kinds)
                raise GlacierError(f"--{name} needs a value: --{name}=value{hint}")
        flags[name] = value
    return flags


def pieces_of(last_flag: list[tuple[str, str]], words: list[str]) -> tuple[str, str]:
    """Return a setting and the numbers after it, where blanks made them words of their own; else empty texts."""
    numbers = itertools.takewhile(re.compile(r"[-+\d.,]+").fullmatch, words)
    text = " ".join(numbers)
    if not last_flag or not text:
        return "", ""
    name, value = last_flag[0]
    return name, f"{value} {text}"


def load(
    cls: type[Config], argv: list[str] | None = None, say=lambda line: None, **keywords
) -> Config:
    """Return the settings of a run: defaults < glacier.yaml < --config file < flags < keywords.

    cls : Config or a subclass with more settings. argv : the flags, or None.
    say : called with the lines of a short block: the settings that are not the default, by where they came from.
    Raises GlacierError for an unknown setting or a wrong value, naming the file and the rule.
    """
    hints = typing.get_type_hints(cls)
    kinds = {name: hints[name] for name in cls.__dataclass_fields__}
    values = {}
    origins = {}
    for origin, folder, layer in layers_of(cls, kinds, argv or [], keywords):
        for key, value in layer.items():
            if key not in kinds:
                raise GlacierError(f"{origin}: unknown setting {short(key)}{nearest(key, kinds)}")
            values[key] = convert(key, value, kinds[key], origin)
            origins[key] = origin
            field = cls.__dataclass_fields__[key]
            if field.metadata["path"] and values[key] != field.default:
                values[key] = absolute(values[key], folder)
    cfg = cls(**values)
    for line in told(cfg, origins):
        say(line)
    return cfg


def told(cfg: Config, origins: dict[str, str]) -> list[str]:
    """Return the settings that are not the default, as a user writes them, a line or more for each place they are from.

    origins : {setting: place}.
    """
    by_place: dict[str, list[str]] = {}
    for field in dataclasses.fields(cfg):
        value = getattr(cfg, field.name)
        if field.name in origins and value != field.default:
            if isinstance(value, tuple):
                text = ",".join(map(str, value))
            else:
                text = str(value)
            by_place.setdefault(origins[field.name], []).append(f"{field.name}={text}")
    lines = []
    for place, settings in by_place.items():
        text = near(f"{place}: {' '.join(settings)}")
        lines += textwrap.wrap(
            text,
            LONGEST_LINE,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def layers_of(
    cls: type[Config], kinds: dict, argv: list[str], keywords: dict
) -> list[tuple[str, Path, dict]]:
    """Return where settings come from, the last wins: name of the place, its folder, what it says."""
    flags = read_flags(argv, kinds)
    layers = []
    if "config" in flags:
        path = Path(flags.pop("config")).absolute()
        layers.append((str(path), path.parent, read_yaml(path)))
    layers.append(("flag", Path.cwd(), flags))
    layers.append(("keyword", Path.cwd(), keywords))
    name = cls.name
    for origin, _, layer in layers:
        if "name" in layer:
            name = convert("name", layer["name"], str, origin)
    check_name(name)
    overlay = home() / "datasets" / name / "glacier.yaml"
    if not overlay.is_file():
        return layers
    content = read_yaml(overlay)
    if content.get("name", name) != name:
        raise GlacierError(
            f"{overlay}: name is {short(content['name'])} but its folder is {name!r}; make them the same"
        )
    return [(str(overlay), overlay.parent, content), *layers]


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
        default = field.default
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        text = field.metadata["help"]
        if field.metadata["choices"]:
            text += f" ({', '.join(map(str, field.metadata['choices']))})"
        lines.append(f"  --{field.name}={default}\n        {text}")
    return "\n".join(lines)


def without_secrets(text: str) -> str:
    """Return a text with the user names and passwords of its addresses left out."""
    return SECRET.sub("***@", text)


def near(text: str) -> str:
    """Return a text whose paths below the present folder begin there, as a user types them."""
    here = os.getcwd().rstrip("/") + "/"
    if here == "/":
        return text
    return re.sub(rf"(?<![\w./-]){re.escape(here)}(?=[^\s/])", "", text)


def fingerprint(values) -> str:
    """Return 16 hexadecimal digits that change with any of the values (plain containers, numbers, text)."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]

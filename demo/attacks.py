"""Files that mean harm, or were harmed: what the tests and benchmarks/reliability.py throw at the readers.

Everything is made from a seed, so that an attack can be repeated.
"""

from __future__ import annotations

import copy
import pickle
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

NAMES = [
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
]
CODES = ["u2", "f4", "b1", "O", "O8", "V8", "U4", "M8[ns]", "f8", "i1", "i4,i4", ">u2", "c16"]
SIZES = [0, 1, 2, 7, 255, 65536, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -1]


# ── Pickle streams ───────────────────────────────────────────────────────────────────────────────────────────────


def honest_scene(random: np.random.Generator) -> dict:
    """Return what a scene of rawData looks like, with an array of each kind that NumPy writes in its own way."""
    return {
        "id": f"scene-{random.integers(1000)}",
        "cloud_percent": float(random.random()),
        "bands": ["green", "swir16"],
        "dn": random.integers(0, 60000, (2, 5, 6)).astype(np.uint16),
        "mask": np.asfortranarray(random.integers(0, 32, (5, 6)).astype(np.uint8)),
        "observed": random.random((3, 4)) > 0.5,
        "slice": np.arange(24.0).reshape(4, 6)[::2, ::3],
        "sun_elevation": np.float64(random.random()),
    }


def text(word: str) -> bytes:
    """Return the opcodes of a short text."""
    content = word.encode()
    return pickle.SHORT_BINUNICODE + bytes([len(content)]) + content


def name(module: str, word: str) -> bytes:
    """Return the opcodes that look up a name."""
    return text(module) + text(word) + pickle.STACK_GLOBAL


def integer(value: int) -> bytes:
    """Return the opcodes of an integer."""
    return pickle.LONG1 + b"\x09" + value.to_bytes(9, "little", signed=True)


def random_value(random: np.random.Generator, depth: int = 0) -> bytes:
    """Return opcodes that leave one random value on the stack: plain, or a part of an array, right or wrong."""
    kind = random.integers(0, 12 if depth < 3 else 6)
    if kind == 0:
        return random.choice([pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.EMPTY_TUPLE])
    if kind == 1:
        return integer(int(random.choice(SIZES)))
    if kind == 2:
        return text(str(random.choice(CODES)))
    if kind == 3:
        content = random.bytes(int(random.integers(0, 40)))
        opcode = random.choice([pickle.BINBYTES8, pickle.BYTEARRAY8])
        return opcode + struct.pack("<Q", len(content)) + content
    if kind == 4:
        return pickle.BINGET + bytes([random.integers(0, 12)])
    if kind == 5:
        return name(*NAMES[random.integers(len(NAMES))])
    if kind == 6:
        members = [random_value(random, depth + 1) for _ in range(random.integers(0, 9))]
        return pickle.MARK + b"".join(members) + pickle.TUPLE
    if kind == 7:
        return random_type(random) + pickle.MEMOIZE
    parts = [random_value(random, depth + 1) for _ in range(random.integers(1, 6))]
    arguments = pickle.MARK + b"".join(parts) + pickle.TUPLE
    if kind == 8:
        return random_value(random, depth + 1) + arguments + pickle.REDUCE
    if kind == 9:
        return random_value(random, depth + 1) + arguments + pickle.BUILD
    return random_array(random) + pickle.MEMOIZE


def random_type(random: np.random.Generator) -> bytes:
    """Return the opcodes of a number type, often with a forged state."""
    code = text(str(random.choice(CODES)))
    opcodes = name("numpy", "dtype") + code + pickle.NEWFALSE + pickle.NEWTRUE
    opcodes += pickle.TUPLE3 + pickle.REDUCE
    if random.random() < 0.3:
        return opcodes
    order = text(str(random.choice(["<", ">", "|", "O"])))
    fields = [pickle.NONE] * 3
    numbers = [integer(-1), integer(-1), integer(0)]
    if random.random() < 0.5:
        numbers[random.integers(3)] = integer(int(random.choice([*SIZES, 27, 63])))
        fields[random.integers(3)] = random.choice([pickle.NONE, pickle.EMPTY_TUPLE, text("x")])
    state = integer(int(random.choice([3, 3, 3, 4, 1]))) + order + b"".join([*fields, *numbers])
    return opcodes + pickle.MARK + state + pickle.TUPLE + pickle.BUILD


def random_array(random: np.random.Generator) -> bytes:
    """Return the opcodes of an array whose parts often do not fit together."""
    content = random.bytes(int(random.integers(0, 64)))
    buffer = pickle.BINBYTES8 + struct.pack("<Q", len(content)) + content
    lengths = [len(content), len(content) // 2, len(content) // 8, *SIZES]
    axes = [integer(int(random.choice(lengths))) for _ in range(random.integers(1, 3))]
    shape = pickle.MARK + b"".join(axes) + pickle.TUPLE
    if random.random() < 0.5:
        order = text(str(random.choice(["C", "F", "K", "X"])))
        arguments = pickle.MARK + buffer + random_type(random) + shape + order + pickle.TUPLE
        return name("numpy._core.numeric", "_frombuffer") + arguments + pickle.REDUCE
    blank = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray")
    blank += integer(0) + pickle.TUPLE1 + pickle.SHORT_BINBYTES + b"\x01b" + pickle.TUPLE3
    blank += pickle.REDUCE + pickle.MEMOIZE
    fortran = random.choice([pickle.NEWTRUE, pickle.NEWFALSE])
    state = integer(1) + shape + random_type(random) + fortran + buffer
    return blank + pickle.MARK + state + pickle.TUPLE + pickle.BUILD


def harmed(random: np.random.Generator, content: bytes) -> bytes:
    """Return bytes with some of them changed, left out, doubled, or cut off at the end."""
    stream = bytearray(content)
    for _ in range(random.integers(1, 6)):
        place = int(random.integers(len(stream)))
        end = place + int(random.integers(1, 20))
        way = random.integers(4)
        if way == 0:
            stream[place] ^= 1 << int(random.integers(8))
        elif way == 1 and len(stream) > 60:
            del stream[place:end]
        elif way == 2:
            stream[place:place] = stream[place:end]
        else:
            stream[place] = int(random.integers(256))
    if random.random() < 0.2:
        del stream[int(random.integers(1, len(stream))) :]
    return bytes(stream)


def use(content) -> None:
    """Read every number of an object: a forged array would end the process here, or not be what it says."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list | tuple | set | frozenset):
        for part in content:
            use(part)
    elif isinstance(content, np.ndarray):
        assert content.dtype.kind in "buifc"
        assert content.tobytes() == content.copy().tobytes()
        if content.dtype.kind == "b" and content.size:
            assert content[content].all()


def forged_pickles(count: int, seed: int) -> Iterator[bytes]:
    """Yield pickle streams: half honest ones that were harmed, half made of random instructions."""
    for number in range(count):
        random = np.random.default_rng([seed, number])
        if number % 2:
            protocol = int(random.integers(3, 6))
            yield harmed(random, pickle.dumps(honest_scene(random), protocol))
        else:
            values = [random_value(random) for _ in range(random.integers(1, 5))]
            yield pickle.PROTO + b"\x05" + b"".join(values) + pickle.STOP


def bombs() -> dict[str, bytes]:
    """Return small pickle streams that ask for much memory, much time, or great depth."""
    doubled = pickle.EMPTY_TUPLE
    for level in range(60):
        doubled += pickle.BINPUT + bytes([level]) + pickle.BINGET + bytes([level]) + pickle.TUPLE2
    head = pickle.PROTO + b"\x05"
    far = pickle.NONE + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f"
    huge = struct.pack("<Q", 1 << 40)
    return {
        "a tuple of 2 to the 60 values": head + doubled + pickle.STOP,
        "the same as a key": head + pickle.EMPTY_DICT + doubled + b"Ns.",
        "the same in a set": head + pickle.EMPTY_SET + pickle.MARK + doubled + b"\x90.",
        "a memo of two thousand million places": head + far + pickle.STOP,
        "bytes without end": head + pickle.BINBYTES8 + huge + b"x.",
        "writable bytes without end": head + pickle.BYTEARRAY8 + huge + b"x.",
        "a frame without end": head + pickle.FRAME + huge + b"N.",
        "a list that holds itself": head + b"]\x94h\x00a.",
        "a list in a list in a list": head + b"]" * 100_000 + b"a" * 99_999 + b".",
        "a long integer": head + pickle.LONG4 + struct.pack("<i", 1 << 20) + bytes(1 << 20) + b".",
        "a million empty lists": head + pickle.MARK + b"]" * 1_000_000 + b"t.",
        "a mark that is missing": head + b"t.",
        "an empty stack": head + b".",
    }


# ── Damage ───────────────────────────────────────────────────────────────────────────────────────────────────────


def one_bit_flipped(content: bytes, seed: int) -> bytes:
    """Return bytes of which one bit differs, as after a fault of the disk."""
    random = np.random.default_rng(seed)
    changed = bytearray(content)
    changed[int(random.integers(len(changed)))] ^= 1 << int(random.integers(8))
    return bytes(changed)


# ── Records ──────────────────────────────────────────────────────────────────────────────────────────────────────

STRANGE = (
    None,
    True,
    -1,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    "",
    "a",
    "\x00\x1b[2J",
    "é" * 3000,
    [],
    {},
    [[]],
    [None],
    [1, 2, 3, 4],
    {"a": 1},
    [{}],
    ["a", "b"],
    [float("nan")] * 6,
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "EPSG:99999999",
    "http://[::1",
    "..",
)


def with_strange_members(random: np.random.Generator, content: Any) -> Any:
    """Return plain containers of which one to three members have values of another kind, or are gone."""
    changed = copy.deepcopy(content)
    for _ in range(int(random.integers(1, 4))):
        places = list(places_in(changed))
        if not places:
            break
        parent, key = places[int(random.integers(len(places)))]
        if random.random() < 0.2:
            del parent[key]
        else:
            parent[key] = copy.deepcopy(STRANGE[int(random.integers(len(STRANGE)))])
    return changed


def places_in(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container within plain containers, with each of its keys or numbers."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        pairs = list(content.items())
    elif isinstance(content, list):
        pairs = list(enumerate(content))
    for key, value in pairs:
        yield content, key
        yield from places_in(value)

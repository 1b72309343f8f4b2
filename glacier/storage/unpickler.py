"""A reader of pickle streams that can do nothing but read: arrays of numbers, and plain containers.

Python's own reader carries out what a stream says. This one knows only the opcodes that plain data need, compares every
size with what the file still holds before it makes room, and stops at a budget of memory, depth and steps.
"""

from __future__ import annotations

import io
import os
import pickle

import numpy as np

from config import GlacierError
from glacier.storage import rebuild
from glacier.storage.opcodes import ACTIONS

MOST_STEPS = 250_000  # opcodes of one object; a scene has some 150
MOST_BYTES = 4 << 30  # of one object
MOST_PARTS = 250_000  # values of one object, shared ones counted wherever they are used
DEEPEST = 50
SCALARS = (type(None), bool, int, float, str, bytes, bytearray, np.ndarray)
CONTAINERS = (tuple, list, set, frozenset, dict)


class PlainUnpickler:
    """Reads one object of a pickle stream; GlacierError for what is no plain data, other errors for damage."""

    def __init__(self, file: io.BufferedReader):
        self.file = file
        self.left = min(os.fstat(file.fileno()).st_size - file.tell(), MOST_BYTES)
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def load(self):
        """Return the object."""
        for _ in range(MOST_STEPS):
            opcode = self.file.read(1)
            if opcode == pickle.STOP:
                content = self.stack.pop()
                check_plain(content)
                return content
            if not opcode:
                raise EOFError("it ends early")
            if opcode not in ACTIONS:
                raise GlacierError(
                    f"it holds the instruction {opcode!r}, which plain data do not need: refused, nothing was run"
                )
            ACTIONS[opcode](self)
        raise GlacierError(f"one object takes more than {MOST_STEPS} steps: refused")

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        self.reserve(count)
        content = self.file.read(count)
        if len(content) != count:
            raise EOFError("it ends early")
        return content

    def reserve(self, count: int) -> None:
        """Raise EOFError if the object cannot have that many more bytes."""
        if count > self.left:
            raise EOFError(f"{count} bytes are announced where {self.left} are left")
        self.left -= count

    def number(self, count: int) -> int:
        """Return an unsigned integer of `count` bytes."""
        return int.from_bytes(self.take(count), "little")

    def above_mark(self) -> list:
        """Return what was put on the stack after the last mark, taken off."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def remember(self, key: int) -> None:
        """Keep the top of the stack under a number."""
        value = self.stack[-1]
        self.memo[key] = value
        if isinstance(value, rebuild.BlankArray):
            value.memo_keys.append(key)

    def find_name(self, module: str, name: str) -> None:
        """Put the stand-in of one of NumPy's names on the stack; any other name is refused, not looked up."""
        if (module, name) not in rebuild.NAMES:
            raise GlacierError(
                f"it asks for {module!r:.60}.{name!r:.60}, which is no array: refused, nothing was run"
            )
        self.stack.append(rebuild.NAMES[module, name])


def check_plain(content) -> None:
    """Raise GlacierError unless an object is plain containers of numbers, texts and arrays, neither deep nor endless.

    A container that is used twice is walked twice, as everyone who reads it does: so its size is what it unfolds to.
    """
    waiting = [(content, 0)]
    parts = 0
    while waiting:
        value, depth = waiting.pop()
        if type(value) in CONTAINERS:
            parts += len(value)
            if depth == DEEPEST or parts > MOST_PARTS:
                raise GlacierError("its containers are too deep or unfold without end: refused")
            members = value
            if type(value) is dict:
                members = value.values()
            waiting += [(member, depth + 1) for member in members]
        elif type(value) not in SCALARS and not isinstance(value, np.number | np.bool_):
            raise GlacierError("it holds what is no plain data: refused, nothing was run")

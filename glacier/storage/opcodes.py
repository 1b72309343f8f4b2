"""What each opcode of a pickle stream does, for those that plain data need; there are no others.

https://docs.python.org/3/library/pickletools.html has them all.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from config import GlacierError
from glacier.storage import rebuild

if TYPE_CHECKING:
    from glacier.storage.unpickler import PlainUnpickler

NEWEST_PROTOCOL = 5
LARGEST_INTEGER = 1 << 64
ACTIONS: dict[bytes, Callable[[PlainUnpickler], None]] = {}


def reads(opcode: bytes):
    """Register the function that carries out an opcode."""

    def register(function: Callable[[PlainUnpickler], None]):
        ACTIONS[opcode] = function
        return function

    return register


def check_key(key) -> None:
    """Raise GlacierError unless a key is a text or a small integer: others can be made to take for ever."""
    if type(key) is str or (type(key) is int and abs(key) < 1 << 31):
        return
    raise GlacierError(f"it holds a key of type {type(key).__name__}: refused")


# ── Opcodes: frames, numbers, texts ──────────────────────────────────────────────────────────────────────────────


@reads(pickle.PROTO)
def protocol(machine: PlainUnpickler) -> None:
    """Check the version of the stream."""
    version = machine.number(1)
    if version > NEWEST_PROTOCOL:
        raise GlacierError(f"it is a pickle of protocol {version}; {NEWEST_PROTOCOL} is the newest")


@reads(pickle.FRAME)
def frame(machine: PlainUnpickler) -> None:
    """Check that a frame is there; its length is of no other use."""
    if machine.number(8) > machine.left:
        raise EOFError("it ends within a frame")


def push(value, machine: PlainUnpickler) -> None:
    """Put a value on the stack."""
    machine.stack.append(value)


def push_new(kind: type, machine: PlainUnpickler) -> None:
    """Put an empty container on the stack."""
    machine.stack.append(kind())


def push_integer(size: int, machine: PlainUnpickler) -> None:
    """Put an unsigned integer of `size` bytes on the stack."""
    machine.stack.append(machine.number(size))


def push_text(size: int, machine: PlainUnpickler) -> None:
    """Put a text on the stack, which follows its length in `size` bytes."""
    machine.stack.append(machine.take(machine.number(size)).decode())


def push_bytes(size: int, machine: PlainUnpickler) -> None:
    """Put bytes on the stack, which follow their number in `size` bytes."""
    machine.stack.append(machine.take(machine.number(size)))


def push_tuple(length: int, machine: PlainUnpickler) -> None:
    """Put the last values of the stack back as a tuple."""
    values = [machine.stack.pop() for _ in range(length)]
    machine.stack.append(tuple(reversed(values)))


def put(size: int, machine: PlainUnpickler) -> None:
    """Keep the top of the stack under a number of `size` bytes."""
    machine.remember(machine.number(size))


def get(size: int, machine: PlainUnpickler) -> None:
    """Put on the stack what is kept under a number of `size` bytes."""
    machine.stack.append(machine.memo[machine.number(size)])


# opcode: what it does, with what
ALIKE: dict[bytes, tuple[Callable, Any]] = {
    pickle.NONE: (push, None),
    pickle.NEWTRUE: (push, True),
    pickle.NEWFALSE: (push, False),
    pickle.EMPTY_TUPLE: (push, ()),
    pickle.EMPTY_LIST: (push_new, list),
    pickle.EMPTY_DICT: (push_new, dict),
    pickle.EMPTY_SET: (push_new, set),
    pickle.BININT1: (push_integer, 1),
    pickle.BININT2: (push_integer, 2),
    pickle.SHORT_BINUNICODE: (push_text, 1),
    pickle.BINUNICODE: (push_text, 4),
    pickle.BINUNICODE8: (push_text, 8),
    pickle.SHORT_BINBYTES: (push_bytes, 1),
    pickle.BINBYTES: (push_bytes, 4),
    pickle.BINBYTES8: (push_bytes, 8),
    pickle.TUPLE1: (push_tuple, 1),
    pickle.TUPLE2: (push_tuple, 2),
    pickle.TUPLE3: (push_tuple, 3),
    pickle.BINPUT: (put, 1),
    pickle.LONG_BINPUT: (put, 4),
    pickle.BINGET: (get, 1),
    pickle.LONG_BINGET: (get, 4),
}
for _opcode, (_function, _detail) in ALIKE.items():
    ACTIONS[_opcode] = partial(_function, _detail)


@reads(pickle.BININT)
def signed_integer(machine: PlainUnpickler) -> None:
    """Put a signed integer of four bytes on the stack."""
    machine.stack.append(int.from_bytes(machine.take(4), "little", signed=True))


@reads(pickle.LONG1)
def long_integer(machine: PlainUnpickler) -> None:
    """Put an integer of up to 64 bits on the stack."""
    value = int.from_bytes(machine.take(machine.number(1)), "little", signed=True)
    if abs(value) > LARGEST_INTEGER:
        raise GlacierError("it holds an integer of more than 64 bits: refused")
    machine.stack.append(value)


@reads(pickle.BINFLOAT)
def real_number(machine: PlainUnpickler) -> None:
    """Put a float on the stack."""
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


@reads(pickle.BYTEARRAY8)
def writable_bytes(machine: PlainUnpickler) -> None:
    """Put bytes on the stack that an array may lie on and be changed."""
    count = machine.number(8)
    machine.reserve(count)
    content = bytearray(count)
    if machine.file.readinto(content) != count:
        raise EOFError("it ends early")
    machine.stack.append(content)


# ── Opcodes: containers ──────────────────────────────────────────────────────────────────────────────────────────


@reads(pickle.MARK)
def mark(machine: PlainUnpickler) -> None:
    """Mark a place on the stack."""
    machine.marks.append(len(machine.stack))


@reads(pickle.TUPLE)
def tuple_above_mark(machine: PlainUnpickler) -> None:
    """Put all values above the mark back as a tuple."""
    machine.stack.append(tuple(machine.above_mark()))


@reads(pickle.APPEND)
def append(machine: PlainUnpickler) -> None:
    """Append a value to the list below it."""
    value = machine.stack.pop()
    top_of(machine, list).append(value)


@reads(pickle.APPENDS)
def append_above_mark(machine: PlainUnpickler) -> None:
    """Append all values above the mark to the list below it."""
    values = machine.above_mark()
    top_of(machine, list).extend(values)


@reads(pickle.SETITEM)
def set_item(machine: PlainUnpickler) -> None:
    """Put a key and its value into the dict below them."""
    value = machine.stack.pop()
    key = machine.stack.pop()
    check_key(key)
    top_of(machine, dict)[key] = value


@reads(pickle.SETITEMS)
def set_items_above_mark(machine: PlainUnpickler) -> None:
    """Put keys and values above the mark into the dict below it."""
    values = machine.above_mark()
    target = top_of(machine, dict)
    for key, value in zip(values[::2], values[1::2], strict=True):
        check_key(key)
        target[key] = value


@reads(pickle.ADDITEMS)
def add_items_above_mark(machine: PlainUnpickler) -> None:
    """Put all values above the mark into the set below it."""
    values = machine.above_mark()
    target = top_of(machine, set)
    for value in values:
        check_key(value)
        target.add(value)


@reads(pickle.FROZENSET)
def frozen_set(machine: PlainUnpickler) -> None:
    """Put all values above the mark back as a set."""
    values = machine.above_mark()
    for value in values:
        check_key(value)
    machine.stack.append(frozenset(values))


def top_of(machine: PlainUnpickler, kind: type):
    """Return the container on top of the stack; ValueError if it is another."""
    container = machine.stack[-1]
    if type(container) is not kind:
        raise ValueError(f"a {kind.__name__} is missing")
    return container


# ── Opcodes: the memo, and the names of NumPy ────────────────────────────────────────────────────────────────────


@reads(pickle.MEMOIZE)
def memoize(machine: PlainUnpickler) -> None:
    """Keep the top of the stack under the next number."""
    machine.remember(len(machine.memo))


@reads(pickle.GLOBAL)
def name_in_lines(machine: PlainUnpickler) -> None:
    """Read a name of NumPy written as two lines."""
    module = line(machine)
    machine.find_name(module, line(machine))


def line(machine: PlainUnpickler) -> str:
    """Return a name up to the end of its line."""
    content = machine.file.readline(200)
    machine.reserve(len(content))
    if not content.endswith(b"\n"):
        raise EOFError("a name does not end")
    return content[:-1].decode()


@reads(pickle.STACK_GLOBAL)
def name_on_stack(machine: PlainUnpickler) -> None:
    """Read a name of NumPy from the two texts on the stack."""
    name = machine.stack.pop()
    module = machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a name that is no text")
    machine.find_name(module, name)


@reads(pickle.REDUCE)
def call(machine: PlainUnpickler) -> None:
    """Build an array, or a part of one, by a function of `rebuild`."""
    arguments = machine.stack.pop()
    function = machine.stack.pop()
    known = any(function is builder for builder in rebuild.BUILDERS)
    if not known or type(arguments) is not tuple:
        raise GlacierError("it calls what is no array: refused, nothing was run")
    machine.stack.append(function(*arguments))


@reads(pickle.BUILD)
def set_state(machine: PlainUnpickler) -> None:
    """Give an array or a number type its state."""
    state = machine.stack.pop()
    target = machine.stack.pop()
    if type(target) not in (rebuild.NumberType, rebuild.BlankArray):
        raise GlacierError("it sets the state of what is no array: refused, nothing was run")
    value = target.set_state(state)
    machine.stack.append(value)
    if type(target) is rebuild.BlankArray:
        for key in target.memo_keys:
            if machine.memo[key] is target:
                machine.memo[key] = value

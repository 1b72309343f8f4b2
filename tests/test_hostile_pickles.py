"""Pickle streams that mean harm or were harmed: no code runs, no memory is touched, each refusal is one line."""

import pickle
import resource
import time

import numpy as np
import pytest

from config import GlacierError
from demo import attacks
from glacier.storage import pickles

SECONDS = 2.0  # of the processor, that a small stream may take


def refusal(path, content: bytes) -> str | None:
    """Return the line with which a stream is refused, None if it was read and every array of it can be used."""
    path.write_bytes(content)
    start = time.process_time()
    try:
        for entry in pickles.read_pickles(path):
            attacks.use(entry)
        line = None
    except GlacierError as error:
        line = str(error)
    assert time.process_time() - start < SECONDS
    return line


def test_forged_streams_are_read_as_data_or_refused_in_one_line(tmp_path):
    refused = 0
    for stream in attacks.forged_pickles(400, seed=1):
        line = refusal(tmp_path / "2015.pkl", stream)
        if line is not None:
            refused += 1
            assert "\n" not in line
            assert "2015.pkl" in line
    assert 200 < refused < 400


@pytest.mark.parametrize("bomb", attacks.bombs().items(), ids=lambda bomb: bomb[0])
def test_a_bomb_takes_neither_memory_nor_time(tmp_path, bomb):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(tmp_path / "2015.pkl", bomb[1]) is not None or "memo" in bomb[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def forged_array(number_type: np.dtype, content: bytes, count: int) -> bytes:
    """Return the stream of an array whose type, bytes and length are given one by one."""

    class Forged:
        def __reduce__(self):
            state = (1, (count,), number_type, False, content)
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state

    return pickle.dumps(Forged(), 5)


@pytest.mark.parametrize(
    ("number_type", "content", "count"),
    [
        (np.dtype("O"), b"\x41" * 8, 1),
        (np.dtype("u2"), b"1234", 2**40),
        (np.dtype("u2"), b"1234", 3),
        (np.dtype("u2"), b"1234", 1),
        (np.dtype("u2"), b"1234", -2),
        (np.dtype([("a", "u2"), ("b", "O")]), b"\x41" * 10, 1),
        (np.dtype("V8"), b"\x41" * 8, 1),
        (np.dtype("M8[D]"), b"\x41" * 8, 1),
        (np.dtype("U2"), b"\xff" * 8, 1),
        (np.dtype("b1"), b"\x01\x02\x00", 3),
    ],
)
def test_an_array_is_plain_numbers_whose_bytes_fit(tmp_path, number_type, content, count):
    assert refusal(tmp_path / "2015.pkl", forged_array(number_type, content, count)) is not None


def test_a_number_type_with_a_forged_state_makes_no_array(tmp_path):
    """The flags of an object type on plain numbers would make their bytes pointers."""
    honest = pickle.dumps(np.arange(4, dtype="u2")[::2], 5)
    state = b"K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    assert state in honest
    assert refusal(tmp_path / "2015.pkl", honest) is None
    for forged in (
        state[:-2] + b"\x3ft",  # flags
        state.replace(b"NNN", b"NN)"),
        state.replace(b"J\xff\xff\xff\xff", b"J\x08\x00\x00\x00", 1),  # size
        state.replace(b"K\x03", b"K\x04"),
    ):
        assert refusal(tmp_path / "2015.pkl", honest.replace(state, forged)) is not None


@pytest.mark.parametrize("protocol", [4, 5])
def test_what_numpy_writes_comes_back_equal(tmp_path, protocol):
    scene = attacks.honest_scene(np.random.default_rng(3))
    numbers = {code: np.arange(4).astype(code) for code in ("i1", ">u4", "f2", "c8", "i8", "<f8")}
    turned = np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2)
    content = scene | numbers | {"turned": turned, "empty": np.zeros((0, 3)), "whole": 2**40}
    path = tmp_path / "2015.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    (entry,) = pickles.read_pickles(path)
    assert entry.keys() == content.keys()
    for key, value in content.items():
        np.testing.assert_array_equal(entry[key], value)
        assert getattr(entry[key], "dtype", None) == getattr(value, "dtype", None)


@pytest.mark.parametrize(
    ("module", "word"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("numpy", "load"),
        ("numpy", "memmap"),
        ("numpy", "fromfile"),
        ("numpy._core.multiarray", "array"),
        ("numpy._core.numeric", "ndarray"),
        ("numpy.core.multiarray", "_frombuffer"),
        ("copyreg", "_reconstructor"),
    ],
)
def test_any_other_name_is_refused_before_it_is_looked_up(tmp_path, module, word):
    stream = pickle.PROTO + b"\x05" + attacks.name(module, word) + b")R."
    assert "nothing was run" in refusal(tmp_path / "2015.pkl", stream)
    in_lines = b"c" + module.encode() + b"\n" + word.encode() + b"\n)R."
    assert "nothing was run" in refusal(tmp_path / "2015.pkl", in_lines)

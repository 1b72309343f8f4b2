"""The list of mistakes stays true to the code: each text is there once, and each mistake is one."""

import ast

import pytest
from mutants import MUTANTS, NOTICED_BY, UNNOTICED
from mutate import ROOT, mutated, places


@pytest.mark.parametrize("file", sorted({mutant.file for mutant in MUTANTS}))
def test_each_text_stands_in_its_file_once_and_the_mistake_can_be_run(file):
    source = (ROOT / file).read_text()
    for mutant in MUTANTS:
        if mutant.file == file:
            assert len(places(source, mutant.text)) == 1, mutant.text
            changed = mutated(source, mutant)
            assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source)), mutant.text


def test_every_mutant_names_tests_that_are_there():
    for mutant in MUTANTS:
        for name in mutant.tests:
            assert (ROOT / name).is_file(), name
        if mutant.first:
            file, _, test = mutant.first.partition("::")
            assert f"\ndef {test}(" in (ROOT / file).read_text(), mutant.first
    assert set(NOTICED_BY) <= {mutant.breaks for mutant in MUTANTS}
    assert set(UNNOTICED) <= {mutant.breaks for mutant in MUTANTS}
    assert len(UNNOTICED) <= 0.05 * len(MUTANTS)


def test_layout_does_not_matter():
    source = "x = call(\n    first,  # why\n    second,\n)\ny = first\n"
    assert places(source, "call(first, second)") == [(4, 41)]
    assert places(source, "second") == [(32, 38)]
    assert len(places(source, "first")) == 2

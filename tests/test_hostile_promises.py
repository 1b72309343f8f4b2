"""The README's promises are ten lines, and each has tests that would fail if it were broken."""

import re

import pytest
from conftest import ROOT

# how a line begins: the tests that hold it
PROMISES = {
    "A file that exists is complete": (
        "test_store.py::test_a_broken_write_leaves_the_old_file",
        "test_hostile_damage.py::test_no_stage_goes_on_with_a_flipped_bit",
        "test_hostile_damage.py::test_up_to_date_looks_at_sizes_and_times_and_verify_at_every_byte",
    ),
    "Stopped or killed at any moment": (
        "test_pipeline.py::test_a_stage_killed_in_the_middle_and_run_again_ends_in_the_same_bytes",
        "test_pipeline.py::test_a_training_killed_in_the_middle_and_run_again_ends_in_the_same_bytes",
    ),
    "One run at a time makes a stage": (
        "test_hostile_runs.py::test_of_many_runs_at_once_one_works",
        "test_hostile_runs.py::test_trainings_at_once_have_folders_of_their_own",
    ),
    "No file that is read runs code": (
        "test_hostile_pickles.py::test_forged_streams_are_read_as_data_or_refused_in_one_line",
        "test_hostile_pickles.py::test_any_other_name_is_refused_before_it_is_looked_up",
    ),
    "A bad scene costs that scene": (
        "test_archive.py::test_a_file_missing_for_good_costs_its_scene_and_no_other",
        "test_archive_files.py::test_a_file_that_is_no_image",
    ),
    "No server keeps it waiting": (
        "test_archive_sources.py::test_pages_that_lead_nowhere_end_after_few_rounds",
        "test_archive_sources.py::test_a_server_that_asks_for_a_day_of_patience_gets_a_little",
    ),
    "What you can mend is one line": (
        "test_hostile_settings.py::test_a_wrong_flag_is_one_line",
        "test_hostile_runs.py::test_what_the_machine_refuses_is_one_line",
    ),
    "A full disk costs nothing": (
        "test_hostile_runs.py::test_no_room_is_one_line_and_the_rerun_ends_in_the_same_bytes",
    ),
    "Ctrl-C and SIGTERM end a run": (
        "test_hostile_runs.py::test_however_a_run_ends_its_workers_end_too",
    ),
    "The password of an address": (
        "test_hostile_settings.py::test_the_password_of_an_address_reaches_no_line_and_no_file",
    ),
}


def test_the_promises_are_those_that_are_tested():
    section = (ROOT / "README.md").read_text().partition("## What it promises")[2]
    lines = re.findall(r"^\d+\. (.*)$", section.partition("\n## ")[0], re.M)
    assert len(lines) == len(PROMISES) == 10
    for line, beginning in zip(lines, PROMISES, strict=True):
        assert line.startswith(beginning)


@pytest.mark.parametrize("beginning", PROMISES)
def test_each_promise_has_its_tests(beginning):
    for name in PROMISES[beginning]:
        file, _, test = name.partition("::")
        assert f"\ndef {test}(" in (ROOT / "tests" / file).read_text(), name

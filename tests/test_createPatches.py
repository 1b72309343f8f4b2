"""Patches and their inverse, and a split that cannot leak."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import modules_loaded
from toy import settings

import createPatches
from config import Config, GlacierError
from glacier.patches.census import Holding, count_parts, unseen_months, warnings
from glacier.patches.cutting import cut, pad, stitch
from glacier.patches.split import (
    Split,
    choose_block,
    patch_parts,
    prove,
    split_windows,
    target_steps,
    validation_years,
)
from glacier.patches.windows import load_tensor, read_patches, read_series, read_split
from glacier.seasons import step_date


@pytest.mark.parametrize(
    ("shape", "size", "stride"), [((57, 63), 16, 6), ((32, 32), 32, 5), ((40, 33), 8, 8)]
)
def test_stitch_is_the_inverse_of_cut(shape, size, stride):
    scene = pad(torch.rand(3, 2, *shape), size, stride)
    patches = cut(scene, size, stride)
    assert patches.shape[-2:] == (size, size)
    torch.testing.assert_close(stitch(patches, scene.shape[-2:], stride), scene)
    torch.testing.assert_close(
        patches[1 if len(patches) > 1 else 0, 0, 2, 1],
        scene[2, 1, (stride if len(patches) > 1 else 0) :][:size, :size],
    )


def test_pixels_no_patch_reaches_are_missing():
    scene = torch.rand(1, 20, 20)
    back = stitch(cut(scene, 8, 8), (20, 20), 8)
    assert torch.isnan(back[0, 16:]).all()
    torch.testing.assert_close(back[0, :16, :16], scene[0, :16, :16])


def test_patches_are_views_that_cost_their_window_once(tmp_path):
    scene = torch.rand(4, 1, 200, 200)
    buffer = io.BytesIO()
    torch.save(cut(scene, 50, 10), buffer)
    assert buffer.tell() < 1.1 * scene.numel() * 4
    (tmp_path / "patches.pt").write_bytes(buffer.getvalue())
    assert torch.equal(load_tensor(tmp_path / "patches.pt"), cut(scene, 50, 10))
    (tmp_path / "patches.pt").write_bytes(buffer.getvalue()[:1000])
    with pytest.raises(GlacierError, match="damaged"):
        load_tensor(tmp_path / "patches.pt")


def test_windows_are_split_by_their_targets():
    parts = split_windows(40, 4, 4, 0.2, 0.1)  # test: steps 32-39, validation: 28-31
    assert len(parts) == 33
    for start, part in enumerate(parts):
        targets = range(start + 4, start + 8)
        if part == "test":
            assert min(targets) >= 32
        elif part == "validation":
            assert min(targets) >= 28
            assert max(targets) < 32
        elif part == "train":
            assert max(targets) < 28
    assert [parts.count(part) for part in ("train", "gap", "validation", "test")] == [21, 6, 1, 5]


@pytest.mark.parametrize("steps", [1, 8, 15])
def test_too_few_composites_says_how_many_there_are_and_how_many_it_needs(steps):
    with pytest.raises(GlacierError, match=rf"has {steps} composites.*need 16"):
        split_windows(steps, 4, 4, 0.2, 0.1)
    assert split_windows(16, 4, 4, 0.2, 0.1).count("train") == 1


def test_the_kept_out_block_looks_like_the_scene_and_no_patch_touches_it_unmarked():
    past = np.zeros((5, 1, 100, 120), np.float32)
    past[..., 50:, :] = 1
    past[..., 60:, 72:] = 0.5  # the lower right corner is nearest the scene's mean
    block = choose_block(past, 24, 8)
    assert block == (60, 100, 72, 120)
    parts = patch_parts((100, 120), 24, 8, block)
    for row, column in np.ndindex(parts.shape):
        inside = np.zeros((100, 120), bool)
        inside[row * 8 : row * 8 + 24, column * 8 : column * 8 + 24] = True
        share = inside[60:100, 72:120].sum() / inside.sum()
        assert parts[row, column] == ("block" if share == 1 else "train" if share == 0 else "gap")


def test_a_scene_of_one_patch_has_no_block():
    assert choose_block(np.zeros((5, 1, 24, 24)), 24, 8) is None
    assert (patch_parts((24, 24), 24, 8, None) == "train").all()


def test_the_proof_counts_nothing_shared():
    split = Split(split_windows(40, 4, 4, 0.2, 0.1), (60, 100, 72, 120))
    proof = prove(split, (100, 120), 24, 8, 4, 4)
    assert proof["shared_pixel_times"] == proof["shared_train_validation"] == 0
    assert proof["train_pixel_times"] > proof["test_target_pixel_times"] > 0


@pytest.mark.parametrize("was", ["gap", "test"])
def test_a_split_broken_on_purpose_is_caught(was):
    parts = list(split_windows(40, 4, 4, 0.2, 0.1))
    parts[len(parts) - 1 - parts[::-1].index(was)] = "train"
    with pytest.raises(GlacierError, match="lets test or validation pixels into training"):
        prove(Split(tuple(parts), None), (100, 120), 24, 8, 4, 4)


@pytest.mark.parametrize("number", [21, 27])
def test_a_validation_window_that_reads_test_targets_is_caught(number):
    """What early stopping or the factor reads is learnt as well."""
    parts = list(split_windows(40, 4, 4, 0.2, 0.1))
    assert parts[number] == "gap"
    parts[number] = "validation"
    with pytest.raises(GlacierError, match="lets test or validation pixels into training"):
        prove(Split(tuple(parts), None), (100, 120), 24, 8, 4, 4)


def test_a_patch_that_reaches_into_the_block_is_caught(monkeypatch):
    """Patches at the edge of the block, taken for training by mistake."""

    def careless(*where):
        parts = patch_parts(*where)
        parts[parts == "gap"] = "train"
        return parts

    monkeypatch.setattr("glacier.patches.split.patch_parts", careless)
    split = Split(split_windows(40, 4, 4, 0.2, 0.1), (60, 100, 72, 120))
    with pytest.raises(GlacierError, match="lets test or validation pixels into training"):
        prove(split, (100, 120), 24, 8, 4, 4)


def test_the_kept_out_block_is_chosen_without_the_test(toy):
    """Validation and test steps overwritten, so that another corner looks like the scene: the block stays."""
    cfg = settings(Config)
    series = read_series(cfg)
    block = createPatches.split_series(cfg, series).block
    values = series.values.copy()
    top, bottom, left, right = block
    values[18:, :, top:bottom, left:right] += 1000
    assert createPatches.split_series(cfg, replace(series, values=values)).block == block
    values[:18, :, top:bottom, left:right] += 1000
    assert createPatches.split_series(cfg, replace(series, values=values)).block != block


# ── Validation in whole years, and what the parts hold ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("steps", "a_year", "fraction", "expected"),
    [
        (48, 12, 0.1, 12),  # 4 years: rounded up to one
        (240, 12, 0.1, 24),  # 20 years: two are a tenth
        (250, 12, 0.1, 36),  # a little more than two: three
        (47, 12, 0.1, 5),  # below 4 years as before
        (92, 23, 0.05, 23),
    ],
)
def test_validation_is_whole_years_from_four_years_on(steps, a_year, fraction, expected):
    parts = split_windows(steps, 3, 2, 0.2, fraction, a_year)
    targets = target_steps(parts, 3, 2)
    assert len(targets["validation"]) == expected
    assert targets["test"][0] == targets["validation"][-1] + 1 == steps - round(steps * 0.2)
    assert validation_years(steps, a_year, fraction) == (
        0 if steps < 4 * a_year else expected // a_year
    )


def test_each_step_counts_once_in_its_part():
    """Windows overlap; a target step that three windows share is one date, and its pixels count once."""
    split = Split(split_windows(40, 4, 4, 0.2, 0.1), (0, 2, 0, 2))
    values = np.zeros((40, 1, 5, 5), np.float32)
    observed = np.zeros((40, 5, 5), bool)
    observed[30, 0, :3] = True  # validation
    observed[33:39, 1] = True  # six dates of the test
    values[36, 0, 1, :2] = 0.8
    held = count_parts(values, observed, split, 4, 4, index=True)
    assert (held["validation"].dates, held["validation"].of, held["validation"].pixels) == (1, 4, 3)
    assert (held["test"].dates, held["test"].of, held["test"].pixels) == (6, 8, 30)
    assert held["test"].snow == pytest.approx(2 / 30)
    assert held["validation"].snow == 0
    assert held["train"].dates == 0
    assert np.isnan(held["train"].snow)


def test_warnings_name_what_cannot_be_judged():
    split = Split(("train", "validation", "test"), None)
    poor = {
        "train": Holding(20, 20, 500, 0.5),
        "validation": Holding(2, 12, 50, 0.0),
        "test": Holding(8, 12, 90, 1.0),
    }
    lines = warnings(poor, split, deciding_years=0)
    assert [line.split(":")[0] for line in lines] == [
        "validation holds 2 observed target dates of 12, fewer than 8",
        "validation holds no snow",
        "test holds only snow",
        "the series is too short for a whole year of validation",
        "no kept-out block fits into the scene beside the patches",
    ]
    rich = {part: Holding(8, 12, 90, 0.3) for part in poor}
    assert warnings(rich, Split(split.parts, (0, 9, 0, 9)), deciding_years=1) == []
    bands = {part: Holding(8, 12, 90, float("nan")) for part in poor}
    assert warnings(bands, Split(split.parts, (0, 9, 0, 9)), deciding_years=1) == []


def test_months_never_observed_are_named():
    """A step stands for all the months it reaches into: quarters for three, steps of 16 days for one or two."""
    monthly = [step_date(12 * 2015 + step, 12) for step in range(24)]
    observed = np.zeros((24, 2, 2), bool)
    observed[[2, 3, 4, 5, 18, 19, 20, 21], 0, 1] = True
    missing = unseen_months(monthly, observed, 12)
    assert missing == ("January", "February", "November", "December")
    quarters = [step_date(4 * 2015 + step, 4) for step in range(8)]
    observed = np.zeros((8, 2, 2), bool)
    observed[[1, 6]] = True
    assert unseen_months(quarters, observed, 4)[:3] == ("January", "February", "March")
    assert len(unseen_months(quarters, observed, 4)) == 6
    sixteen = [step_date(23 * 2015, 23)]
    assert "January" not in unseen_months(sixteen, np.ones((1, 2, 2), bool), 23)


# ── Whole stage: files against the series, and what can be damaged ───────────────────────────────────────────────


def test_window_files_are_slices_of_the_composites_by_date(toy):
    """Values encode their step: images and targets hold the steps of their dates, clipped, and observed is theirs."""
    series, patches = read_series(settings(Config)), read_patches(settings(Config))
    raw = np.asarray(series.unclipped)
    days = list(series.dates)
    for window in (patches.windows[0], patches.windows[9], patches.windows[-1]):
        first = days.index(window.date)
        clipped = np.where(raw < 0.3, 0, raw)
        for tensor, dates in (
            (window.inputs, window.input_dates),
            (window.targets, window.target_dates),
        ):
            steps = [days.index(day) for day in dates]
            assert torch.equal(tensor[1, 2], torch.tensor(clipped[steps, :, 8:24, 16:32]))
        steps = [days.index(day) for day in window.target_dates]
        assert steps == list(range(first + 4, first + 6))
        assert torch.equal(window.observed[1, 2], torch.tensor(series.observed[steps, 8:24, 16:32]))
    assert (raw < 0.3).any()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no tensor at all",
        "a list",
        "doubles",
        "other steps",
    ],
)
def test_a_damaged_patch_file_is_one_line(toy, tmp_path, content):
    window = read_patches(settings(Config)).windows[3]
    path = tmp_path / "images" / f"{window.date}.pt"
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        wrong = {
            "a list": [1, 2],
            "doubles": window.inputs.double(),
            "other steps": window.inputs[:, :, :1].clone(),
        }
        torch.save(wrong[content], path)
    with pytest.raises(GlacierError, match="; run again: ") as error:
        replace(window, folder=tmp_path).inputs  # noqa: B018
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "windows: 3", "windows: {2013-01-01: nobody}", "[1, 2", "{}"])
def test_a_damaged_splits_yaml_is_one_line(tmp_path, text):
    (tmp_path / "splits.yaml").write_text(text)
    with pytest.raises(GlacierError, match="splits.yaml is damaged .*; run again: "):
        read_split(tmp_path / "splits.yaml")


def test_help_and_up_to_date_go_without_torch(toy):
    """Loading it takes longer than all the rest; -X importtime names every module that is loaded."""
    for flags in (["--help"], ["--name=toy"]):
        modules, printed = modules_loaded(toy, "createPatches.py", *flags)
        assert "numpy" in modules
        assert "torch" not in modules
    assert "up to date" in printed

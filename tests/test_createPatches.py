"""Patches and their inverse, the causal climatology, and a split that cannot leak."""

import io

import numpy as np
import pytest
import torch

from config import GlacierError
from glacier.climatology import climatology
from glacier.patches.cutting import cut, pad, stitch
from glacier.patches.split import Split, choose_block, patch_parts, prove, split_windows
from glacier.patches.windows import Series, load_tensor


def make_series(values, observed=None, steps_per_year=4):
    values = np.asarray(values, np.float32)
    observed = np.ones((len(values), *values.shape[2:]), bool) if observed is None else observed
    return Series(
        values,
        observed,
        tuple(map(str, range(len(values)))),
        steps_per_year,
        ("ndsi",),
        "EPSG:32643",
        (),
    )


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


def test_climatology_is_the_seasons_mean_over_earlier_years_only():
    values = np.arange(12, dtype=np.float32).reshape(12, 1, 1, 1)
    mean, spread = climatology(make_series(values), first_target=8, horizon=4)
    np.testing.assert_allclose(mean.ravel(), [2, 3, 4, 5])  # means of 0 and 4, 1 and 5, ...
    np.testing.assert_allclose(spread.ravel(), 2)
    changed = values.copy()
    changed[8:] = 99
    np.testing.assert_array_equal(climatology(make_series(changed), 8, 4)[0], mean)


def test_climatology_counts_observed_pixels_and_says_what_it_does_without():
    values = np.array([0, 1, 2, 3, 40, 5, 6, 7], np.float32).reshape(8, 1, 1, 1)
    observed = np.ones((8, 1, 1), bool)
    observed[4] = False
    assert (
        climatology(make_series(values, observed), 8, 1)[0].item() == 0
    )  # 40 was filled in, not seen
    first_year = climatology(make_series(values), 2, 2)[0]
    np.testing.assert_allclose(
        first_year.ravel(), 0.5
    )  # seasons never seen: the mean of all earlier steps
    observed[:] = False
    assert climatology(make_series(values, observed), 4, 1)[0].item() == pytest.approx(1.5)


def test_a_horizon_beyond_one_year_does_not_read_its_own_targets():
    values = np.arange(16, dtype=np.float32).reshape(16, 1, 1, 1)
    mean, _ = climatology(make_series(values), first_target=8, horizon=6)
    np.testing.assert_allclose(mean.ravel(), [2, 3, 4, 5, 2, 3])


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

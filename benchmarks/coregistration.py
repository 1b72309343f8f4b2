"""Co-registration against known truth, beside the tools that install:

    python benchmarks/coregistration.py                    # everything
    python benchmarks/coregistration.py series pairs       # some of: series adjustment pairs ice wrong speed memory
    pip install scikit-image SimpleITK pystackreg          # the peers; each is left out if it is not there

Scenes: the eight real snow-index scenes of ../shared/data/parvati, warped by known transforms with an exact cubic
spline, with 8 % missing in cloud shapes, 2 % cloud that no mask knows and noise of 0.02; and the demo glacier.
Errors are gauge-free: a transform common to all scenes does not count. The real scenes hold residual shifts of their
own, which the nominal error contains; "recovered" leaves them out, as the error against the known warp on top of what
the same method finds on the scenes as they are; "beside all" takes for them what orientation finds from all eight.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

import config
import dataAPI
from glacier import console
from glacier.composites import KERNEL, composite, fill_gaps
from glacier.coregistration.adjustment import Pair, adjust
from glacier.coregistration.consensus import agreeing_pairs, confirmed_scenes
from glacier.coregistration.resampling import local_contrast, resample, seen_through
from glacier.coregistration.series import estimate_transforms, one_thread
from glacier.storage import disk, pickles, runner

ROOT = Path(__file__).resolve().parents[1]

PARVATI = ROOT.parent / "shared" / "data" / "parvati"
SIZES = {
    "0.5 px": (0.5, 0, 0),
    "3 px": (3, 0, 0),
    "10 px": (10, 0, 0),
    "affine": (3, 0.3, 0.003),
}  # px, degrees, scale


# ── Cases ────────────────────────────────────────────────────────────────────────────────────────────────────────


def real_scenes() -> np.ndarray:
    """Return the eight real scenes (8, 800, 800): four quarters of 2019, four of 2021."""
    if not PARVATI.is_dir():
        sys.exit(f"error: no scenes in {PARVATI}; only the section ice does without them")
    return np.array(
        [
            np.load(PARVATI / f"ndsi_{year}_q{part}.npy")
            for year in (2019, 2021)
            for part in range(1, 5)
        ]
    )


def random_warp(rng: np.random.Generator, size: str, shape: tuple[int, int]) -> np.ndarray:
    """Return a matrix (3, 3), px -> px: a shift, turn, stretch and shear, each up to that of SIZES."""
    shift, degrees, scale = SIZES[size]
    angle = np.radians(rng.uniform(-degrees, degrees))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.eye(2) + rng.uniform(-scale, scale, (2, 2)) * [[1, 1], [0, 1]]
    middle = np.array(shape[::-1]) / 2
    matrix = np.eye(3)
    matrix[:2, :2] = turn @ stretch
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle + rng.uniform(-shift, shift, 2)
    return matrix


def clouds(rng: np.random.Generator, shape: tuple[int, int], fraction: float) -> np.ndarray:
    """Return where blobs of the given total fraction lie, bool (H, W)."""
    field = ndimage.gaussian_filter(rng.normal(size=(shape[0] // 4 + 1, shape[1] // 4 + 1)), 6)
    field = ndimage.zoom(field, 4, order=1)[: shape[0], : shape[1]]
    return field > np.quantile(field, 1 - fraction)


def spoil(
    rng: np.random.Generator, image: np.ndarray, matrix: np.ndarray, missing: float = 0.08
) -> np.ndarray:
    """Return the scene that shows `image` moved by the matrix, with noise, cloud and gaps, float32 (H, W)."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    back = np.linalg.inv(matrix)
    x, y = (back[i, 0] * columns + back[i, 1] * rows + back[i, 2] for i in (0, 1))
    scene = ndimage.map_coordinates(image.astype(float), (y, x), order=3, cval=np.nan)
    scene += rng.normal(0, 0.02, scene.shape)
    cloud = clouds(rng, scene.shape, 0.02)
    scene[cloud] = rng.normal(0.1, 0.03, cloud.sum())
    scene[clouds(rng, scene.shape, missing)] = np.nan
    return scene.astype(np.float32)


def errors(found: np.ndarray, true: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the mean error of each scene over the frame [px], the best common affine frame taken out.

    found, true : (T, 3, 3), common frame px -> scene px, each in its own common frame.
    """
    points = np.array(
        [
            [x, y, 1.0]
            for x in np.linspace(0, shape[1] - 1, 7)
            for y in np.linspace(0, shape[0] - 1, 7)
        ]
    )
    moved = points @ (np.linalg.inv(true) @ found).transpose(0, 2, 1)
    moved = moved[..., :2] / moved[..., 2:]
    if len(moved) > 2:
        common = np.median(moved, axis=0)
    else:
        common = moved[0]
    common = points @ np.linalg.lstsq(points, common, rcond=None)[0]
    return np.linalg.norm(moved - common, axis=-1).mean(axis=1)


# ── Methods: each takes a stack (T, H, W) with NaN and a model, and returns matrices (T, 3, 3) ────────────────────


def ours(stack: np.ndarray, model: str, method: str = "orientation") -> np.ndarray:
    return estimate_transforms(stack, model, method).matrices


def usual_ecc(
    stack: np.ndarray, model: str, iterations: int = 100, criterion: float = 1e-5
) -> np.ndarray:
    """The usual recipe: ECC with a homography to the temporal mean, the warp of one scene starting the next."""
    filled = np.nan_to_num(stack)
    mean = filled.mean(axis=0)
    warp = np.eye(3, dtype=np.float32)
    matrices = []
    for scene in filled:
        try:
            criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, iterations, criterion)
            _, warp = cv2.findTransformECC(
                mean, scene, warp, cv2.MOTION_HOMOGRAPHY, criteria, None, 5
            )
        except cv2.error:
            pass
        matrices.append(warp.astype(float).copy())
    return np.array(matrices)


def pyramid_ecc(stack: np.ndarray, model: str, rounds: int = 3) -> np.ndarray:
    """ECC as it does best here: local contrast, masks, an affine motion to the mean, at 1/4, 1/2 and full size.

    rounds : each after the first to the mean of the scenes moved back by the last.
    """
    contrasts = np.array([local_contrast(scene) for scene in stack])
    matrices = np.tile(np.eye(3), (len(stack), 1, 1))
    for _ in range(rounds):
        placed = [
            seen_through(image, matrix) for image, matrix in zip(contrasts, matrices, strict=True)
        ]
        seen = np.array(placed) != 0
        mean = np.sum(placed, axis=0) / np.maximum(seen.sum(axis=0), 1)
        matrices = np.array(
            [
                ecc_on_levels(mean, image, matrix)
                for image, matrix in zip(contrasts, matrices, strict=True)
            ]
        )
    return matrices


def ecc_on_levels(mean: np.ndarray, contrast: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the affine matrix (3, 3) from the mean to an image of local contrast, from `start` on."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-6)
    warp = start[:2].astype(np.float32)
    for shrink in (4, 2, 1):
        first, first_mask = shrunk(mean, shrink)
        second, second_mask = shrunk(contrast, shrink)
        warp[:, 2] /= shrink
        with contextlib.suppress(cv2.error):  # raised where the iteration does not converge
            _, warp = cv2.findTransformECCWithMask(
                first, second, first_mask, second_mask, warp, cv2.MOTION_AFFINE, criteria, 5
            )
        warp[:, 2] *= shrink
    return np.vstack([warp, [0, 0, 1]]).astype(float)


def shrunk(contrast: np.ndarray, shrink: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a local-contrast image, and where it shows something, uint8, at a part of its size."""
    size = (contrast.shape[1] // shrink, contrast.shape[0] // shrink)
    small = cv2.resize(contrast.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    seen = cv2.resize((contrast != 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return small, (seen > 0.5).astype(np.uint8)


def scikit_image(stack: np.ndarray, model: str) -> np.ndarray:
    """Phase correlation to the first scene, at 1/100 px, with masks where something is missing (then whole px)."""
    from skimage.registration import phase_cross_correlation

    filled = np.nan_to_num(stack)
    matrices = []
    for scene in filled:
        (dy, dx), *_ = phase_cross_correlation(filled[0], scene, upsample_factor=100)
        matrices.append(np.array([[1, 0, -dx], [0, 1, -dy], [0, 0, 1]]))
    return np.array(matrices)


def simple_itk(stack: np.ndarray, model: str) -> np.ndarray:
    """Mattes mutual information to the first scene, three levels, with masks."""
    import SimpleITK as sitk  # noqa: N813

    def image(scene):
        return sitk.GetImageFromArray(np.nan_to_num(scene)), sitk.GetImageFromArray(
            np.isfinite(scene).astype(np.uint8)
        )

    fixed, fixed_mask = image(stack[0])
    matrices = []
    for scene in stack:
        moving, moving_mask = image(scene)
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(50)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(0.2)
        method.SetMetricFixedMask(fixed_mask)
        method.SetMetricMovingMask(moving_mask)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([2, 1, 0])
        if model == "translation":
            start = sitk.TranslationTransform(2)
        else:
            start = sitk.AffineTransform(2)
        if model != "translation":
            start.SetCenter([length / 2 for length in scene.shape[::-1]])
        method.SetInitialTransform(start, inPlace=True)
        method.Execute(fixed, moving)
        origin, right, down = (
            np.array(start.TransformPoint(point)) for point in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
        )
        matrices.append(
            np.vstack([np.column_stack([right - origin, down - origin, origin]), [0, 0, 1]])
        )
    return np.array(matrices)


def stackreg(stack: np.ndarray, model: str) -> np.ndarray:
    """The pyramid of Thevenaz et al. (1998), 10.1109/83.650848, to the first scene."""
    from pystackreg import StackReg

    method = StackReg({"translation": StackReg.TRANSLATION, "affine": StackReg.AFFINE}[model])
    filled = np.nan_to_num(stack)
    return np.array([method.register(filled[0], scene) for scene in filled])


METHODS = {
    "orientation": ours,
    "ecc": partial(ours, method="ecc"),
    "usual ECC recipe": usual_ecc,
    "pyramid ECC to the mean": pyramid_ecc,
    "scikit-image": scikit_image,
    "SimpleITK": simple_itk,
    "pystackreg": stackreg,
}


def installed(methods: dict[str, Callable]) -> dict[str, Callable]:
    """Return the methods whose package is there, and say which are not."""
    import importlib.util

    packages = {"scikit-image": "skimage", "SimpleITK": "SimpleITK", "pystackreg": "pystackreg"}
    absent = [
        name
        for name in methods
        if name in packages and not importlib.util.find_spec(packages[name])
    ]
    if absent:
        print(f"left out, not installed: {', '.join(absent)}")
    return {name: method for name, method in methods.items() if name not in absent}


def show(title: str, rows: list[tuple]) -> None:
    print(f"\n{title}\n" + "\n".join(console.lines_of(rows)), flush=True)


# ── Sections ─────────────────────────────────────────────────────────────────────────────────────────────────────


def series(size_of_scene: int = 800) -> None:
    """Whole series of real scenes, as delivered and with three sizes of warp, affine model.

    recovered : error against the known warp on top of what the same method finds on the scenes as they are, so that
    what the season pulls does not count. nominal : against the known warp alone. consensus : against the known warp on
    top of where orientation, from all eight scenes, sees them.
    """
    scenes = real_scenes()[:, :size_of_scene, :size_of_scene]
    shape = scenes.shape[1:]
    still = np.tile(np.eye(3), (len(scenes), 1, 1))
    agreed = ours(scenes, "affine")
    head = ("method", "warps", "recovered", "p95", "nominal", "consensus", "unaligned", "CPU s")
    rows: list[tuple] = [head]
    for name, method in installed(METHODS).items():
        start = time.process_time()
        own = method(scenes, "affine")
        seconds = (time.process_time() - start) / len(scenes)
        consensus = errors(own, agreed, shape).mean()
        unaligned = errors(still, agreed, shape).mean()
        figures = (*map(round_to_3, (consensus, unaligned)), round(seconds, 2))
        rows.append((name, "as delivered", "", "", "", *figures))
        for size in SIZES:
            rng = np.random.default_rng(0)
            warps = np.array([random_warp(rng, size, shape) for _ in scenes])
            warped = [spoil(rng, scene, warp) for scene, warp in zip(scenes, warps, strict=True)]
            stack = np.array(warped)
            start = time.process_time()
            found = method(stack, "affine")
            seconds = (time.process_time() - start) / len(stack)
            recovered = errors(found, warps @ own, shape)
            measures = (
                recovered.mean(),
                np.percentile(recovered, 95),
                errors(found, warps, shape).mean(),
                errors(found, warps @ agreed, shape).mean(),
                errors(still, warps, shape).mean(),
            )
            rows.append((name, size, *map(round_to_3, measures), round(seconds, 2)))
        show("Whole series of eight real scenes, affine [px]", rows)


def round_to_3(value: float) -> float:
    return round(float(value), 3)


def adjustment() -> None:
    """Time of the joint adjustment of 50 to 3200 scenes, six comparisons each, one in twenty wrong; its exponent."""
    rows: list[tuple] = [("scenes", "comparisons", "CPU s", "error [px]", "confirmed [%]")]
    counts = (50, 200, 800, 3200)
    times = []
    for count in counts:
        rng = np.random.default_rng(count)
        shifts = rng.normal(0, 0.4, (count, 2))
        pairs = known_pairs(rng, shifts)
        start = time.process_time()
        matrices = adjust(pairs, count, (800, 800), (0.4, 0.03))
        agreeing = agreeing_pairs(pairs, matrices, (800, 800))
        confirmed = confirmed_scenes(agreeing, count)
        times.append(time.process_time() - start)
        difference = matrices[:, :2, 2] - shifts
        difference -= np.median(difference, axis=0)
        error = np.hypot(*difference.T).mean()
        share = round(100 * float(confirmed.mean()), 1)
        rows.append((count, len(pairs), round(times[-1], 3), round_to_3(error), share))
    exponent = np.log(times[-1] / times[-2]) / np.log(counts[-1] / counts[-2])
    rows.append((f"exponent from {counts[-2]} on", "", round(float(exponent), 2), "", ""))
    show("Joint adjustment, one thread", rows)


def known_pairs(rng: np.random.Generator, shifts: np.ndarray) -> list[Pair]:
    """Return comparisons of scenes (T, 2) px off: of each with three near and three far ones, one in twenty wrong."""
    count = len(shifts)
    pairs = []
    for first in range(count):
        near = [first + step for step in (1, 2, 3) if first + step < count]
        far = rng.choice(count, 3, replace=False).tolist()
        for second in (*near, *far):
            if second == first:
                continue
            error = rng.uniform(0.05, 0.2)
            shift = shifts[second] - shifts[first] + rng.normal(0, error / 1.4, 2)
            if rng.random() < 0.05:
                shift = rng.uniform(-30, 30, 2)
            matrix = np.eye(3)
            matrix[:2, 2] = shift
            pairs.append(Pair(first, second, matrix, error, 3 / error))
    return pairs


def pairs() -> None:
    """Pairs of real scenes: the same one twice, and different seasons."""
    scenes = real_scenes()
    season = [(i, j) for i in range(8) for j in range(i + 1, 8) if i % 4 != j % 4]
    residual = {model: ours(scenes, model) for model in ("translation", "affine")}
    rows: list[tuple] = [
        (
            "method",
            "pairs",
            "model",
            "recovered",
            "max",
            "beside all",
            "nominal",
            "above 1 px",
            "not accepted",
        )
    ]
    for name, method in installed(
        {key: METHODS[key] for key in METHODS if key != "usual ECC recipe"}
    ).items():
        for kind, ends in (("same scene", [(i, i) for i in range(8)]), ("other season", season)):
            for model, size in (("translation", "3 px"), ("affine", "affine")):
                rng = np.random.default_rng(1)
                error = []
                beside = []
                nominal = []
                refused = 0
                for i, j in ends:
                    warps = np.array([random_warp(rng, size, scenes.shape[1:]) for _ in range(2)])
                    stack = np.array(
                        [spoil(rng, scenes[k], warp) for k, warp in zip((i, j), warps, strict=True)]
                    )
                    found = method(stack, model)
                    refused += int(np.array_equal(found[0], found[1]))
                    own = method(scenes[[i, j]], model)
                    error.append(errors(found, warps @ own, stack.shape[1:])[1])
                    beside.append(
                        errors(found, warps @ residual[model][[i, j]], stack.shape[1:])[1]
                    )
                    nominal.append(errors(found, warps, stack.shape[1:])[1])
                means = [round(float(np.mean(values)), 3) for values in (beside, nominal)]
                rows.append(
                    (
                        name,
                        kind,
                        model,
                        round(np.mean(error), 3),
                        round(max(error), 3),
                        *means,
                        sum(value > 1 for value in error),
                        refused,
                    )
                )
                show("Pairs of real scenes [px]", rows[:1] + rows[-1:])
    show("Pairs of real scenes [px]", rows)


def wrong() -> None:
    """Scenes that belong to no series must not be accepted; half-blind true ones must."""
    scenes = real_scenes()
    rng = np.random.default_rng(2)
    shape = scenes.shape[1:]
    warps = [random_warp(rng, "3 px", shape) for _ in scenes]
    series = [spoil(rng, scene, warp) for scene, warp in zip(scenes, warps, strict=True)]
    intruders = {
        "another place": scenes[2, ::-1, ::-1],
        "another place, mirrored": scenes[0, :, ::-1],
        "turned by 90 degrees": np.rot90(scenes[4]),
        "noise": rng.normal(size=shape),
        "constant": np.full(shape, 0.4),
        "all cloud": ndimage.gaussian_filter(rng.normal(size=shape), 4),
        "97 % missing": np.where(clouds(rng, shape, 0.97), np.nan, scenes[1]),
    }
    rows: list[tuple] = [
        ("intruder", "method", "accepted", "its error [px]", "true scenes accepted")
    ]
    for method in ("orientation", "ecc"):
        own = estimate_transforms(scenes, "affine", method).matrices
        true = np.array([*warps, np.eye(3)]) @ own[[0, 1, 2, 3, 4, 5, 6, 7, 1]]
        for label, image in intruders.items():
            found = estimate_transforms(np.array([*series, image], np.float32), "affine", method)
            accepted = bool(found.accepted[-1])
            error: float | str = ""
            if accepted and label == "97 % missing":
                error = round_to_3(errors(found.matrices, true, shape)[-1])
            rows.append((label, method, str(accepted), error, int(found.accepted[:-1].sum())))
    for method in ("orientation", "ecc"):
        count = 0
        for k, scene in enumerate(series):
            stack = np.array(series, np.float32)
            stack[k] = np.where(clouds(rng, shape, 0.8), np.nan, scene)
            count += int(estimate_transforms(stack, "affine", method).accepted[k])
        rows.append(("true scene, 80 % missing more", method, f"{count} of 8", "", ""))
    show("Scenes that do not belong, with eight that do", rows)


def ice() -> None:
    """The demo glacier with ice on 20, 45 and 70 % of the width, its middle moving 3 px a year: what motion is kept."""
    rows: list[tuple] = [
        (
            "ice on",
            "ice is",
            "method",
            "motion kept [%]",
            "worst pair [%]",
            "ground error [px]",
            "unaligned [px]",
            "not accepted",
        )
    ]
    with tempfile.TemporaryDirectory() as home:
        for width in (0.2, 0.45, 0.7):
            name = f"ice{100 * width:.0f}"
            command(
                home,
                "demo/makeGlacier.py",
                f"--name={name}",
                f"--iceWidth={width}",
                "--iceVelocity=90",
            )
            command(home, "dataAPI.py", f"--name={name}")
            for source in ("outline", "found"):
                folder = Path(home) / "datasets" / name
                outline = None
                if source == "outline":
                    outline = folder / "archive" / "truth" / "ice.geojson"
                for method in ("orientation", "ecc"):
                    command(
                        home,
                        "alignment.py",
                        f"--name={name}",
                        f"--alignmentMethod={method}",
                        f"--iceOutline={outline}",
                    )
                    rows.append((f"{width:.0%}", source, method, *score_motion(folder)))
                    show("Motion of the ice after co-registration", rows[:1] + rows[-1:])
    show("Motion of the ice after co-registration", rows)


def command(home: str, *words: str) -> None:
    """Run one of the project's scripts with its datasets in `home`."""
    subprocess.run(
        [sys.executable, str(ROOT / words[0]), *words[1:]],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"GLACIER_HOME": home},
    )


def score_motion(folder: Path) -> tuple:
    """Return, of a demo glacier's aligned/: motion kept, mean and worst pair of scenes about a year apart [%], error on
    the ground and before [px], scenes not accepted."""
    from demo.truth import read_truth

    truth = read_truth(folder / "archive")
    record = json.loads((folder / "aligned" / "scenes.json").read_text())
    rows, columns = np.load(folder / "aligned" / "scenes.npy", mmap_mode="r").shape[2:]
    left = round((record["transform"][2] - truth.transform.c) / 30)
    top = round((truth.transform.f - record["transform"][5]) / 30)
    window = (slice(top, top + rows), slice(left, left + columns))
    moving = truth.ice[window]
    flow = truth.velocity[(slice(None), *window)] * np.array([1, -1])[:, None, None] / 30
    points = np.stack([*np.mgrid[:rows, :columns][::-1], np.ones((rows, columns))], axis=-1)
    known = truth.misregistration[[truth.ids.index(scene["id"]) for scene in record["scenes"]]]
    moved = np.array([points @ np.array(scene["matrix"]).T for scene in record["scenes"]])
    moved = moved[..., :2] / moved[..., 2:] - points[..., :2]
    wrong = moved - known[:, None, None]
    wrong -= np.median(wrong[:, ~moving].mean(axis=1), axis=0)
    days = np.array([date.fromisoformat(scene["date"]).toordinal() for scene in record["scenes"]])
    kept = []
    for i, j in zip(*np.nonzero(np.abs(days - days[:, None] - 365) < 20), strict=True):
        true = np.moveaxis(flow, 0, -1)[moving] * (days[j] - days[i]) / 365.25
        seen = true - (wrong[j] - wrong[i])[moving]
        kept.append(100 * (seen * true).sum() / (true**2).sum())
    before = np.linalg.norm(known - np.median(known, axis=0), axis=1).mean()
    ground = np.linalg.norm(wrong[:, ~moving], axis=-1).mean()
    refused = sum(not scene["accepted"] for scene in record["scenes"])
    return round(np.mean(kept), 1), round(min(kept), 1), round(ground, 3), round(before, 3), refused


def usual_fill(image: np.ndarray) -> np.ndarray:
    """One pass of the usual gap filling: a loop over the missing pixels, each the weighted mean of the 5 x 5 around."""
    padded = np.pad(image.astype(float), 2, constant_values=np.nan)
    result = image.astype(float)
    for y, x in np.argwhere(np.isnan(image)):
        box = padded[y : y + 5, x : x + 5]
        weights = KERNEL * np.isfinite(box)
        if weights.sum() > 0:
            result[y, x] = np.nansum(weights * np.nan_to_num(box)) / weights.sum()
    return result.astype(np.float32)


def speed(count: int = 40) -> None:
    """Seconds of CPU for registration, gap filling and the whole, of real scenes of 800 x 800, two channels.

    The usual recipe of ECC runs to 1e-10 and for 5000 iterations at most, the numbers that go from script to script;
    two cheaper ones stand beside it.
    """
    scenes = real_scenes()
    rng = np.random.default_rng(3)
    shape = scenes.shape[1:]
    stack = np.array(
        [spoil(rng, scenes[k % 8], random_warp(rng, "0.5 px", shape)) for k in range(count)]
    )
    rows: list[tuple] = [("what", "ours", "usual", "usual / ours")]
    start = time.process_time()
    found = estimate_transforms(stack, "affine")
    mine = (time.process_time() - start) / count
    for iterations, criterion, scenes_timed in ((100, 1e-5, 8), (100, 1e-10, 8), (5000, 1e-10, 4)):
        start = time.process_time()
        warps = usual_ecc(stack[:scenes_timed], "homography", iterations, criterion)
        usual = (time.process_time() - start) / scenes_timed
        rows.append(
            (
                f"registration, ECC to {criterion:g}, {iterations} iterations at most [s a scene]",
                mine,
                usual,
                usual / mine,
            )
        )
    gaps = [
        np.where(clouds(rng, shape, 0.05), np.nan, scene).astype(np.float32) for scene in scenes[:2]
    ]
    start = time.process_time()
    for _ in range(10):
        filled = [fill_gaps(image, passes=1) for image in gaps]
    fast = (time.process_time() - start) / 20
    start = time.process_time()
    plain = [usual_fill(image) for image in gaps]
    slow = (time.process_time() - start) / 2
    largest = max(float(np.nanmax(np.abs(a - b))) for a, b in zip(filled, plain, strict=True))
    rows.append(
        (
            f"gap filling, 5 % missing [s a band]; largest difference {largest:.1g}",
            fast,
            slow,
            slow / fast,
        )
    )
    days = [date(2013 + k // 12, 1 + k % 12, 10) for k in range(count)]
    start = time.process_time()
    aligned = np.array(
        [[resample(scene, matrix)] * 2 for scene, matrix in zip(stack, found.matrices, strict=True)]
    )
    composite(aligned, days, 4)
    whole = mine + (time.process_time() - start) / count
    start = time.process_time()
    for scene, warp in zip(stack[:2], warps, strict=False):
        for _ in range(2):
            image = cv2.warpPerspective(
                scene, warp, shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
            while np.isnan(image).any():
                image = usual_fill(image)
    loops = usual + (time.process_time() - start) / 2
    rows.append(
        (
            f"whole, {count} scenes, two bands [s a scene] (usual: 4 of them registered, 2 filled)",
            whole,
            loops,
            loops / whole,
        )
    )
    show("Speed, one thread [CPU s]", rows)


def memory() -> None:
    """Peak memory and time of the stage for 40 and 100 scenes of 800 x 800."""
    rows: list[tuple] = [("scenes", "wall s", "CPU s", "peak of all processes [MB]")]
    scenes = real_scenes()
    rng = np.random.default_rng(4)
    for count in (40, 100):
        with tempfile.TemporaryDirectory() as home:
            write_raw(Path(home) / "datasets" / "many", scenes, count, rng)
            start = time.monotonic()
            peak = 0
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            words = [sys.executable, str(ROOT / "alignment.py"), "--name=many"]
            process = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, env=os.environ | {"GLACIER_HOME": home}
            )
            while process.poll() is None:
                peak = max(peak, sum(map(megabytes, [process.pid, *children(process.pid)])))
                time.sleep(0.1)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
            rows.append((count, round(time.monotonic() - start, 1), round(seconds, 1), peak))
    rows.append(("ratio", round(rows[2][1] / rows[1][1], 2), round(rows[2][2] / rows[1][2], 2), ""))
    show("Memory and time of the stage, 800 x 800", rows)


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def megabytes(pid: int) -> int:
    """Return the memory [MB] of a process, its part of what it shares with others included; 0 if it has ended."""
    try:
        fields = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        )
        return int(fields["Pss"].split()[0]) // 1024
    except (OSError, KeyError):
        return 0


def write_raw(folder: Path, scenes: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Write rawData/ of `count` scenes: green, swir16 and nir08 whose snow index is that of the real scenes."""
    header = {
        "schema": disk.SCHEMA,
        "crs": "EPSG:32643",
        "transform": [30.0, 0.0, 600015.0, 0.0, -30.0, 3550015.0],
        "shape": list(scenes.shape[1:]),
        "bands": ["green", "nir08", "swir16"],
        "scale": 2.75e-5,
        "offset": -0.2,
        "nodata": 0,
        "count": count,
    }
    path = folder / "rawData" / "2015.pkl"
    indices = [
        spoil(rng, scenes[k % 8], random_warp(rng, "0.5 px", scenes.shape[1:])) for k in range(16)
    ]
    with disk.writing(path) as file:
        file.write(pickles.pickled(header))
        for k in range(count):
            index = indices[k % 16]
            bands = np.nan_to_num([0.3 * (1 + index), 0.3 + 0.5 * index, 0.3 * (1 - index)])
            file.write(
                pickles.pickled(
                    {
                        "id": f"scene{k:03}",
                        "datetime": (datetime(2015, 1, 5, 5) + timedelta(days=3 * k)).isoformat(),
                        "platform": "landsat-8",
                        "cloud_percent": 5.0,
                        "missing_fraction": float(np.isnan(index).mean()),
                        "sun_azimuth": 150.0,
                        "sun_elevation": 40.0,
                        "mask": np.isnan(index).astype(np.uint8),
                        "dn": np.clip((bands + 0.2) / 2.75e-5, 1, 65535).astype(np.uint16),
                    }
                )
            )
    cfg = config.load(config.Config, name="many")
    runner.write_manifest(
        folder / "rawData", runner.used_settings(cfg, dataAPI.USES), {}, [path], {}, 0.0
    )


SECTIONS = {
    "series": series,
    "adjustment": adjustment,
    "pairs": pairs,
    "ice": ice,
    "wrong": wrong,
    "speed": speed,
    "memory": memory,
}


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    one_thread()
    for section in sys.argv[1:] or SECTIONS:
        SECTIONS[section]()

"""Mistakes that a programmer could make, and that the tests must notice; mutate.py puts them in one at a time.

A mutant: the file, a text that stands there once (however it is laid out), what takes its place, what that breaks, and
the tests that should notice first.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    file: str
    text: str
    replacement: str
    breaks: str
    tests: tuple[str, ...]


def mutants(tests: str, file: str, *mistakes: tuple[str, str, str]) -> list[Mutant]:
    """Return the mutants of a file; tests : where they should be noticed, without tests/test_ and .py."""
    names = tuple(f"tests/test_{name}.py" for name in tests.split())
    return [Mutant(file, text, instead, breaks, names) for text, instead, breaks in mistakes]


MUTANTS = [
    # ── stage 1: the archive ──
    *mutants(
        "archive_lines dataAPI archive_items",
        "glacier/satellites/selection.py",
        ("item.cloud_percent > max_cloud_percent", "False", "the cloud limit is ignored"),
        (
            'by_collection[0] if by_collection else ""',
            '""',
            "items without a satellite are lost",
        ),
    ),
    *mutants(
        "dataAPI archive_lines",
        "glacier/satellites/overpasses.py",
        (
            "key=processing_rank, reverse=True",
            "key=processing_rank",
            "the older processing is kept",
        ),
        ("one.item.crs != crs", "one.item.crs == crs", "in an overpass the other zone comes first"),
        ("later.datetime - earlier.datetime <= OVERPASS", "True", "all passes are one scene"),
    ),
    *mutants(
        "dataAPI archive_dialects",
        "glacier/satellites/assembly.py",
        ("dn = np.where(better, following.dn, dn)", "pass", "a clouded pixel is not replaced"),
        (
            "mask = np.where(better, next_mask, mask)",
            "pass",
            "the mask stays that of the first item",
        ),
        (
            "(mask != 0) & (next_mask == 0)",
            "mask == 0",
            "clear pixels are replaced, not clouded ones",
        ),
        ("mask[(dn[needed] == 0).any(0)] |= sensors.FILL", "pass", "gaps of a band are no gaps"),
        (
            "missing_fraction > job.limit",
            "False",
            "maxMissingFraction is ignored for joined scenes",
        ),
        ('("T2", "RT", "T1")', '("T1", "RT", "T2")', "the best tier of a scene, not the worst"),
        (
            "max(errors, default=math.nan)",
            "min(errors, default=math.nan)",
            "the least geometric error",
        ),
    ),
    *mutants(
        "dataAPI archive hostile_damage",
        "glacier/scenes.py",
        (
            'header.get("made_with") != made_with',
            "False",
            "scenes of other settings are taken back",
        ),
        ('if done != header["count"]', "if False", "a truncated year is read"),
        ("index - np.float32(self.ndsi_bias)", "index", "the bias of a sensor stays in the index"),
        (
            "if cfg.harmonise:",
            "if not cfg.harmonise:",
            "harmonise the wrong way round",
        ),
        (
            "item.datetime.year == year]\n        unfit",
            "True]\n        unfit",
            "a year holds all scenes",
        ),
    ),
    # ── stage 2: co-registration, composites ──
    *mutants(
        "alignment",
        "glacier/coregistration/verdict.py",
        (
            "(correlates & differs_less) |",
            "(correlates | differs_less) |",
            "one of two checks is enough",
        ),
        (
            'np.where(checks["residual"] < 1, checks["residual"], error)',
            "error",
            "residual is the error",
        ),
        (
            'checks["residual"] < 1',
            'checks["residual"] > 1',
            "the rule of the residual turned round",
        ),
        ("far & confirmed & ~accepted", "far & ~accepted", "unproved scenes are left out"),
        ("quality < MIN_QUALITY", "quality < 0", "scenes without anything in common are accepted"),
        (
            "best[scene].setdefault(partner, pair)",
            "best[scene][partner] = pair",
            "the worst pair of two",
        ),
        (
            "min(pair.error for pair in few)",
            "max(pair.error for pair in few)",
            "the greatest error",
        ),
        (
            "max(LEAST_GEOLOCATION, GEOLOCATION / pixel_size)",
            "GEOLOCATION / pixel_size",
            "MODIS may lie 0.1 px off",
        ),
        (
            'record["geometric_rmse"] > most',
            'record["geometric_rmse"] < most',
            "the sure products are doubted",
        ),
    ),
    *mutants(
        "alignment",
        "glacier/coregistration/checks.py",
        (
            "corrected = to_second @ from_first",
            "corrected = np.linalg.inv(to_second @ from_first)",
            "scenes are checked with the inverse transform",
        ),
        ("another, stable, to_second", "another, stable, from_first", "before is not as delivered"),
    ),
    *mutants(
        "alignment",
        "alignment.py",
        (
            "resample(channel, transforms.matrices[i])",
            "resample(channel, np.linalg.inv(transforms.matrices[i]))",
            "every scene is resampled with the inverse transform",
        ),
        ("scenes.in_composites)", "scenes.accepted)", "composites of the accepted scenes alone"),
        ("(~ice).astype", "ice.astype", "co-registration on ice, not on ground"),
        ("limit=allowed_error(grid.pixel_size)", "limit=np.inf", "no scene is ever displaced"),
    ),
    *mutants(
        "alignment",
        "glacier/aligned.py",
        ("-south", "south", "shift_north of quality.json has the wrong sign"),
        (
            "written != config.fingerprint([made_with, content])",
            "False",
            "scenes made with other settings are kept",
        ),
        (
            "np.flatnonzero(scenes.in_composites)",
            "range(len(scenes.dates))",
            "counts hold scenes that were left out",
        ),
        ("timedelta(days=1)", "timedelta(days=0)", "a period ends on the first day of the next"),
        ('tuple(record["counts"])', 'tuple(record["counts"][::-1])', "counts are read backwards"),
    ),
    *mutants(
        "alignment",
        "glacier/composites.py",
        (
            "range(step % steps_per_year, step, steps_per_year)",
            "range(step)",
            "gaps are filled from all seasons",
        ),
        (
            "np.where(observed[earlier], values[earlier], 0)",
            "values[earlier]",
            "filled values of earlier years fill again",
        ),
        ("np.where(seen > 1, scatter, np.nan)", "scatter", "one scene has a spread"),
        (
            "np.isfinite(part).all(axis=1).sum(axis=0)",
            "np.isfinite(part).any(axis=1).sum(axis=0)",
            "count of scenes that saw any channel",
        ),
        (
            "np.isfinite(scenes[scene]).all(axis=0).any()",
            "True",
            "the series begins with an empty step",
        ),
    ),
    *mutants(
        "alignment",
        "glacier/ground.py",
        ("(11, 0, 1)", "(0, 1, 2)", "the melt season after the month with least snow"),
        ("snowy >= LASTING * seen", "snowy > 0", "snow of one day outlasts the summer"),
        ("/ max(seen, 1)", "/ 1", "clouds count as ground without snow"),
    ),
    # ── stage 3: patches ──
    *mutants(
        "createPatches",
        "glacier/patches/windows.py",
        (
            '"targets": series.values[middle:end]',
            '"targets": series.values[middle - 1 : end - 1]',
            "targets one step early",
        ),
        (
            "series.observed[middle:end]",
            "series.observed[start : start + cfg.horizon]",
            "observed of the inputs",
        ),
        ("part[part < self.floor] = 0", "pass", "snowThreshold is not applied"),
        (
            '"rows": [top, bottom], "columns": [left, right]',
            '"rows": [left, right], "columns": [top, bottom]',
            "the block is turned",
        ),
    ),
    *mutants(
        "createPatches",
        "createPatches.py",
        (
            "mean_image(series.values, training_steps)",
            "mean_image(series.values, len(series.dates))",
            "the block is chosen with the test",
        ),
    ),
    *mutants(
        "createPatches earning",
        "glacier/patches/split.py",
        (
            'inputs["validation"] | targets["validation"]',
            'inputs["validation"]',
            "the proof forgets validation",
        ),
        (
            "(tops >= bottom) | (tops + size <= top)",
            "(tops >= bottom) | (tops <= top)",
            "patches that reach into the block train",
        ),
        (
            "end <= validation_start",
            "target <= validation_start",
            "a training window ends in validation",
        ),
        ("max(1, math.ceil(", "max(1, math.floor(", "validation is rounded down"),
        ("difference < least", "difference > least", "the block least like the scene"),
        ("len(learnt) * in_both", "0", "the proof forgets the block"),
    ),
    # ── training ──
    *mutants(
        "training",
        "DeepLearning/training/loop.py",
        ('error < self.state["best"] or not self.may_stop', "True", "best.pt is the last epoch"),
        (
            'checkpoints.save(self.folder / "best.pt", self.average, description)',
            'checkpoints.save(self.folder / "best.pt", self.model, description)',
            "best.pt holds raw weights",
        ),
        ('self.state["stale"] >= self.cfg.patience', "False", "patience is ignored"),
        ("max(0.0, 1 - 2 * past)", "1.0", "teacher forcing never falls"),
        (
            "self.cfg.samplesPerEpoch, self.cfg.seed, epoch",
            "self.cfg.samplesPerEpoch, 0, epoch",
            "sampling ignores the seed",
        ),
        (
            "~np.isin(targets, sorted(years.held_back))",
            "np.ones(targets.shape, bool)",
            "held-back steps train",
        ),
        (
            '"average": self.average.state_dict()',
            '"average": self.model.state_dict()',
            "a resumed run averages anew",
        ),
        (
            "earners = [years.earning for years in self.years]",
            "earners = [years.reported for years in self.years]",
            "the factor from the years that stop",
        ),
        ("step / (step + 9)", "0.0", "no averaging"),
        (
            "loss_sum(numbers, batch) / pixels",
            "loss_sum(numbers, batch)",
            "the gradient grows with the batch",
        ),
    ),
    *mutants(
        "earning training",
        "DeepLearning/training/earning.py",
        (
            "stopping = frozenset(step for step in steps if step < border)",
            "stopping = frozenset(steps)",
            "years earn and stop as well",
        ),
        (
            "network, climatology, pixels = sums * counted",
            "network, climatology, pixels = sums",
            "lead times count outside their years",
        ),
        ("1 - (2 * error / mean) ** 2", "1 - (error / mean) ** 2", "half the error"),
    ),
    *mutants(
        "training",
        "DeepLearning/training/session.py",
        ('record["patches"] == patches and', "", "a run goes on with other patches"),
    ),
    *mutants(
        "training",
        "DeepLearning/training/run.py",
        ("model.factor.fill_(1)", "pass", "an earlier factor is taken over"),
    ),
    *mutants(
        "deeplearning earning",
        "DeepLearning/data/base.py",
        (
            "return np.arange(before)",
            "return np.arange(before + 1)",
            "a causal climatology knows its target",
        ),
        (
            "self.ordinals[: self.training_steps]",
            "self.ordinals",
            "training's climatology from test steps too",
        ),
    ),
    *mutants(
        "deeplearning",
        "DeepLearning/data/layers.py",
        (
            "((step - origin.target) // every + 1)",
            "((step - origin.target) // every)",
            "last year reads a target",
        ),
        ("before = None if origin.trains else step", "before = None", "input means look ahead"),
    ),
    *mutants(
        "deeplearning training",
        "DeepLearning/data/batches.py",
        ('if name != "times"', 'if name == "inputs"', "inputs alone are turned"),
        (
            "places[(places % every == 0).all(axis=1)]",
            "places",
            "validation counts pixels many times",
        ),
        (
            "np.random.default_rng([seed, epoch])",
            "np.random.default_rng([seed])",
            "every epoch draws the same",
        ),
    ),
    # ── climatology, distribution, scores, intervals ──
    *mutants(
        "climatology",
        "glacier/climatology.py",
        (
            "(years * narrower + pseudo_years * wider) / (years + pseudo_years)",
            "narrower",
            "no shrinkage to the wider kernel",
        ),
        (
            "np.abs(days - target.toordinal()) > YEAR / 2",
            "np.abs(days - target.toordinal()) > 1",
            "leave one day out, not one year",
        ),
        ("offset[:, outside] = 0", "pass", "the kept-out block has an offset"),
        ("(days + YEAR / 2) % YEAR - YEAR / 2", "days % YEAR", "December is far from January"),
        ("observed & region[rows]", "observed", "the region counts the kept-out block"),
    ),
    *mutants(
        "snow_cover metrics scoring members climatology baselines",
        "glacier/distribution.py",
        (
            "1 - 2 * right + reach * rise",
            "1 - 2 * right",
            "the CRPS is off within an interval",
        ),
        (
            "np.clip(place, 1, len(x) - 1)",
            "np.clip(place - 1, 1, len(x) - 1)",
            "P(snow) of the threshold below",
        ),
        ("high * above_first", "high", "ranks at the first threshold are not drawn"),
        ("second_moment - mean(F, x) ** 2", "second_moment", "the variance is the second moment"),
    ),
    *mutants(
        "intervals",
        "DeepLearning/verification/intervals.py",
        (
            "over_dates + max(over_tiles - over_crossings, 0.0)",
            "over_tiles",
            "intervals over tiles only",
        ),
        ("stdtrit(count - 1,", "stdtrit(1e9,", "normal, not Student's t"),
        ("count < FEWEST_BLOCKS or", "count < 2 or", "intervals from two blocks"),
        ("(count - 1) / count *", "1 / count *", "the variance of a mean, not a jackknife's"),
        (
            "measured + (1 + 4 * measured) / count",
            "measured",
            "a short series' correlation is not corrected",
        ),
    ),
    *mutants(
        "scoring",
        "DeepLearning/verification/scoring.py",
        (
            "observed = by_date[REFERENCE][..., PIXELS].sum(axis=1) > 0",
            "observed = by_date[REFERENCE][..., PIXELS].sum(axis=1) >= 0",
            "dates without a pixel count",
        ),
        ("truth[truth < self.glacier.floor] = 0", "pass", "SSIM of a truth that is not clipped"),
        (
            "values[: glacier.training_steps(), :, ::every, ::every]",
            "values[:, :, ::every, ::every]",
            "the span from the test too",
        ),
        (
            "truth, observed, self.data_range",
            "truth, np.ones_like(observed), self.data_range",
            "SSIM counts gaps",
        ),
    ),
    *mutants(
        "metrics scoring",
        "DeepLearning/verification/metrics.py",
        ('2 * total["hits"] / snow', 'total["hits"] / snow', "F1 is half of it"),
        (
            'np.sqrt(total["variance"] / squared)',
            'total["variance"] / squared',
            "spread over error in square",
        ),
        ('"bias": total["error"]', '"bias": -total["error"]', "the bias has the wrong sign"),
    ),
    *mutants(
        "baselines",
        "DeepLearning/verification/baselines.py",
        ("unclipped[origin - 1]", "unclipped[origin]", "persistence reads the target"),
        (
            "self.usual(step, None if trains else step)",
            "self.usual(step, None)",
            "fitted baselines look ahead",
        ),
        (
            "self.glacier.series.observed[step] & ~self.glacier.base.climatology.kept_out",
            "self.glacier.series.observed[step]",
            "the ridge is fitted on the block",
        ),
        ('glacier.windows("train")', 'glacier.windows("test")', "baselines are fitted on the test"),
    ),
    # ── forecast ──
    *mutants(
        "deeplearning",
        "DeepLearning/verification/ahead.py",
        (
            "first = target - glacier.sequence_length",
            "first = target - glacier.sequence_length - 1",
            "forecast from the inputs one step earlier",
        ),
        (
            "date.fromordinal(glacier.date(step + 1).toordinal() - 1)",
            "glacier.date(step + 1)",
            "a step ends on the first day of the next",
        ),
        (
            "member * count + 1",
            "member * values.shape[1] + 1",
            "members' bands lie over each other",
        ),
    ),
    *mutants(
        "members",
        "DeepLearning/verification/members.py",
        (
            "np.sqrt(share) * common + np.sqrt(1 - share) * noise",
            "share * common + (1 - share) * noise",
            "members vary too little",
        ),
        (
            "agreement.carry * numbers[:, step - 1] + fresh_share * drawn",
            "drawn",
            "members have no memory",
        ),
    ),
    *mutants(
        "snow_series",
        "DeepLearning/verification/snow_series.py",
        ("np.where(past.observed, past.snow, drawn)", "drawn", "what was seen is drawn"),
        (
            "abs(transform[0] * transform[4]) * thinning**2",
            "abs(transform[0] * transform[4])",
            "thinned pixels are too small",
        ),
    ),
    *mutants(
        "motion",
        "DeepLearning/verification/motion.py",
        ("before=self.glacier.date(target)", "before=None", "the velocity knows later scenes"),
        (
            "np.where(certain(field), field.velocity, 0)",
            "field.velocity",
            "ice moves where nothing is certain",
        ),
        ("(step - past) / every", "1", "every year is carried by one year"),
    ),
    # ── movement ──
    *mutants(
        "movement",
        "glacier/velocity/velocities.py",
        ("return velocity - ground_median", "return velocity", "the median of stable ground stays"),
        (
            "self.columns[0] + 0.5 - self.spacing / 2",
            "self.columns[0] + 0.5",
            "the GeoTIFF half a node off",
        ),
        (
            "CERTAIN * np.hypot(*field.error)",
            "np.hypot(*field.error)",
            "three standard errors taken as one",
        ),
        (
            "np.hypot(field.error, WINDOW_ERROR * np.hypot(*lost))",
            "field.error",
            "the window's own error is left out",
        ),
        ("few = count < least", "few = count < 2", "two pairs are believed"),
        ("noise > MAX_GROUND_NOISE or", "", "a pair whose ground is noise counts"),
        ("total >= total[-1] / 2", "total >= 0", "the least, not the median"),
    ),
    *mutants(
        "movement",
        "glacier/velocity/preparation.py",
        ("resample(image, matrix)", "image", "scenes are tracked as delivered"),
        ("(share > MIXED) & (share < 1 - MIXED)", "share > MIXED", "all ice is margin"),
    ),
    *mutants(
        "movement",
        "glacier/velocity/fields.py",
        (
            "self.dates[pair.second] for pair",
            "self.dates[pair.first] for pair",
            "velocity before a day by a pair's first scene",
        ),
        (
            "speed, *field.velocity, *field.error",
            "speed, *field.velocity, *field.velocity",
            "errors are velocities",
        ),
    ),
    *mutants(
        "tracking",
        "glacier/velocity/refinement.py",
        ("1 / TRUST + INDEPENDENT * shear", "1 / TRUST", "the shear term is left out"),
    ),
    # ── storage, groups, report ──
    *mutants(
        "hostile_runs store",
        "glacier/storage/disk.py",
        ("file.flush()\n            os.fsync(file.fileno())", "file.flush()", "no fsync"),
        (
            "remove(part)\n\n\n@contextmanager\ndef writing_array",
            "pass\n\n\n@contextmanager\ndef writing_array",
            "half a file is left behind",
        ),
    ),
    *mutants(
        "store hostile_runs hostile_damage",
        "glacier/storage/runner.py",
        (
            "os.replace(path, folder / WITHDRAWN)",
            "pass",
            "the manifest stays while the stage works",
        ),
        ("remove_others(folder, keep)", "pass", "files of an earlier run stay"),
        ("present[name] != value", "False", "a stage made with other settings is taken"),
        (
            'need(cfg, earlier) != manifest["inputs"][earlier.folder]',
            "False",
            "an earlier stage that changed is not noticed",
        ),
    ),
    *mutants(
        "hostile_damage store",
        "glacier/storage/integrity.py",
        ('if file_hash(path) != output["sha256"]', "if False", "no byte is compared"),
        ("rest.strip().decode() != digest(lines)", "False", "a damaged manifest is read"),
    ),
]

# what no test notices, and why that is so
UNNOTICED: dict[str, str] = {}

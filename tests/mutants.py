"""Mistakes that a programmer could make, and that the tests must notice; mutate.py puts them in one at a time.

A mutant: the file, a text that stands there once (however it is laid out), what takes its place, what that breaks, the
files with tests that should notice, and the one test that does where it is known.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    file: str
    text: str
    replacement: str
    breaks: str
    tests: tuple[str, ...]
    first: str


# which test notices a mistake, where the files hold many that take long
NOTICED_BY = {
    "the cloud limit is ignored": "dataAPI::test_clouds_decide_what_is_read",
    "the older processing is kept": "archive_items::test_the_newer_baseline_of_one_acquisition_counts",
    "in an overpass the other zone comes first": "dataAPI::test_scene_of_the_other_zone_lies_in_its_place",
    "all passes are one scene": "archive_items::test_two_orbits_are_two_scenes_and_neighbours_one",
    "items without a satellite are lost": "archive_items::test_satellites_as_archives_spell_them",
    "a clouded pixel is not replaced": "dataAPI::test_a_clouded_pixel_is_its_neighbours",
    "the mask stays that of the first item": "dataAPI::test_a_clouded_pixel_is_its_neighbours",
    "clear pixels are replaced, not clouded ones": "dataAPI::test_a_clouded_pixel_is_its_neighbours",
    "maxMissingFraction is ignored for joined scenes": "dataAPI::test_missing_pixels_decide_what_is_kept",
    "the best tier of a scene, not the worst": "dataAPI::test_tier_and_geometric_error_go_into_the_scene",
    "the least geometric error": "dataAPI::test_tier_and_geometric_error_go_into_the_scene",
    "scenes of other settings are taken back": "dataAPI::test_only_scenes_made_alike_are_taken_back",
    "a truncated year is read": "hostile_damage::test_a_stream_whose_scenes_are_none_is_one_line",
    "one of two checks is enough": "alignment::test_one_of_two_checks_is_not_enough_unless_the_correction_is_clear",
    "residual is the error": "alignment::test_residual_is_that_of_phase_correlation_where_it_holds",
    "the rule of the residual turned round": "alignment::test_residual_is_that_of_phase_correlation_where_it_holds",
    "strangers are accepted": "alignment::test_scene_that_shows_no_ground_is_not_confirmed_by_matches_at_zero",
    "the worst pair of two": "alignment::test_each_scene_is_checked_by_its_two_most_certain_partners",
    "the greatest error": "alignment::test_residual_is_that_of_phase_correlation_where_it_holds",
    "MODIS may lie 0.1 px off": "alignment::test_products_may_lie_sixty_metres_off_and_two_pixels_at_least",
    "the sure products are doubted": "alignment::test_doubtful_products_enter_only_where_others_confirm_them",
    "scenes are checked with the inverse transform": "alignment::test_quality_tells_what_was_gained",
    "before is not as delivered": "alignment::test_quality_tells_what_was_gained",
    "every scene is resampled with the inverse transform": "alignment::test_stage_makes_composites_of_the_truth",
    "composites of the accepted scenes alone": "alignment::test_stage_makes_composites_of_the_truth",
    "co-registration on ice, not on ground": "alignment::test_stage_writes_the_shifts_that_were_put_in",
    "no scene is ever displaced": "alignment::test_the_stage_asks_no_more_of_the_product_than_its_pixels_allow",
    "shift_north of quality.json has the wrong sign": "alignment::test_stage_writes_the_shifts_that_were_put_in",
    "scenes made with other settings are kept": "alignment::test_other_steps_a_year_make_other_composites_only",
    "counts hold scenes that were left out": "alignment::test_records_count_the_scenes_that_are_in_the_composites",
    "a period ends on the first day of the next": "alignment::test_records_count_the_scenes_that_are_in_the_composites",
    "counts are read backwards": "alignment::test_records_count_the_scenes_that_are_in_the_composites",
    "gaps are filled from all seasons": "alignment::test_wide_gaps_are_filled_from_the_same_season_of_earlier_years",
    "one scene has a spread": "alignment::test_composites_say_how_many_scenes_saw_a_pixel_and_how_far_these_differ",
    "count of scenes that saw any channel": "alignment::test_a_pixel_is_seen_where_all_channels_are",
    "the series begins with an empty step": "alignment::test_a_pixel_is_seen_where_all_channels_are",
    "the melt season after the barest month": "alignment::test_melt_season_lies_around_the_month_with_least_snow",
    "snow of one day outlasts the summer": "alignment::test_melt_season_lies_around_the_month_with_least_snow",
    "clouds count as ground without snow": "alignment::test_clouds_do_not_make_a_month_bare",
    "targets one step early": "createPatches::test_window_files_are_slices_of_the_composites_by_date",
    "observed of the inputs": "createPatches::test_window_files_are_slices_of_the_composites_by_date",
    "snowThreshold is not applied": "createPatches::test_window_files_are_slices_of_the_composites_by_date",
    "best.pt is the last epoch": "training::test_years_that_stop_the_training_keep_their_best_epoch",
    "best.pt holds raw weights": "training::test_the_averaged_network_is_validated_and_kept",
    "patience is ignored": "training::test_years_that_stop_the_training_keep_their_best_epoch",
    "teacher forcing never falls": "training::test_teacher_forcing_falls_to_nothing_by_half_time",
    "the proof forgets the block": "createPatches::test_a_patch_that_reaches_into_the_block_is_caught",
    "sampling ignores the seed": "training::test_a_training_draws_its_samples_by_its_seed",
    "SSIM of a truth that is not clipped": "scoring::test_similarity_is_to_what_the_patches_hold",
    "the span from the test too": "scoring::test_the_span_of_colours_knows_no_test",
    "fitted baselines look ahead": "baselines::test_inputs_depart_from_what_was_known_before_them",
    "baselines are fitted on the test": "baselines::test_fits_read_the_training_windows_alone",
    "held-back steps train": "training::test_steps_held_back_take_no_part_in_the_loss",
    "a resumed run averages anew": "training::test_the_averaged_network_is_validated_and_kept",
    "the factor by the years that stop": "training::test_the_factor_is_earned_in_years_that_did_not_stop_the_training",
    "no averaging": "training::test_the_averaged_network_is_validated_and_kept",
    "the gradient grows with the batch": "training::test_the_loss_is_a_mean_over_pixels",
    "a run goes on with other patches": "training::test_a_stopped_run_of_other_patches_is_not_taken_up",
    "an earlier factor is taken over": "training::test_fine_tuning_starts_from_a_run",
    "last year reads a target": "deeplearning::test_context_never_looks_ahead",
    "input means look ahead": "deeplearning::test_windows_that_do_not_train_read_the_past_only",
    "inputs alone are turned": "deeplearning::test_turned_patches_turn_as_a_whole",
    "validation counts pixels many times": "deeplearning::test_covering_samples_lie_side_by_side",
    "every epoch draws the same": "deeplearning::test_epochs_draw_anew_and_repeatably",
    "a forecast one step early": "deeplearning::test_forecast_is_what_the_network_says_after_the_last_composite",
    "a step ends a day late": "deeplearning::test_forecast_lies_at_the_right_place_and_time",
    "members lie over each other": "deeplearning::test_forecast_is_what_the_network_says_after_the_last_composite",
    "the median of stable ground stays": "movement::test_ground_is_brought_to_rest_and_the_ice_with_it",
    "the GeoTIFF half a node off": "movement::test_pixels_of_the_geotiff_have_their_middle_at_the_nodes",
    "three standard errors taken as one": "movement::test_certain_is_three_standard_errors",
    "the window's own error is left out": "movement::test_the_window_adds_its_own_error_where_the_ice_ends",
    "two pairs are believed": "movement::test_two_pairs_are_not_believed_where_three_are_needed",
    "the least, not the median": "movement::test_weighted_median_by_hand",
    "scenes are tracked as delivered": "movement::test_scenes_are_tracked_as_co_registered",
    "velocity before a day by a pair's first scene": "movement::test_a_velocity_before_a_day_knows_no_later_scene",
    "the shear term is left out": "tracking::test_where_neighbours_shear_a_displacement_keeps_its_own_value",
}


def mutants(tests: str, file: str, *mistakes: tuple[str, str, str]) -> list[Mutant]:
    """Return the mutants of a file; tests : where they should be noticed, without tests/test_ and .py."""
    names = tuple(f"tests/test_{name}.py" for name in tests.split())
    made = []
    for text, instead, breaks in mistakes:
        first = ""
        if breaks in NOTICED_BY:
            name, _, test = NOTICED_BY[breaks].partition("::")
            first = f"tests/test_{name}.py::{test}"
        made.append(Mutant(file, text, instead, breaks, names, first))
    return made


MUTANTS = [
    # ── stage 1: the archive ──
    *mutants(
        "archive_lines dataAPI archive_items",
        "glacier/satellites/selection.py",
        ("item.cloud_percent > max_cloud_percent", "False", "the cloud limit is ignored"),
        (
            "return by_collection[0]",
            'return ""',
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
        ("quality < MIN_QUALITY", "quality < 0", "strangers are accepted"),
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
        ("(11, 0, 1)", "(0, 1, 2)", "the melt season after the barest month"),
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
            "the factor by the years that stop",
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
            "*(sums * counted)",
            "*sums",
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
            "a forecast one step early",
        ),
        (
            "date.fromordinal(glacier.date(step + 1).toordinal() - 1)",
            "glacier.date(step + 1)",
            "a step ends a day late",
        ),
        (
            "member * count + 1",
            "member * values.shape[1] + 1",
            "members lie over each other",
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

"""Networks and baselines: shapes, the honest start, answers known beforehand."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import torch

from DeepLearning.data.adjustment import ThresholdCrps, adjust, crps_sums
from DeepLearning.data.batches import turned
from DeepLearning.data.context import Context, as_year, season
from DeepLearning.data.glacier import covering, training_thresholds
from DeepLearning.models import MODELS, AttentionLSTM
from DeepLearning.models.departure import mean_and_spread
from DeepLearning.models.recurrent import RecurrentLayers
from glacier import distribution

THIN = {
    "LSTM": {"hidden": 8},
    "AttentionLSTM": {"hidden": 8},
    "UNet": {"widths": (4, 8, 8)},
    "ConvLSTM": {"hidden": (4, 6)},
    "AttentionConvLSTM": {"hidden": (4, 6), "width": 4, "fold": 2},
    "SimVP": {"hidden": 4, "width": 8, "blocks": 2},
}


def sample(batch=2, steps=4, channels=1, side=16, horizon=3):
    """Return random inputs and their context."""
    generator = torch.Generator().manual_seed(batch + steps + channels + side)

    def values(count):
        return torch.rand(batch, count, channels, side, side, generator=generator)

    time = 2019 + torch.arange(steps + horizon, dtype=torch.float64).expand(batch, -1) / 4
    thresholds = training_thresholds(distribution.thresholds(True), 0.3)
    shape = (batch, horizon, len(thresholds), channels, side, side)
    functions = torch.rand(shape, generator=generator).sort(dim=2).values
    functions[:, :, 0] = functions[:, :, 1]  # nothing lies between 0 and the floor
    functions[:, :, -1] = 1
    layers = {
        "climatology": functions,
        "input_mean": values(steps),
        "year_ago": values(horizon),
        "shift": torch.linspace(-1, 1, batch * horizon * channels).view(batch, horizon, -1, 1, 1),
    }
    context = Context(time[:, :steps], time[:, steps:], layers, thresholds, 0.3)
    return values(steps), context


@pytest.mark.parametrize("network", MODELS)
@pytest.mark.parametrize(
    ("side", "channels", "steps", "batch"),
    [(32, 1, 2, 3), (50, 3, 4, 1), (17, 1, 6, 1), (24, 3, 6, 3), (64, 1, 4, 1)],
)
def test_every_network_takes_every_shape(network, side, channels, steps, batch, tmp_path):
    """Shapes are right, an untrained network is climatology, every weight learns, and a saved one answers alike."""
    inputs, context = sample(batch, steps, channels, side)
    torch.manual_seed(0)
    model = MODELS[network](side, channels, steps, 3, **THIN[network])
    assert torch.equal(model(inputs, context), context.climatology)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    forecast = model(inputs, context)
    assert (forecast.diff(dim=2) >= 0).all()
    shift, log_stretch = model.numbers(inputs, context)
    assert shift.shape == log_stretch.shape == (batch, 3, channels, side, side)
    (shift.square().mean() + (log_stretch - 1).square().mean()).backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in model.parameters()
    )
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    again = MODELS[network](**model.arguments)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(model.eval()(inputs, context), again.eval()(inputs, context))


@pytest.mark.parametrize("network", MODELS)
def test_every_network_reads_the_further_layers_it_is_made_for(network):
    """One of the inputs and one of the ground; each changes the answer, where it is unknown it counts as 0."""
    torch.manual_seed(0)
    inputs, context = sample()
    model = MODELS[network](16, 1, 4, 3, context=("age", "elevation"), **THIN[network])
    assert model.arguments["context"] == ["age", "elevation"]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    layers = dict(context.layers) | {
        "age": torch.rand(2, 4, 1, 16, 16),
        "elevation": torch.rand(2, 1, 16, 16),
    }

    def answer(**more):
        return torch.stack(model.numbers(inputs, replace(context, layers=layers | more)))

    first = answer()
    for name in ("age", "elevation"):
        assert not torch.equal(answer(**{name: layers[name] + 1}), first)
        unknown = answer(**{name: torch.full_like(layers[name], torch.nan)})
        assert torch.equal(unknown, answer(**{name: torch.zeros_like(layers[name])}))


@pytest.mark.parametrize("network", ["ConvLSTM", "AttentionConvLSTM", "UNet", "SimVP"])
def test_convolutional_networks_take_whole_scenes(network):
    """Made for patches of 16 px, they answer a scene of 45 x 38 px; even the smallest patch works."""
    torch.manual_seed(0)
    model = MODELS[network](16, 1, 4, 3, **THIN[network])
    for side in (45, 4):
        inputs, context = sample(side=side)
        inputs, context = (
            inputs[..., :38],
            context.map(lambda part: part[..., :38]),
        )
        assert model(inputs, context).shape == (2, 3, 10, 1, side, min(side, 38))


@pytest.mark.parametrize("network", ["LSTM", "ConvLSTM", "AttentionConvLSTM"])
def test_networks_that_feed_back_read_hints(network):
    """A hint for a lead time changes what comes after it and nothing before; NaN is no hint."""
    torch.manual_seed(0)
    inputs, context = sample()
    model = MODELS[network](16, 1, 4, 3, **THIN[network])
    assert model.feeds_back
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    hints = torch.full((2, 3, 1, 16, 16), torch.nan)
    own = torch.stack(model.numbers(inputs, context))
    assert torch.equal(torch.stack(model.numbers(inputs, context, hints)), own)
    hints[:, 1] = 0.7
    led = torch.stack(model.numbers(inputs, context, hints))
    assert torch.equal(led[:, :, :2], own[:, :, :2])
    assert not torch.equal(led[:, :, 2], own[:, :, 2])


@pytest.mark.parametrize("network", ["LSTM", "ConvLSTM"])
def test_networks_that_feed_back_read_the_median(network):
    """A hint equal to the median of the forecast changes nothing; one of its mean does."""
    torch.manual_seed(0)
    inputs, context = sample()
    model = MODELS[network](16, 1, 4, 3, **THIN[network])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    forecast = model(inputs, context)
    scale = (context.thresholds, context.floor)
    own = torch.stack(model.numbers(inputs, context))
    for frames, alike in (
        (distribution.quantile(forecast, 0.5, *scale), True),
        (distribution.mean(forecast, *scale), False),
    ):
        led = torch.stack(model.numbers(inputs, context, frames))
        assert torch.allclose(led, own, atol=1e-4) == alike


@pytest.mark.parametrize(
    ("network", "knobs", "millions"),
    [
        ("LSTM", {"hidden": 2500, "layers": 3}, 331),
        ("AttentionLSTM", {"hidden": 2500, "layers": 3, "heads": 5}, 200),
        ("ConvLSTM", {"hidden": (64, 64, 24), "decoder": (24, 64, 24)}, 0.83),
        ("UNet", {"widths": (64, 128, 256, 512, 1024)}, 31),
    ],
)
def test_published_sizes(network, knobs, millions):
    with torch.device("meta"):
        model = MODELS[network](50, 1, 4, 4, **knobs)
    assert sum(part.numel() for part in model.parameters()) / 1e6 == pytest.approx(
        millions, rel=0.01
    )


def test_recurrent_layers_are_an_lstm():
    torch.manual_seed(0)
    layers, tokens = RecurrentLayers(5, 7, 2, batch_first=True), torch.randn(3, 4, 5)
    _, state = torch.nn.LSTM.forward(layers, tokens)
    for before in (None, state):
        answers = layers(tokens, before)
        expected = torch.nn.LSTM.forward(layers, tokens, before)
        assert torch.allclose(answers[0], expected[0], atol=1e-6)
        assert all(
            torch.allclose(*pair, atol=1e-6) for pair in zip(answers[1], expected[1], strict=True)
        )


def test_missing_input_counts_as_climatology():
    inputs, context = sample()
    model = AttentionLSTM(16, 1, 4, 3).eval()
    torch.nn.init.normal_(model.project.weight)
    holes = inputs.clone()
    holes[:, 1, :, :4] = torch.nan
    filled = torch.where(holes.isnan(), context.input_mean, holes)
    assert torch.equal(model(holes, context), model(filled, context))
    assert model(holes, context).isfinite().all()


def test_a_carried_departure_moves_the_forecast_its_way():
    """More snow than usual at the last input makes a lower F, in units of the season's spread, lead by lead."""
    inputs, context = sample()
    model = MODELS["UNet"](16, 1, 4, 3, widths=(4, 8))
    inputs[:, -1] = context.input_mean[:, -1] + 0.2
    with torch.no_grad():
        model.carry[0, 0] = 0.1  # local, of the first lead
        model.carry[1, 1] = 0.05  # of the patch's mean
    shift, log_stretch = model.numbers(inputs, context)
    _, spread = mean_and_spread(context)
    assert torch.allclose(shift[:, 0], -0.2 / spread[:, 0], atol=1e-5)
    assert torch.allclose(shift[:, 1], -0.1 / spread[:, 1], atol=1e-5)
    assert (shift[:, 2] == 0).all()
    assert (log_stretch == 0).all()


def test_the_factor_scales_both_numbers():
    """A factor of 0 is climatology bit by bit, whatever was learnt; one of a half halves a and log b."""
    torch.manual_seed(1)
    inputs, context = sample()
    model = AttentionLSTM(16, 1, 4, 3).eval()
    torch.nn.init.normal_(model.project.weight)
    shift, log_stretch = model.numbers(inputs, context)
    model.factor.copy_(torch.tensor([0.0, 0.5, 1.0]))
    forecast = model(inputs, context)
    base = context.climatology
    assert torch.equal(forecast[:, 0], base[:, 0])
    half = adjust(base[:, 1], shift[:, 1] / 2, log_stretch[:, 1] / 2)
    assert torch.allclose(forecast[:, 1], half)
    assert not torch.allclose(forecast[:, 1], base[:, 1], atol=0.1)


# ── Two numbers a pixel ──────────────────────────────────────────────────────────────────────────────────────────


def test_adjusted_functions_by_hand():
    """logit F' = b logit F + a; 0 and 1 stay; F' rises with the threshold."""
    base = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0]).view(5, 1, 1, 1)
    shift, log_stretch = torch.tensor(0.7).view(1, 1, 1), torch.tensor(2.0).log().view(1, 1, 1)
    moved = adjust(base, shift, log_stretch).flatten()
    assert moved[1].item() == pytest.approx(1 / (1 + 4.0**2 * np.exp(-0.7)), rel=1e-5)
    assert moved[2].item() == pytest.approx(1 / (1 + np.exp(-0.7)), rel=1e-5)
    assert moved[3].item() == pytest.approx(1 / (1 + 9.0**-2 * np.exp(-0.7)), rel=1e-5)
    assert moved[0] == 0
    assert moved[4] == 1
    far = adjust(base, torch.tensor(30.0).view(1, 1, 1), torch.tensor(-9.0).view(1, 1, 1))
    assert far.flatten()[[0, 4]].tolist() == [0, 1]
    assert torch.equal(adjust(base, 0 * shift, 0 * log_stretch), base)


@pytest.mark.parametrize("floor", [None, 0.3, 0.33])
def test_mean_and_spread_of_the_base_are_those_of_the_distribution(floor):
    """Against the project's own mean, and the variance from fine steps of the inverse distribution function."""
    inputs, context = sample(channels=2, side=4)
    thresholds = training_thresholds(distribution.thresholds(True), floor)
    generator = torch.Generator().manual_seed(3)
    base = torch.rand(2, 3, len(thresholds), 2, 4, 4, generator=generator).sort(dim=2).values
    base[:, :, 0], base[:, :, -1] = 0, 1
    if floor is not None:
        base[:, :, 0] = base[:, :, 1]
    layers = {"climatology": base}
    context = Context(context.input_time, context.target_time, layers, thresholds, floor)
    mean, spread = mean_and_spread(context)
    expected = distribution.mean(base, thresholds, floor)
    assert torch.allclose(mean, expected, atol=1e-6)
    levels = (np.arange(2000) + 0.5) / 2000
    draws = torch.stack([distribution.quantile(base, level, thresholds, floor) for level in levels])
    assert torch.allclose(spread, draws.std(dim=0), atol=0.02)


def test_the_loss_is_the_crps_by_trapezoids():
    """Against sums written out, over observed pixels; and against the exact score, which is near."""
    torch.manual_seed(0)
    thresholds = training_thresholds(distribution.thresholds(True), 0.3)
    _, context = sample(channels=2, side=5)
    base = context.climatology
    shift, log_stretch = torch.randn(2, *base[:, :, 0].shape)
    truth = torch.rand(base[:, :, 0].shape)
    truth[truth < 0.3] = 0
    truth[0, 0, 0, 0, 0] = float(np.float32(0.4))  # a value equal to a threshold is not above it
    observed = torch.rand(2, 3, 1, 5, 5) > 0.3
    sums = crps_sums((shift, log_stretch), base, truth, observed, thresholds, 0.3)
    moved = adjust(base, shift, log_stretch).double().numpy()
    expected = np.zeros((2, 3))
    for low in range(len(thresholds) - 1):
        width = float(thresholds[low + 1]) - float(thresholds[low])
        ends = (
            (low + 1, low + 1) if low == 0 else (low, low + 1)
        )  # from 0 to the floor F is the floor's
        for end in ends:
            below = truth.numpy() <= thresholds[end]
            error = (moved[:, :, end] - below) ** 2 * observed.numpy()
            expected += width / 2 * error.sum(axis=(2, 3, 4))
    assert sums.numpy() == pytest.approx(expected, rel=1e-4)
    exact = distribution.crps(adjust(base, shift, log_stretch), truth, thresholds, 0.3)
    total = torch.where(observed, exact, 0).sum()
    assert sums.sum().item() == pytest.approx(total.item(), rel=0.03)


def test_the_gradient_of_the_loss_is_right():
    """Against differences, in float64."""
    torch.manual_seed(0)
    base = torch.rand(2, 6, 4, dtype=torch.float64).sort(dim=1).values
    shift, log_stretch = torch.randn(2, 2, 4, dtype=torch.float64)
    truth = torch.rand(2, 4, dtype=torch.float64)
    observed = torch.tensor([[1.0, 0, 1, 1], [1, 1, 1, 0]], dtype=torch.float64)
    levels = torch.linspace(0, 1, 6, dtype=torch.float64).view(-1, 1)
    weights = torch.rand(6, 1, dtype=torch.float64)
    shift.requires_grad_()
    log_stretch.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: ThresholdCrps.apply(a, b, base, truth, observed, levels, weights),
        (shift, log_stretch),
    )


def test_the_eight_attitudes_of_a_patch():
    image = torch.arange(6.0).view(1, 2, 3)[..., :2]
    assert torch.equal(turned(image, 0), image)
    assert torch.equal(turned(image, 2), image.flip(-1, -2))
    assert torch.equal(turned(image, 4), image.flip(-1))
    assert len({tuple(turned(image, turn).flatten().tolist()) for turn in range(8)}) == 8


def test_folding_is_undone():
    model = MODELS["ConvLSTM"](16, 2, 4, 3, fold=3)
    frames = torch.rand(2, 4, 2, 7, 11)
    folded = model.fold(frames)
    assert folded.shape == (2, 4, 18, 3, 4)
    assert torch.equal(model.unfold(folded.flatten(0, 1), frames.shape), frames.flatten(0, 1))


def test_dates():
    assert as_year(date(2020, 7, 2)) == 2020.5
    assert season(torch.tensor([2019.0, 2019.25])).flatten().tolist() == pytest.approx(
        [0, 1, 1, 0], abs=1e-6
    )
    assert covering(50, 20) == [0, 10, 20, 30]
    assert covering(55, 20) == [0, 10, 20, 30, 35]
    assert covering(20, 20) == [0]

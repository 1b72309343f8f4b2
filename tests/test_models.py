"""Networks and baselines: shapes, the honest start, answers known beforehand."""

import copy
from datetime import date

import pytest
import torch

from benchmarks import training
from DeepLearning.data.batches import turned
from DeepLearning.data.context import Context, as_year, season
from DeepLearning.data.glacier import covering
from DeepLearning.models import MODELS, AttentionLSTM
from DeepLearning.models.recurrent import RecurrentLayers
from DeepLearning.verification.baselines import BASELINES

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
    parts = (values(count) for count in (steps, horizon, horizon, horizon))
    context = Context(time[:, :steps], time[:, steps:], *parts)
    return values(steps), context


@pytest.mark.parametrize("network", MODELS)
@pytest.mark.parametrize("side", [32, 50, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("steps", [2, 4, 6])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_network_takes_every_shape(network, side, channels, steps, batch, tmp_path):
    """Shapes are right, an untrained network is climatology, every weight learns, and a saved one answers alike."""
    inputs, context = sample(batch, steps, channels, side)
    torch.manual_seed(0)
    model = MODELS[network](side, channels, steps, 3, **THIN[network])
    assert torch.equal(model(inputs, context), context.mean)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    (model(inputs, context) - inputs[:, :1]).square().mean().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0
        for parameter in model.parameters()
    )
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    again = MODELS[network](**model.arguments)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(model.eval()(inputs, context), again.eval()(inputs, context))


@pytest.mark.parametrize("network", ["ConvLSTM", "AttentionConvLSTM", "UNet", "SimVP"])
def test_convolutional_networks_take_whole_scenes(network):
    """Made for patches of 16 px, they answer a scene of 45 x 38 px; even the smallest patch works."""
    torch.manual_seed(0)
    model = MODELS[network](16, 1, 4, 3, **THIN[network])
    for side in (45, 4):
        inputs, context = sample(side=side)
        inputs, context = (
            inputs[..., :38],
            context.map(lambda part: part[..., :38] if part.dim() == 5 else part),
        )
        assert model(inputs, context).shape == (2, 3, 1, side, min(side, 38))


@pytest.mark.parametrize("network", ["LSTM", "ConvLSTM", "AttentionConvLSTM"])
def test_networks_that_feed_back_read_hints(network):
    """A hint for a lead time changes what comes after it and nothing before; NaN is no hint."""
    torch.manual_seed(0)
    inputs, context = sample()
    model = MODELS[network](16, 1, 4, 3, **THIN[network])
    assert model.feeds_back
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    hints = torch.full_like(context.mean, torch.nan)
    own = model(inputs, context)
    assert torch.equal(model(inputs, context, hints), own)
    hints[:, 1] = 0.7
    led = model(inputs, context, hints)
    assert torch.equal(led[:, :2], own[:, :2])
    assert not torch.equal(led[:, 2], own[:, 2])


@pytest.mark.parametrize(
    ("network", "knobs", "millions"),
    [
        ("LSTM", {"hidden": 2500, "layers": 3}, 325),
        ("AttentionLSTM", {"hidden": 2500, "layers": 3, "heads": 5}, 194),
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


@pytest.mark.parametrize("name", ["LSTM", "AttentionLSTM", "ConvLSTM", "UNet"])
def test_the_plain_networks_of_the_benchmark_are_the_same_networks(name):
    """Written step by step with as many weights, they answer alike: the benchmark compares time, nothing else."""
    model = training.published(side=16, wide=20)[name]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    twin = training.plain(copy.deepcopy(model))
    assert sum(map(torch.numel, twin.parameters())) == sum(map(torch.numel, model.parameters()))
    inputs, context, _ = training.sample(16)
    assert torch.allclose(twin(inputs, context), model(inputs, context), atol=1e-5)


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


def test_forecast_stays_within_the_training_data():
    inputs, context = sample()
    model = AttentionLSTM(16, 1, 4, 3).eval()
    torch.nn.init.constant_(model.project.bias, 9.0)
    model.limits.copy_(torch.tensor([0.0, 0.5]))
    assert model(inputs, context).max() == 0.5


def test_baselines_by_hand():
    inputs, context = sample(horizon=3)
    context.year_ago[:, 1] = torch.nan
    last = inputs[:, -1]
    assert torch.equal(BASELINES["persistence"](inputs, context)[:, 2], last)
    assert torch.equal(BASELINES["climatology"](inputs, context), context.mean)
    seasonal = BASELINES["seasonal persistence"](inputs, context)
    assert torch.equal(seasonal[:, 0], context.year_ago[:, 0])
    assert torch.equal(seasonal[:, 1], last)


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

"""Networks and baselines: shapes, the honest start, answers known beforehand."""
import pytest
import torch

from DeepLearning.baselines import BASELINES
from DeepLearning.data import Context, as_year, covering, season
from DeepLearning.models import MODELS, AttentionLSTM

PATCHES, CHANNELS, STEPS, BATCHES = (16, 25), (1, 3), (2, 4), (1, 3)


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
@pytest.mark.parametrize("side", PATCHES)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("batch", BATCHES)
def test_every_network_takes_every_shape(network, side, channels, steps, batch, tmp_path):
    """Shapes are right, an untrained network is climatology, every weight learns, and a saved one answers alike."""
    inputs, context = sample(batch, steps, channels, side)
    torch.manual_seed(0)
    model = MODELS[network](side, channels, 3)
    assert torch.equal(model(inputs, context), context.mean)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    model(inputs, context).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    again = MODELS[network](**model.arguments)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(model.eval()(inputs, context), again.eval()(inputs, context))


def test_missing_input_counts_as_climatology():
    inputs, context = sample()
    model = AttentionLSTM(16, 1, 3).eval()
    torch.nn.init.normal_(model.project.weight)
    holes = inputs.clone()
    holes[:, 1, :, :4] = torch.nan
    filled = torch.where(holes.isnan(), context.input_mean, holes)
    assert torch.equal(model(holes, context), model(filled, context))
    assert model(holes, context).isfinite().all()


def test_forecast_stays_within_the_training_data():
    inputs, context = sample()
    model = AttentionLSTM(16, 1, 3).eval()
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


def test_dates():
    from datetime import date

    assert as_year(date(2020, 7, 2)) == 2020.5
    assert season(torch.tensor([2019.0, 2019.25])).flatten().tolist() == pytest.approx([0, 1, 1, 0], abs=1e-6)
    assert covering(50, 20) == [0, 10, 20, 30]
    assert covering(55, 20) == [0, 10, 20, 30, 35]
    assert covering(20, 20) == [0]

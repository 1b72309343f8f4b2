"""Train the LSTM:  python DeepLearning/trainLSTM.py --name=parvati --hidden=256

--preset=small trains on a laptop, --preset=published is the size of the published results. Every other setting is a
flag too: --help.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where config.py is
from config import setting
from DeepLearning.training.session import run_training
from DeepLearning.training.settings import TrainingConfig, knobs

if TYPE_CHECKING:  # loading PyTorch takes seconds: --help goes without
    from DeepLearning.models import LSTM

PRESETS = {
    "small": {"hidden": 128, "layers": 2},
    "published": {"hidden": 2500, "layers": 3},  # 331 million parameters at 50 px
}


@dataclass(frozen=True)
class Settings(TrainingConfig):
    network: ClassVar[str] = "LSTM"

    # ── The network; None: as in the preset ──────────────────────────────────────────────────────────────────────
    preset: str = setting("small", "size of the network", choices=tuple(PRESETS))
    hidden: int | None = setting(None, "width of the states", low=1)
    layers: int | None = setting(None, "LSTM layers of the encoder, and of the decoder", low=1)


def build(cfg: Settings, channels: int) -> LSTM:
    from DeepLearning.models import LSTM

    shape = (cfg.patchSize, channels, cfg.sequenceLength, cfg.horizon)
    return LSTM(*shape, context=cfg.context, **knobs(cfg, PRESETS[cfg.preset]))


if __name__ == "__main__":
    sys.exit(run_training(build, Settings))

"""Train the attention LSTM:  python DeepLearning/trainAttentionLSTM.py --name=parvati --hidden=256"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import config
from DeepLearning.models import AttentionLSTM
from DeepLearning.training import TrainingConfig, run_training


@dataclass(frozen=True)
class Settings(TrainingConfig):
    # ── The network ──────────────────────────────────────────────────────────────────────────────────────────────
    hidden: int = config.setting(128, "width of states and attention; a multiple of heads", low=1)
    layers: int = config.setting(2, "LSTM layers of the encoder", low=1)
    heads: int = config.setting(4, "of the attention", low=1)

    def __post_init__(self):
        super().__post_init__()
        if self.hidden % self.heads:
            raise config.GlacierError(
                f"hidden must be a multiple of heads; got hidden {self.hidden}, heads {self.heads}"
            )


def build(cfg: Settings, channels: int) -> AttentionLSTM:
    return AttentionLSTM(cfg.patchSize, channels, cfg.horizon, hidden=cfg.hidden, layers=cfg.layers, heads=cfg.heads)


if __name__ == "__main__":
    sys.exit(run_training(build, Settings))

"""Train the attention LSTM:  python DeepLearning/trainAttentionLSTM.py --name=parvati --hidden=256

--preset=small trains on a laptop, --preset=published is the size of the published results. Every other setting is a
flag too: --help.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where config.py is
from config import GlacierError, setting
from DeepLearning.training.session import run_training
from DeepLearning.training.settings import TrainingConfig, knobs

if TYPE_CHECKING:  # loading PyTorch takes seconds: --help goes without
    from DeepLearning.models import AttentionLSTM

PRESETS = {
    "small": {"hidden": 128, "layers": 2, "heads": 4},
    "published": {"hidden": 2500, "layers": 3, "heads": 5},  # 200 million parameters at 50 px
}


@dataclass(frozen=True)
class Settings(TrainingConfig):
    network: ClassVar[str] = "AttentionLSTM"

    # ── The network; None: as in the preset ──────────────────────────────────────────────────────────────────────
    preset: str = setting("small", "size of the network", choices=tuple(PRESETS))
    hidden: int | None = setting(None, "width of states and attention; a multiple of heads", low=1)
    layers: int | None = setting(None, "LSTM layers of the encoder", low=1)
    heads: int | None = setting(None, "of the attention", low=1)

    def __post_init__(self):
        super().__post_init__()
        chosen = knobs(self, PRESETS[self.preset])
        if chosen["hidden"] % chosen["heads"]:
            raise GlacierError(
                f"hidden must be a multiple of heads; got {chosen['hidden']} and {chosen['heads']}"
            )


def build(cfg: Settings, channels: int) -> AttentionLSTM:
    from DeepLearning.models import AttentionLSTM

    shape = (cfg.patchSize, channels, cfg.sequenceLength, cfg.horizon)
    return AttentionLSTM(*shape, context=cfg.context, **knobs(cfg, PRESETS[cfg.preset]))


if __name__ == "__main__":
    sys.exit(run_training(build, Settings))

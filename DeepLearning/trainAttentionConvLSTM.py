"""Train the ConvLSTM with attention:  python DeepLearning/trainAttentionConvLSTM.py --name=parvati --hidden=64,64

--preset=small trains on a laptop. Every other setting is a flag too: --help.
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
    from DeepLearning.models import AttentionConvLSTM

PRESETS = {
    "small": {"hidden": (16, 16), "decoder": (), "kernel": 3, "fold": 2, "width": 16},
}


@dataclass(frozen=True)
class Settings(TrainingConfig):
    network: ClassVar[str] = "AttentionConvLSTM"

    # ── The network; None: as in the preset ──────────────────────────────────────────────────────────────────────
    preset: str = setting("small", "size of the network", choices=tuple(PRESETS))
    hidden: tuple[int, ...] | None = setting(None, "channels of each encoder layer", low=1)
    decoder: tuple[int, ...] | None = setting(
        None, "of each decoder layer; empty: the encoder's in reverse", low=1
    )
    kernel: int | None = setting(None, "side of the convolutions, odd [px]", low=1)
    fold: int | None = setting(
        None, "side of the squares of pixels that become channels, for speed [px]", low=1
    )
    width: int | None = setting(None, "channels of the attention", low=1)

    def __post_init__(self):
        super().__post_init__()
        if self.kernel is not None and self.kernel % 2 == 0:
            raise GlacierError(f"kernel must be odd; got {self.kernel}")


def build(cfg: Settings, channels: int) -> AttentionConvLSTM:
    from DeepLearning.models import AttentionConvLSTM

    shape = (cfg.patchSize, channels, cfg.sequenceLength, cfg.horizon)
    return AttentionConvLSTM(*shape, context=cfg.context, **knobs(cfg, PRESETS[cfg.preset]))


if __name__ == "__main__":
    sys.exit(run_training(build, Settings))

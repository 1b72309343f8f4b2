"""Train SimVP v2:  python DeepLearning/trainSimVP.py --name=parvati --blocks=8

--preset=small trains on a laptop. Every other setting is a flag too: --help.
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
    from DeepLearning.models import SimVP

PRESETS = {
    "small": {"hidden": 8, "width": 32, "blocks": 3},
}


@dataclass(frozen=True)
class Settings(TrainingConfig):
    network: ClassVar[str] = "SimVP"

    # ── The network; None: as in the preset ──────────────────────────────────────────────────────────────────────
    preset: str = setting("small", "size of the network", choices=tuple(PRESETS))
    hidden: int | None = setting(None, "channels of a frame", low=1)
    width: int | None = setting(None, "channels of the translator", low=1)
    blocks: int | None = setting(None, "of the translator", low=1)


def build(cfg: Settings, channels: int) -> SimVP:
    from DeepLearning.models import SimVP

    shape = (cfg.patchSize, channels, cfg.sequenceLength, cfg.horizon)
    return SimVP(*shape, context=cfg.context, **knobs(cfg, PRESETS[cfg.preset]))


if __name__ == "__main__":
    sys.exit(run_training(build, Settings))

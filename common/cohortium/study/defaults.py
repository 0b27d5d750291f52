"""Training settings that a study leaves out: functions of public facts alone.

The constants were chosen on public benchmark tables (docs/generators.md) and are the same for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass

from cohortium.study.generators import Diffusion, Trained, Tvae
from cohortium.study.study import Study


@dataclass(frozen=True)
class TrainingSettings:
    """Rounds of training, steps of an institution in each, and what the network is built with."""

    rounds: int
    steps: int
    sampling_rate: float
    hidden: int = 0
    latent: int = 0
    views: int = 1


def training_settings(study: Study) -> TrainingSettings:
    """The study's settings, with defaults for those it leaves out."""
    chosen = study.generator
    if not isinstance(chosen, Trained):
        raise TypeError(chosen.kind)
    default = _DEFAULTS[chosen.kind][_setting(study)]
    return TrainingSettings(
        chosen.rounds or default.rounds,
        chosen.steps or default.steps,
        chosen.sampling_rate or default.sampling_rate,
        default.hidden if chosen.hidden is None else chosen.hidden,
        _latent(study, chosen) if isinstance(chosen, Tvae) else 0,
        (chosen.views or default.views) if isinstance(chosen, Diffusion) else 1,
    )


def _setting(study: Study) -> int:
    """Index into a kind's defaults: central noise in the sum, noise in every message, or no noise."""
    if study.privacy.mode == "none":
        return 2
    return 0 if study.privacy.trust == "secure-sum" or len(study.institutions) == 1 else 1


def _latent(study: Study, chosen: Tvae) -> int:
    """About three latent dimensions for five columns: more of them reconstruct rows better, but fit the distribution worse."""
    return chosen.latent or min(32, max(4, round(0.6 * len(study.schema.columns))))


_DEFAULTS = {
    "autoregressive": (
        TrainingSettings(100, 1, 0.2),
        TrainingSettings(20, 10, 0.1),
        TrainingSettings(200, 1, 0.2, hidden=64),
    ),
    "diffusion": (
        TrainingSettings(200, 1, 0.1, views=4),
        TrainingSettings(20, 10, 0.1, views=4),
        TrainingSettings(200, 1, 0.1, 128, views=4),
    ),
    "tvae": (
        TrainingSettings(200, 1, 0.1, hidden=64),
        TrainingSettings(20, 10, 0.1, hidden=64),
        TrainingSettings(600, 1, 0.05, hidden=128),
    ),
    "ctgan": (TrainingSettings(1, 1, 1.0), TrainingSettings(1, 1, 1.0), TrainingSettings(1, 1, 1.0)),
}
"""By kind: with central noise, with noise in every institution's message, and without noise."""

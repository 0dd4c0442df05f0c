"""A recipe as a file: what of a training is better otherwise than it usually is. `engine tune` finds one.

[settings]              # of the trainer, see `settings.py`
optimiser = "adamw"
rate = 0.003

[augmentation]          # how strongly pictures are varied, see `augmentation.py`
hue = 0.02
scale = [0.7, 1.4]
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from engines.errors import TrainingError
from engines.settings_file import SettingsError, Strict, parse
from engines.training.datasets import Augmentation
from engines.training.settings import Settings

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RecipeSettings(Strict):
    """Of `Settings`, what may be otherwise without another network, other data or another length."""

    optimiser: Literal["adam", "adamw", "rmsprop", "sgd"] | None = None
    rate: Positive | None = None
    weight_decay: Amount | None = None
    warm_up_steps: Annotated[int, Field(ge=0)] | None = None
    average_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
    clip: Positive | None = None


class RecipeAugmentation(Strict):
    """`Augmentation`, each value where it differs."""

    mosaic: Share | None = None
    mosaic_scale: tuple[Positive, Positive] | None = None
    scale: tuple[Positive, Positive] | None = None
    stretch: Share | None = None
    translate: Share | None = None
    rotate_deg: Amount | None = None
    shear_deg: Amount | None = None
    flip: Share | None = None
    hue: Share | None = None
    saturation: Share | None = None
    brightness: Share | None = None
    blur: Share | None = None
    blur_px: Positive | None = None
    night: Share | None = None
    rain: Share | None = None
    erase: Share | None = None
    min_visible: Share | None = None
    min_side_px: Amount | None = None

    @model_validator(mode="after")
    def _goes_from_small_to_large(self) -> RecipeAugmentation:
        for name in ("scale", "mosaic_scale"):
            pair = getattr(self, name)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{name}: the smaller one comes first")
        return self


class Recipe(Strict):
    """What differs; an empty one is a training as it usually is."""

    settings: RecipeSettings = RecipeSettings()
    augmentation: RecipeAugmentation = RecipeAugmentation()

    def applied(self, settings: Settings, augmentation: Augmentation) -> tuple[Settings, Augmentation]:
        """Both with what the recipe says."""
        differs = self.model_dump(exclude_none=True)
        return replace(settings, **differs["settings"]), replace(augmentation, **differs["augmentation"])

    def text(self, *comments: str) -> str:
        """The file's text."""
        lines = [f"# {comment}" for comment in comments]
        for section, values in self.model_dump(mode="json", exclude_none=True).items():
            if values:  # a number, a word and a list of numbers are in TOML what they are in JSON
                lines += ["", f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
        return "\n".join(lines) + "\n"


def read_recipe(file: Path) -> Recipe:
    """Read one. Raises `TrainingError` that names what is wrong in it."""
    try:
        return parse(file.read_bytes(), Recipe)
    except OSError as error:
        raise TrainingError(str(file), f"cannot be read ({error.strerror})", "give a recipe.toml") from None
    except SettingsError as error:
        raise TrainingError(str(file), str(error), "a recipe has the tables [settings] and [augmentation]") from None

"""What a search may vary, as a file beside a recipe's: a range or some values in the place of each value.

[settings]
optimiser = ["adamw", "sgd"]
rate = { low = 5e-4, high = 1e-2, log = true }

[augmentation]
hue = { low = 0.0, high = 0.05 }
scale = [[1.0, 1.0], [0.6, 2.0]]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from optuna.trial import Trial
from pydantic import Field, model_validator

from engines.errors import TrainingError
from engines.settings_file import SettingsError, Strict, parse
from engines.training.recipe import Recipe, RecipeAugmentation, RecipeSettings

USUAL = Path(__file__).parent / "spaces"  # one a task, by its name
_SECTIONS: Mapping[str, type[Strict]] = {"settings": RecipeSettings, "augmentation": RecipeAugmentation}
_WHOLE = "warm_up_steps"
_PAIRS = ("scale", "mosaic_scale")


@dataclass(frozen=True, slots=True)
class Range:
    """Anything from `low` to `high`; `log`: as likely in each factor of ten."""

    low: float
    high: float
    log: bool = False


Choice: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """What is varied, by `section.name`."""

    varied: Mapping[str, Range | Choice]

    def suggest(self, trial: Trial) -> Recipe:
        """The recipe of one trial."""
        values: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
        for name, how in self.varied.items():
            section, _, setting = name.partition(".")
            if isinstance(how, tuple):
                values[section][setting] = _value(trial.suggest_categorical(name, [_plain(value) for value in how]))
            elif setting == _WHOLE:
                values[section][setting] = trial.suggest_int(name, int(how.low), int(how.high), log=how.log)
            else:
                values[section][setting] = trial.suggest_float(name, how.low, how.high, log=how.log)
        return Recipe.model_validate(values)

    def recipe_of(self, params: Mapping[str, Any]) -> Recipe:
        """The recipe that a trial's parameters are."""
        values: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
        for name, value in params.items():
            section, _, setting = name.partition(".")
            values[section][setting] = _value(value)
        return Recipe.model_validate(values)

    @property
    def facts(self) -> dict[str, Any]:
        """As plain values, by which one space is told from another."""
        return {
            name: list(how) if isinstance(how, tuple) else [how.low, how.high, "log" if how.log else "linear"]
            for name, how in self.varied.items()
        }


class _SpaceFile(Strict):
    settings: dict[str, Any] = Field(default_factory=dict)
    augmentation: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_possible(self) -> _SpaceFile:
        if not (self.settings or self.augmentation):
            raise ValueError("varies nothing")
        for section, kind in _SECTIONS.items():
            for name, written in getattr(self, section).items():
                _check(section, kind, name, written)
        return self


def read_space(file: Path) -> Space:
    """Read one. Raises `TrainingError` that names what is wrong in it."""
    try:
        sections = parse(file.read_bytes(), _SpaceFile)
    except OSError as error:
        raise TrainingError(str(file), f"cannot be read ({error.strerror})", "give a space.toml") from None
    except SettingsError as error:
        example = "write for example rate = { low = 0.0005, high = 0.01, log = true } below [settings]"
        raise TrainingError(str(file), str(error), example) from None
    return Space(
        {
            f"{section}.{name}": tuple(written) if isinstance(written, list) else Range(**written)
            for section in _SECTIONS
            for name, written in getattr(sections, section).items()
        }
    )


def usual_space(task: str) -> Space:
    """What is varied where nobody says what, of a task by its name."""
    return read_space(USUAL / f"{task}.toml")


def _plain(value: Any) -> Any:
    """A choice as Optuna keeps one: two numbers become their text."""
    return json.dumps(value) if isinstance(value, list) else value


def _value(plain: Any) -> Any:
    return json.loads(plain) if isinstance(plain, str) and plain.startswith("[") else plain


def _check(section: str, kind: type[Strict], name: str, written: Any) -> None:
    """Raise `ValueError` where a setting is unknown, or its values are none that a recipe can have."""
    where = f"{section}.{name}"
    if name not in kind.model_fields:
        near = get_close_matches(name, list(kind.model_fields), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(kind.model_fields)}"
        raise ValueError(f"{where}: is nothing that a recipe has; {hint}")
    if isinstance(written, list):
        if len(written) < 2 or not all(isinstance(value, (str, int, float, list)) for value in written):
            raise ValueError(f"{where}: give two values or more, or a range")
        ends = written
    elif name in _PAIRS:
        raise ValueError(f"{where}: is two numbers; give pairs to choose from, as [[0.8, 1.3], [0.6, 2.0]]")
    else:
        ends = _ends(where, written)
    for value in ends:
        try:
            parse_one(section, name, value)
        except SettingsError as error:
            raise ValueError(str(error)) from None


def _ends(where: str, written: Any) -> list[float]:
    if not isinstance(written, dict) or not {"low", "high"} <= set(written) <= {"low", "high", "log"}:
        raise ValueError(f"{where}: is neither a list of values nor a range with low and high")
    low, high, log = written["low"], written["high"], written.get("log", False)
    if not all(isinstance(end, (int, float)) and not isinstance(end, bool) and isfinite(end) for end in (low, high)):
        raise ValueError(f"{where}: low and high are numbers")
    if not isinstance(log, bool):
        raise ValueError(f"{where}: log is true or false")
    if not low < high:
        raise ValueError(f"{where}: low ({low:g}) is not below high ({high:g})")
    if log and low <= 0:
        raise ValueError(f"{where}: low has to be above 0 where log is true")
    return [low, high]


def parse_one(section: str, name: str, value: Any) -> None:
    """Raise `SettingsError` where a recipe cannot have this value."""
    parse(f"[{section}]\n{name} = {json.dumps(value)}".encode(), Recipe)

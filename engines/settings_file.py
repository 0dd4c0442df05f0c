"""A TOML file of settings, checked: what is wrong with it is said by its key, with the near spelling."""

from __future__ import annotations

import json
import sys
from difflib import get_close_matches
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import pydantic
from pydantic import BaseModel, ConfigDict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Strict(BaseModel):
    """Settings of which every key is known, and that do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Settings = TypeVar("Settings", bound=Strict)


class SettingsError(ValueError):
    """What is wrong in a file of settings, in words."""


def parse(text: bytes, kind: type[Settings]) -> Settings:
    """Read settings of one kind. Raises `SettingsError`."""
    try:
        # By way of JSON, because pydantic is strict there as TOML is meant: "yes" is no boolean and "2" no number, but
        # an array may become a tuple and a string a path. A date, which no setting is, becomes what nothing takes.
        table = json.dumps(tomllib.loads(text.decode()), default=lambda date: {"date": str(date)})
    except (ValueError, RecursionError) as error:  # beside TOMLDecodeError: an integer of 5,000 digits, deep nesting
        raise SettingsError(f"is not TOML ({error})") from None
    try:
        return kind.model_validate_json(table, strict=True)
    except pydantic.ValidationError as error:
        raise SettingsError(_in_words(error, kind)) from None


def _in_words(error: pydantic.ValidationError, kind: type[Strict]) -> str:
    first = error.errors(include_url=False)[0]
    *parents, key = first["loc"] or ("",)
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = sorted(_keys_at(kind, tuple(parents)))
        near = get_close_matches(str(key), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"{where}: is no key here; {hint}"
    if first["type"] == "missing":
        return f"{where}: is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}" if where else message


def _keys_at(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that are known at a place in the settings."""
    for part in path:
        field = kind.model_fields.get(str(part))
        if field is not None:
            kind = _model_in(field.annotation) or kind
    return list(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The settings that a field holds: itself, in a tuple, or or-else-None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, list, Union, UnionType):
        return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
    return None

"""`mixture.toml`: which datasets are mixed, under which classes, and which of their images are left out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from engines.settings_file import Strict


class Exclusion(Strict):
    """Images that are left out: by a pattern of their file names, or by a column of a CSV file beside the images.

    Patterns are those of a shell (`*`, `?`, `[...]`). A CSV row is of the image that its column `file` names.
    """

    file: str | None = None
    csv: str | None = None
    column: str | None = None
    value: str | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Exclusion:
        table = (self.csv, self.column, self.value)
        if (self.file is None) == (None in table) or (self.file is not None and any(table)):
            raise ValueError('give either file = "PATTERN", or csv, column and value')
        return self


class RiderRule(Strict):
    """A class for a rider and their machine, which the dataset has as two boxes."""

    rider: str
    machine: str
    becomes: str


class Drives(Strict):
    """Splits made by drive: `pattern` is a regular expression whose first group, in a file name, names the drive."""

    pattern: str
    val: Annotated[float, Field(gt=0, lt=1)] = 0.2


class MixedDataset(Strict):
    """One dataset of a mixture.

    `path` from the root that the user gives. `split`: of the dataset, that belongs to train here; default: the splits
    of the same names. `weight`: how often an image is drawn, beside one of weight 1. `map`: their class -> ours; of
    one name they are the same without it. `ignore`: their classes that are neither right nor wrong. `labels`: ours
    that all of are labelled; default: those that something is mapped to. `labels = []`: nothing is known of the
    images, a teacher may say. `empty`: none of `labels` is on any image, though nobody wrote that down.
    """

    path: str
    split: str | None = None
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    map: dict[str, str] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    empty: bool = False
    riders: RiderRule | None = None
    exclude: tuple[Exclusion, ...] = ()
    drives: Drives | None = None

    @model_validator(mode="after")
    def _says_of_what_it_is_empty(self) -> MixedDataset:
        if self.empty and not self.labels:
            raise ValueError("empty: say of which classes, in labels")
        return self


class TaughtClasses(Strict):
    """What the classes of a teacher, another network, are here; those not named are ours where the names are equal."""

    map: dict[str, str] = Field(default_factory=dict)
    riders: RiderRule | None = None


class MixtureFile(Strict):
    """The whole file."""

    classes: tuple[str, ...] = Field(min_length=1)
    longest_side: Annotated[int, Field(ge=32)] | None = None
    dataset: tuple[MixedDataset, ...] = Field(min_length=1)
    teacher: TaughtClasses = TaughtClasses()

    @model_validator(mode="after")
    def _names_differ(self) -> MixtureFile:
        if len(set(self.classes)) < len(self.classes) or not all(self.classes):
            raise ValueError("classes: name each class once")
        return self

"""One vehicle's TOML: cameras, networks, where to publish. Checked whole before anything is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator, model_validator

from engines import default_bundle
from engines.bundle import Bundle, load_bundle
from engines.errors import BundleError
from engines.results import Thresholds
from engines.settings_file import SettingsError, Strict, parse
from perception.camera import Camera, Polygon
from perception.clearance import NotClearedError, Postprocessing, check_cleared
from perception.errors import UsageError
from perception.network import Crops
from perception.recording.parts import RecordSettings
from perception.second_stage import looked_at
from sensors.drives.mcap.drive_writer import Images
from sensors.errors import RequestError
from sensors.naming import check_name, split_scheme
from sensors.opening import check_uri

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
DEFAULT = "default"  # the threshold of all classes that have none of their own


class CameraSettings(Strict):
    """One `[[camera]]`. `ignore`: polygons of corners [x, y] in shares of the image's width and height."""

    name: str
    uri: str
    every: Annotated[int, Field(ge=1)] = 1
    loop: bool = False  # a recording that stands for a camera, again and again
    ignore: tuple[Annotated[tuple[tuple[Share, Share], ...], Field(min_length=3)], ...] = ()

    @field_validator("name")
    @classmethod
    def _usable(cls, name: str) -> str:
        try:
            return check_name(name)
        except RequestError as error:
            raise ValueError(f"{error.what}; {error.remedy}") from None

    @field_validator("uri")
    @classmethod
    def _well_written(cls, uri: str) -> str:
        return _checked(uri, loop=1)

    @field_validator("loop")
    @classmethod
    def _only_recordings(cls, loop: bool, so_far: ValidationInfo) -> bool:
        if loop and "uri" in so_far.data:
            _checked(so_far.data["uri"], loop=0)
        return loop

    @property
    def camera(self) -> Camera:
        """As the pipeline takes it."""
        regions: tuple[Polygon, ...] = self.ignore
        return Camera(self.every, regions)


def _checked(uri: str, loop: int) -> str:
    try:
        check_uri(uri, loop=loop)
    except RequestError as error:
        raise ValueError(f"{error.what}; {error.remedy}") from None
    return uri


class NetworkSettings(Strict):
    """One `[[network]]`. `thresholds`: smallest score by class name, and `default` for the others.

    `crops_of`: the name (folder) of another network's bundle, a detector; this one, a classifier, looks at what that
    one finds: of `crops_classes` (default: all), `crops_min_px` pixels and more, at most `crops_most` a frame.

    `require_gate`: only what the report of a `perception gate` in the folder `gate_report` passed is loaded.
    """

    bundle: Path = Field(default_factory=default_bundle)
    engine: str = "auto"
    threads: Annotated[int, Field(ge=1)] = 1
    thresholds: dict[str, Share] = Field(default_factory=dict)
    nms: Share = 0.65
    crops_of: str | None = None
    crops_classes: tuple[str, ...] = ()
    crops_min_px: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 16
    crops_most: Annotated[int, Field(ge=1, le=300)] = 16
    require_gate: bool = False
    gate_report: Path | None = None

    @property
    def crops(self) -> Crops | None:
        """As the pipeline takes it; None of a network that sees whole frames."""
        if self.crops_of is None:
            return None
        return Crops(self.crops_of, self.crops_classes, self.crops_min_px, self.crops_most)

    @model_validator(mode="after")
    def _says_whose_crops(self) -> NetworkSettings:
        given = {"crops_classes", "crops_min_px", "crops_most"} & self.model_fields_set
        if given and self.crops_of is None:
            raise ValueError(f"{min(given)}: no crops_of is given; name the network whose detections are looked at")
        return self

    @model_validator(mode="after")
    def _has_a_report(self) -> NetworkSettings:
        if self.require_gate and self.gate_report is None:
            raise ValueError("require_gate: no gate_report is given; name the folder of a `perception gate --report`")
        return self

    def thresholds_of(self, bundle: Bundle) -> Thresholds:
        """The thresholds by class index. Raises `SettingsError` on a class that the bundle does not have."""
        by_class = []
        for name, score in self.thresholds.items():
            if name == DEFAULT:
                continue
            if name not in bundle.labels:
                near = get_close_matches(name, bundle.labels, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "labels.txt in the bundle has them"
                raise SettingsError(f"{name}: is no class of {bundle.name}; {hint}")
            by_class += [(index, score) for index, label in enumerate(bundle.labels) if label == name]
        general = self.thresholds.get(DEFAULT, Thresholds().score)
        return Thresholds(score=general, nms_iou=self.nms, score_by_class=tuple(by_class))


class PublishSettings(Strict):
    """The `[publish]` table. `keys`: a folder of `perception keys new`, with the readers that are let in."""

    endpoint: str
    keys: Path | None = None
    insecure: bool = False  # to the network without keys


class RecordingSettings(Strict):
    """The `[record]` table: how a recording is written, where one is asked for."""

    images: Images = "keep"
    rotate_mb: Annotated[float, Field(gt=0)] | None = None  # a new file at this size
    rotate_s: Annotated[float, Field(gt=0)] | None = None  # or at this age
    keep_mb: Annotated[float, Field(gt=0)] | None = None  # of all its files together: the oldest go

    @property
    def settings(self) -> RecordSettings:
        """As the recorder takes it."""

        def in_bytes(megabytes: float | None) -> int | None:
            return None if megabytes is None else max(1, round(megabytes * 1e6))

        return RecordSettings(self.images, in_bytes(self.rotate_mb), self.rotate_s, in_bytes(self.keep_mb))


class VehicleSettings(Strict):
    """The whole file."""

    camera: Annotated[tuple[CameraSettings, ...], Field(min_length=1)]
    network: Annotated[tuple[NetworkSettings, ...], Field(min_length=1)] = (NetworkSettings(),)
    publish: PublishSettings | None = None
    record: RecordingSettings = RecordingSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> VehicleSettings:
        name, count = Counter(camera.name for camera in self.camera).most_common(1)[0]
        if count > 1:
            raise ValueError(f"camera: {count} cameras have the name {name!r}; give each its own")
        return self


class Vehicle:
    """A vehicle's settings with the bundles that they name, read and found to fit. Opens no camera and no engine.

    Raises `UsageError` that names file and key, `BundleError` for what is wrong inside a bundle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UsageError(str(path), f"cannot be read ({error.strerror})", "give a vehicle's TOML file") from None
        try:
            self.settings = parse(text, VehicleSettings)
        except SettingsError as error:
            raise UsageError(str(path), str(error), _REMEDY) from None
        self.bundles: list[Bundle] = []
        for index, network in enumerate(self.settings.network):
            try:
                self.bundles.append(load_bundle(self._beside(network.bundle)))
            except BundleError as error:
                what = f"network.{index}.bundle: {error.thing}: {error.what}"
                raise BundleError(str(path), what, error.remedy) from error
        first = [b for n, b in zip(self.settings.network, self.bundles, strict=True) if n.crops is None]
        for index, (network, bundle) in enumerate(zip(self.settings.network, self.bundles, strict=True)):
            if network.crops is not None:
                try:
                    looked_at(bundle, network.crops, first)
                except UsageError as error:
                    what = f"network.{index}.crops_of: {error.thing}: {error.what}"
                    raise UsageError(str(path), what, error.remedy) from None
        self.thresholds: list[Thresholds] = []
        for index, (network, bundle) in enumerate(zip(self.settings.network, self.bundles, strict=True)):
            try:
                self.thresholds.append(network.thresholds_of(bundle))
            except SettingsError as error:
                raise UsageError(str(path), f"network.{index}.thresholds.{error}", _REMEDY) from None
            if network.require_gate and network.gate_report is not None:
                self._check_gate(index, bundle, self._beside(network.gate_report))

    @property
    def sources(self) -> Mapping[str, str]:
        """URI by camera; paths are taken from the file's own folder."""
        return {camera.name: self._uri(camera.uri) for camera in self.settings.camera}

    @property
    def keys(self) -> Path | None:
        """The folder of the stream's keys."""
        publish = self.settings.publish
        return self._beside(publish.keys) if publish and publish.keys else None

    def _check_gate(self, index: int, bundle: Bundle, report: Path) -> None:
        try:
            check_cleared(report, bundle.sha256, Postprocessing.of(self.thresholds[index], bundle.labels))
        except NotClearedError as error:
            raise UsageError(
                str(self.path),
                f"network.{index}.gate_report: {error}",
                f"judge it with `perception gate --baseline BUNDLE --candidate {bundle.folder} DRIVE --report {report}`"
                ", or set require_gate = false",
            ) from None

    def _uri(self, uri: str) -> str:
        scheme, rest = split_scheme(uri)
        return uri if scheme or not rest else str(self._beside(Path(rest)))

    def _beside(self, path: Path) -> Path:
        return path if path.is_absolute() else self.path.parent / path


_REMEDY = "mend that key; `perception run --check` looks again"

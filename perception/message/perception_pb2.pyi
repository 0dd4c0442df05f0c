from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    OK: _ClassVar[Status]
    INFERENCE_FAILED: _ClassVar[Status]
    DECODE_FAILED: _ClassVar[Status]
    END_OF_STREAM: _ClassVar[Status]

class SensorState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SENSOR_STATE_UNSPECIFIED: _ClassVar[SensorState]
    RUNNING: _ClassVar[SensorState]
    STALLED: _ClassVar[SensorState]
    BROKEN: _ClassVar[SensorState]
    ENDED: _ClassVar[SensorState]
STATUS_UNSPECIFIED: Status
OK: Status
INFERENCE_FAILED: Status
DECODE_FAILED: Status
END_OF_STREAM: Status
SENSOR_STATE_UNSPECIFIED: SensorState
RUNNING: SensorState
STALLED: SensorState
BROKEN: SensorState
ENDED: SensorState

class FrameResult(_message.Message):
    __slots__ = ("schema_version", "session", "sequence", "sensor", "frame_sequence", "stamp_ns", "image_width", "image_height", "status", "status_reason", "networks", "detections", "ledger", "masks", "image_classes")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SENSOR_FIELD_NUMBER: _ClassVar[int]
    FRAME_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STAMP_NS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATUS_REASON_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_CLASSES_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    session: str
    sequence: int
    sensor: str
    frame_sequence: int
    stamp_ns: int
    image_width: int
    image_height: int
    status: Status
    status_reason: str
    networks: _containers.RepeatedCompositeFieldContainer[Network]
    detections: _containers.RepeatedCompositeFieldContainer[Detection]
    ledger: Ledger
    masks: _containers.RepeatedCompositeFieldContainer[SemanticMask]
    image_classes: _containers.RepeatedCompositeFieldContainer[NamedClass]
    def __init__(self, schema_version: _Optional[int] = ..., session: _Optional[str] = ..., sequence: _Optional[int] = ..., sensor: _Optional[str] = ..., frame_sequence: _Optional[int] = ..., stamp_ns: _Optional[int] = ..., image_width: _Optional[int] = ..., image_height: _Optional[int] = ..., status: _Optional[_Union[Status, str]] = ..., status_reason: _Optional[str] = ..., networks: _Optional[_Iterable[_Union[Network, _Mapping]]] = ..., detections: _Optional[_Iterable[_Union[Detection, _Mapping]]] = ..., ledger: _Optional[_Union[Ledger, _Mapping]] = ..., masks: _Optional[_Iterable[_Union[SemanticMask, _Mapping]]] = ..., image_classes: _Optional[_Iterable[_Union[NamedClass, _Mapping]]] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ("name", "bundle_sha256", "engine")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SHA256_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    name: str
    bundle_sha256: str
    engine: str
    def __init__(self, name: _Optional[str] = ..., bundle_sha256: _Optional[str] = ..., engine: _Optional[str] = ...) -> None: ...

class Detection(_message.Message):
    __slots__ = ("left", "top", "right", "bottom", "score", "class_index", "class_name", "track_id", "network", "crop_classes")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    CROP_CLASSES_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    right: float
    bottom: float
    score: float
    class_index: int
    class_name: str
    track_id: int
    network: int
    crop_classes: _containers.RepeatedCompositeFieldContainer[NamedClass]
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., right: _Optional[float] = ..., bottom: _Optional[float] = ..., score: _Optional[float] = ..., class_index: _Optional[int] = ..., class_name: _Optional[str] = ..., track_id: _Optional[int] = ..., network: _Optional[int] = ..., crop_classes: _Optional[_Iterable[_Union[NamedClass, _Mapping]]] = ...) -> None: ...

class NamedClass(_message.Message):
    __slots__ = ("class_index", "class_name", "score", "network")
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    class_index: int
    class_name: str
    score: float
    network: int
    def __init__(self, class_index: _Optional[int] = ..., class_name: _Optional[str] = ..., score: _Optional[float] = ..., network: _Optional[int] = ...) -> None: ...

class SemanticMask(_message.Message):
    __slots__ = ("group", "class_names", "width", "height", "run_lengths", "run_classes", "network")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    RUN_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    RUN_CLASSES_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    group: str
    class_names: _containers.RepeatedScalarFieldContainer[str]
    width: int
    height: int
    run_lengths: _containers.RepeatedScalarFieldContainer[int]
    run_classes: bytes
    network: int
    def __init__(self, group: _Optional[str] = ..., class_names: _Optional[_Iterable[str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., run_lengths: _Optional[_Iterable[int]] = ..., run_classes: _Optional[bytes] = ..., network: _Optional[int] = ...) -> None: ...

class Ledger(_message.Message):
    __slots__ = ("arrival_ns", "decoded_ns", "staged_ns", "submitted_ns", "inferred_ns", "postprocessed_ns", "published_ns", "networks")
    ARRIVAL_NS_FIELD_NUMBER: _ClassVar[int]
    DECODED_NS_FIELD_NUMBER: _ClassVar[int]
    STAGED_NS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    INFERRED_NS_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESSED_NS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_NS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    arrival_ns: int
    decoded_ns: int
    staged_ns: int
    submitted_ns: int
    inferred_ns: int
    postprocessed_ns: int
    published_ns: int
    networks: _containers.RepeatedCompositeFieldContainer[NetworkTimes]
    def __init__(self, arrival_ns: _Optional[int] = ..., decoded_ns: _Optional[int] = ..., staged_ns: _Optional[int] = ..., submitted_ns: _Optional[int] = ..., inferred_ns: _Optional[int] = ..., postprocessed_ns: _Optional[int] = ..., published_ns: _Optional[int] = ..., networks: _Optional[_Iterable[_Union[NetworkTimes, _Mapping]]] = ...) -> None: ...

class NetworkTimes(_message.Message):
    __slots__ = ("started_ns", "inferred_ns")
    STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    INFERRED_NS_FIELD_NUMBER: _ClassVar[int]
    started_ns: int
    inferred_ns: int
    def __init__(self, started_ns: _Optional[int] = ..., inferred_ns: _Optional[int] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("schema_version", "session", "sequence", "sent_ns", "uptime_ns", "last", "failure", "sensors", "networks", "readers", "recording")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SENT_NS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    READERS_FIELD_NUMBER: _ClassVar[int]
    RECORDING_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    session: str
    sequence: int
    sent_ns: int
    uptime_ns: int
    last: bool
    failure: str
    sensors: _containers.RepeatedCompositeFieldContainer[SensorHealth]
    networks: _containers.RepeatedCompositeFieldContainer[Network]
    readers: int
    recording: Recording
    def __init__(self, schema_version: _Optional[int] = ..., session: _Optional[str] = ..., sequence: _Optional[int] = ..., sent_ns: _Optional[int] = ..., uptime_ns: _Optional[int] = ..., last: _Optional[bool] = ..., failure: _Optional[str] = ..., sensors: _Optional[_Iterable[_Union[SensorHealth, _Mapping]]] = ..., networks: _Optional[_Iterable[_Union[Network, _Mapping]]] = ..., readers: _Optional[int] = ..., recording: _Optional[_Union[Recording, _Mapping]] = ...) -> None: ...

class Recording(_message.Message):
    __slots__ = ("path", "items", "bytes", "dropped", "parts", "parts_removed", "failure")
    class DroppedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PATH_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    PARTS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    path: str
    items: int
    bytes: int
    dropped: _containers.ScalarMap[str, int]
    parts: int
    parts_removed: int
    failure: str
    def __init__(self, path: _Optional[str] = ..., items: _Optional[int] = ..., bytes: _Optional[int] = ..., dropped: _Optional[_Mapping[str, int]] = ..., parts: _Optional[int] = ..., parts_removed: _Optional[int] = ..., failure: _Optional[str] = ...) -> None: ...

class SensorHealth(_message.Message):
    __slots__ = ("sensor", "state", "state_reason", "captured", "published", "dropped", "failed", "in_flight", "captured_hz", "published_hz", "last_stamp_ns", "latency_p50_ms", "latency_p99_ms", "messages")
    class DroppedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class FailedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SENSOR_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_HZ_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_HZ_FIELD_NUMBER: _ClassVar[int]
    LAST_STAMP_NS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P99_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    sensor: str
    state: SensorState
    state_reason: str
    captured: int
    published: int
    dropped: _containers.ScalarMap[str, int]
    failed: _containers.ScalarMap[str, int]
    in_flight: int
    captured_hz: float
    published_hz: float
    last_stamp_ns: int
    latency_p50_ms: float
    latency_p99_ms: float
    messages: int
    def __init__(self, sensor: _Optional[str] = ..., state: _Optional[_Union[SensorState, str]] = ..., state_reason: _Optional[str] = ..., captured: _Optional[int] = ..., published: _Optional[int] = ..., dropped: _Optional[_Mapping[str, int]] = ..., failed: _Optional[_Mapping[str, int]] = ..., in_flight: _Optional[int] = ..., captured_hz: _Optional[float] = ..., published_hz: _Optional[float] = ..., last_stamp_ns: _Optional[int] = ..., latency_p50_ms: _Optional[float] = ..., latency_p99_ms: _Optional[float] = ..., messages: _Optional[int] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ("schema_version", "session", "sequence", "sensor", "frame_sequence", "stamp_ns", "width", "height", "jpeg")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SENSOR_FIELD_NUMBER: _ClassVar[int]
    FRAME_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STAMP_NS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    JPEG_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    session: str
    sequence: int
    sensor: str
    frame_sequence: int
    stamp_ns: int
    width: int
    height: int
    jpeg: bytes
    def __init__(self, schema_version: _Optional[int] = ..., session: _Optional[str] = ..., sequence: _Optional[int] = ..., sensor: _Optional[str] = ..., frame_sequence: _Optional[int] = ..., stamp_ns: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., jpeg: _Optional[bytes] = ...) -> None: ...

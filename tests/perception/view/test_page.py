"""The page in a real browser, on a real stream: what is drawn, what is told, and what a hostile name can do."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_stream import NEVER, WAIT_S, MadeStream, boxes
from playwright.sync_api import Browser, Page, sync_playwright

from engines.results import ClassMap, SegmentationMap
from perception.message import SensorHealth, SensorState, Status
from perception.stream import Publisher
from perception.view import Viewer

BROWSERS = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome")
# As root it has no sandbox of its own; without the others it calls its maker at every start.
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
REBOUND = "rebound.test"  # a name of somebody else that leads to this machine
HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=2>\"'&lt;"

pytestmark = pytest.mark.filterwarnings("default")  # the browser's driver is not ours to judge


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        told = f"none of {', '.join(BROWSERS)} found; install one, for example with `apt-get install chromium`"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    with sync_playwright() as playwright:
        rules = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=found, args=[*SWITCHES, rules])
        yield browser
        browser.close()


def said(page: Page, selector: str, holds: str) -> None:
    """Wait until the text of an element holds something."""
    page.wait_for_function(
        "([selector, holds]) => document.querySelector(selector)?.textContent.includes(holds)", arg=[selector, holds]
    )


class Shown:
    """A viewer of some endpoint, and its page."""

    def __init__(self, browser: Browser, endpoint: str, opened: ExitStack, port: int = 0, width: int = 1000) -> None:
        self.complaints: list[str] = []
        self.viewer = opened.enter_context(Viewer(endpoint, port=port))
        self._running = threading.Thread(target=self.viewer.run)
        self._running.start()
        opened.callback(self.stop)
        context = browser.new_context(viewport={"width": width, "height": 900}, device_scale_factor=1)
        opened.callback(context.close)
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_S * 1000)
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(self.viewer.url)

    def stop(self) -> None:
        self.viewer.stop()
        self._running.join()

    def text(self, selector: str = "body") -> str:
        return self.page.inner_text(selector)

    def until(self, selector: str, holds: str) -> None:
        said(self.page, selector, holds)

    def drawn(self, frame: int, sensor: str = "front") -> None:
        """Wait until this frame is drawn."""
        self.page.wait_for_selector(f'article[data-sensor="{sensor}"] canvas[data-frame="{frame}"]')

    def pixel(self, x: float, y: float) -> tuple[int, int, int]:
        """Red, green, blue of the first picture, at shares of its width and height."""
        values = self.page.evaluate(
            """([x, y]) => {
                const canvas = document.querySelector("canvas");
                const at = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
                return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
            }""",
            [x, y],
        )
        return values[0], values[1], values[2]

    def figures(self, sensor: str = "front") -> dict[str, str]:
        rows = self.page.query_selector_all(f'article[data-sensor="{sensor}"] .figures div')
        return {row.query_selector("dt").inner_text(): row.query_selector("dd").inner_text() for row in rows}  # type: ignore[union-attr]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:0") as publisher:
        publisher.offer(["preview/front/"])
        yield publisher


@pytest.fixture
def show(browser: Browser, publisher: Publisher) -> Iterator[Callable[..., Shown]]:
    """Opens a page on the publisher and returns it once its subscriptions have arrived. It may not complain."""
    with ExitStack() as opened:
        pages: list[Shown] = []

        def shown(**options: Any) -> Shown:
            page = Shown(browser, publisher.endpoint, opened, **options)
            assert publisher.wait_for_readers(1, NEVER, WAIT_S)
            while not publisher.is_wanted("preview/front/"):
                publisher.wait_for_readers(10**9, NEVER, 0.01)
            pages.append(page)
            return page

        yield shown
        assert [complaint for page in pages for complaint in page.complaints] == []


def is_grey(colour: tuple[int, int, int]) -> bool:
    return max(colour) - min(colour) < 12 and abs(colour[0] - 96) < 12


def test_boxes_are_drawn_where_they_are(show: Callable[..., Shown], publisher: Publisher) -> None:
    shown, stream = show(), MadeStream(publisher)
    stream.health()
    stream.frame(0, boxes((50, 40, 150, 90), track_ids=[7]))  # of 200 x 100
    stream.preview(0)
    shown.drawn(0)
    edges = [shown.pixel(*at) for at in ((0.25, 0.6), (0.75, 0.6), (0.5, 0.9), (0.3, 0.9), (0.75, 0.85))]
    assert len(set(edges)) == 1  # one colour all around
    assert max(edges[0]) - min(edges[0]) > 100  # the track's
    for at in ((0.5, 0.6), (0.23, 0.6), (0.27, 0.6), (0.77, 0.6), (0.73, 0.6), (0.5, 0.93), (0.5, 0.87), (0.5, 0.1)):
        assert is_grey(shown.pixel(*at)), at
    assert shown.pixel(0.252, 0.38) == edges[0]  # the plate of its label, on top of it
    assert shown.page.get_attribute("canvas", "aria-label") == "front, frame 0, 1 boxes"
    assert "1 car" in shown.text(".found")


def test_a_track_keeps_its_colour_and_another_has_another(show: Callable[..., Shown], publisher: Publisher) -> None:
    shown, stream = show(), MadeStream(publisher)
    stream.frame(0, boxes((20, 40, 80, 90), (120, 40, 180, 90), track_ids=[3, 4]))
    stream.preview(0)
    shown.drawn(0)
    first, second = shown.pixel(0.1, 0.6), shown.pixel(0.6, 0.6)
    assert first != second
    stream.frame(1, boxes((120, 40, 180, 90), (20, 40, 80, 90), track_ids=[3, 0]))
    stream.preview(1)
    shown.drawn(1)
    assert shown.pixel(0.6, 0.6) == first
    assert shown.pixel(0.1, 0.6) == (210, 210, 210)  # of no track


def test_a_box_with_an_id_lies_over_a_better_one_without(show: Callable[..., Shown], publisher: Publisher) -> None:
    shown, stream = show(), MadeStream(publisher)
    stream.frame(0, boxes((20, 40, 80, 90), (20, 40, 80, 90), (20, 40, 80, 90), track_ids=[0, 3, 4]))
    stream.preview(0)
    shown.drawn(0)
    first = shown.pixel(0.1, 0.6)
    stream.frame(1, boxes((20, 40, 80, 90), track_ids=[3]))
    stream.preview(1)
    shown.drawn(1)
    assert first == shown.pixel(0.1, 0.6)


def test_picture_and_boxes_are_always_of_one_frame(show: Callable[..., Shown], publisher: Publisher) -> None:
    shown, stream = show(), MadeStream(publisher)
    for number in range(40):
        stream.frame(number, boxes((5 * number, 40, 5 * number + 4, 90), track_ids=[1]))
        if number % 3 == 0:
            stream.preview(number, (6 * number, 0, 0))
        seen = shown.page.evaluate(
            """() => {
                const canvas = document.querySelector("canvas");
                if (!canvas || !canvas.dataset.frame) return null;
                const at = Math.floor(0.6 * canvas.height);
                const row = canvas.getContext("2d").getImageData(0, at, canvas.width, 1).data;
                let bar = 0;
                while (bar < canvas.width && row[4 * bar] + row[4 * bar + 1] < 60) bar += 1;
                return [Number(canvas.dataset.frame), row[4 * (canvas.width - 2) + 2], 200 * bar / canvas.width];
            }"""
        )
        if seen is not None:
            frame, blue, left = seen
            assert abs(blue - 6 * frame) < 8, seen
            assert abs(left - 5 * frame) < 2, seen
    shown.drawn(39)


def test_a_picture_that_is_decoded_late_does_not_take_the_place_of_a_newer_one(
    show: Callable[..., Shown], publisher: Publisher
) -> None:
    shown, stream = show(), MadeStream(publisher)
    shown.page.evaluate(
        """() => {
            const decode = createImageBitmap;
            window.late = new Promise((done) => {
                let isFirst = true;
                window.createImageBitmap = async (blob) => {
                    if (!isFirst) return decode(blob);
                    isFirst = false;
                    await new Promise((resolve) => { window.goOn = resolve; });
                    setTimeout(done, 100);
                    return decode(blob);
                };
            });
        }"""
    )
    for number in range(2):
        stream.frame(number)
        stream.preview(number)
        if number == 0:
            shown.page.wait_for_function("() => window.goOn")
    shown.drawn(1)
    shown.page.evaluate("() => { window.goOn(); return window.late; }")
    assert shown.page.get_attribute("canvas", "data-frame") == "1"


def test_a_box_that_is_no_number_spoils_no_other(show: Callable[..., Shown], publisher: Publisher) -> None:
    shown, stream = show(), MadeStream(publisher)
    stream.frame(0, boxes((float("nan"), 0, 9, 9), (50, 40, 150, 90), (0, 0, float("inf"), 9), track_ids=[1, 7, 2]))
    stream.preview(0)
    shown.drawn(0)
    assert max(shown.pixel(0.25, 0.6)) - min(shown.pixel(0.25, 0.6)) > 100
    assert is_grey(shown.pixel(0.5, 0.6))


def test_masks_are_painted_and_named(show: Callable[..., Shown], publisher: Publisher) -> None:
    shown, stream = show(), MadeStream(publisher, ("no road", "road", "background", "kerb", "lane"))
    left_half = ClassMap("road", np.repeat(np.uint8([[1, 0]]), 20, axis=1).repeat(20, axis=0), 0, 2)
    lower_half = ClassMap("lines", np.repeat(np.uint8([[0], [2]]), 10, axis=0).repeat(40, axis=1), 2, 3)
    stream.frame(0, SegmentationMap((left_half, lower_half)))
    stream.preview(0)
    shown.drawn(0)
    colours = {at: shown.pixel(*at) for at in ((0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8))}
    assert len(set(colours.values())) == 4
    assert is_grey(colours[0.8, 0.2])
    red, green, blue = colours[0.2, 0.2]
    assert green > max(red, blue) + 20
    assert shown.text(".found").split() == ["road", "lane"]


def test_figures_are_those_of_the_health_message(show: Callable[..., Shown], publisher: Publisher) -> None:
    shown, stream = show(), MadeStream(publisher)
    front = SensorHealth(
        sensor="front",
        state=SensorState.RUNNING,
        captured=12_345,
        published=12_000,
        dropped={"superseded": 300, "skipped": 40},
        failed={"decode_failed": 3},
        in_flight=2,
        captured_hz=29.96,
        published_hz=24.04,
        latency_p50_ms=8.26,
        latency_p99_ms=31.4,
    )
    rear = SensorHealth(sensor="rear", state=SensorState.BROKEN, state_reason="rear.mp4: ends early; copy it again")
    left = SensorHealth(sensor="left", state=SensorState.STALLED, state_reason="rtsp://cam/1: hung up; trying again")
    stream.health(front, rear, left, readers=3)
    shown.until("article", "12,000")
    assert shown.figures() == {
        "captured/s": "30.0",
        "published/s": "24.0",
        "latency p50/p99": "8.3/31 ms",
        "dropped": "340",
        "failed": "3",
        "lost here": "0",
    }
    told = shown.text('article[data-sensor="front"] .reasons')
    assert told == (
        "12,000 of 12,345 published · dropped: skipped 40, superseded 300 · failed: decode_failed 3 · 2 in flight"
    )
    states = [shown.text(f'article[data-sensor="{sensor}"] .state') for sensor in ("front", "rear", "left")]
    assert states == ["running", "broken", "stalled"]
    assert shown.text('article[data-sensor="rear"] .note') == "rear.mp4: ends early; copy it again"
    assert shown.text('article[data-sensor="left"] .note') == "rtsp://cam/1: hung up; trying again"
    facts = shown.text("#facts").split("\n")
    assert facts == ["networks", "road on onnxruntime", "up", "1 min 5 s", "readers", "3"]
    order = [article.get_attribute("data-sensor") for article in shown.page.query_selector_all("article")]
    assert order == ["front", "rear", "left"]


def test_tiles_stand_in_the_publishers_order_whichever_picture_came_first(
    show: Callable[..., Shown], publisher: Publisher
) -> None:
    shown, stream = show(), MadeStream(publisher)
    stream.frame(0, sensor="rear")
    stream.preview(0, sensor="rear")
    shown.drawn(0, "rear")
    stream.health(*[SensorHealth(sensor=name, state=SensorState.RUNNING) for name in ("front", "rear")])
    shown.page.wait_for_selector('article[data-sensor="front"]')
    order = [article.get_attribute("data-sensor") for article in shown.page.query_selector_all("article")]
    assert order == ["front", "rear"]


def test_a_frame_that_failed_and_one_whose_boxes_were_lost_say_so(
    show: Callable[..., Shown], publisher: Publisher
) -> None:
    shown, stream = show(), MadeStream(publisher)
    stream.frame(0, status=Status.INFERENCE_FAILED, reason="road: the device is lost")
    stream.preview(0)
    shown.until(".found", "INFERENCE_FAILED: road: the device is lost")
    stream.preview(1)  # without its boxes
    shown.until(".found", "what was found on this frame was lost")


def test_lost_messages_are_counted(show: Callable[..., Shown], publisher: Publisher) -> None:
    shown, stream = show(), MadeStream(publisher)
    stream.frame(0)
    stream.outbox._sender = Nowhere()  # the next three get lost
    for number in range(1, 4):
        stream.frame(number)
    stream.outbox._sender = publisher
    stream.frame(4)
    stream.health()
    shown.until(".figures", "lost here3")
    shown.until("#facts", "messages lost here3")


class Nowhere:
    def send(self, topic: str, payload: bytes) -> None:
        pass


def test_hostile_names_stay_text(show: Callable[..., Shown], publisher: Publisher) -> None:
    shown, stream = show(), MadeStream(publisher, (HOSTILE, "car"))
    sensor = HOSTILE.replace("/", "")  # a slash ends a sensor in a topic
    publisher.offer([f"preview/{sensor}/"])
    told = SensorHealth(sensor=sensor, state=SensorState.BROKEN, state_reason=HOSTILE, dropped={HOSTILE: 1}, captured=1)
    stream.health(told, failure=HOSTILE)
    stream.frame(0, boxes((50, 40, 150, 90), class_index=0), sensor=sensor)
    stream.preview(0, sensor=sensor)
    shown.until(".found", f"1 {HOSTILE}")
    assert shown.text("h2") == sensor
    assert shown.text(".note") == HOSTILE
    assert f"{HOSTILE} 1" in shown.text(".reasons")
    assert HOSTILE in shown.text("#facts")
    assert shown.page.evaluate("window.hacked") is None
    assert shown.page.query_selector_all("body script, img, iframe") == []


def test_the_end_and_a_restart_are_said(browser: Browser, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/stream"
    with ExitStack() as opened:
        shown = Shown(browser, endpoint, opened)
        shown.until("#link", "waiting: no publisher is there")
        with Publisher(endpoint) as publisher:
            publisher.wait_for_readers(1, NEVER, WAIT_S)
            stream = MadeStream(publisher)
            stream.health()
            stream.frame(0)
            stream.preview(0)
            shown.drawn(0)
            shown.until("#link", "live")
            assert shown.text(".state") == "running"
        shown.until("#link", "the publisher has been away for")
        assert shown.text(".state") == "was running"
        assert shown.text(".note") == "the last picture"
        with Publisher(endpoint) as publisher:
            publisher.wait_for_readers(1, NEVER, WAIT_S)
            stream = MadeStream(publisher)
            stream.health(SensorHealth(sensor="other", state=SensorState.RUNNING))
            shown.until("#link", "live")
            shown.until("#facts", "publisher restarts1")
            shown.until("h2", "other")
            assert len(shown.page.query_selector_all("article")) == 1  # the sensor of before has gone
            stream.health(SensorHealth(sensor="other", state=SensorState.ENDED), last=True)
            shown.until("#link", "the run has ended")
            shown.until(".state", "ended")


def test_a_viewer_that_stops_and_comes_again_is_found_again(browser: Browser, publisher: Publisher) -> None:
    with ExitStack() as opened:
        with ExitStack() as first:
            viewer = first.enter_context(Viewer(publisher.endpoint))
            running = threading.Thread(target=viewer.run)
            running.start()
            context = browser.new_context()
            opened.callback(context.close)
            page = context.new_page()
            page.goto(viewer.url)
            said(page, "#endpoint", "tcp://")
            port = int(viewer.url.rstrip("/").rpartition(":")[2])
            viewer.stop()
            running.join()
        said(page, "#link", "the viewer has stopped")
        second = opened.enter_context(Viewer(publisher.endpoint, port=port))
        running = threading.Thread(target=second.run)
        running.start()
        said(page, "#link", "waiting: ")
        second.stop()
        running.join()


@pytest.mark.parametrize("width", [320, 390, 1000, 2400])
def test_the_page_fits_any_width(show: Callable[..., Shown], publisher: Publisher, width: int) -> None:
    shown, stream = show(width=width), MadeStream(publisher)
    names = ["front", "2011_09_26_drive_0001_sync-velodyne_points", "x" * 90]
    told = [
        SensorHealth(
            sensor=name,
            state=SensorState.RUNNING,
            captured=10**7,
            published=10**7,
            latency_p50_ms=1234,
            latency_p99_ms=9876,
        )
        for name in names
    ]
    stream.health(*told)
    stream.frame(0)
    stream.preview(0)
    shown.drawn(0)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    cut_off = shown.page.evaluate(
        """() => [...document.querySelectorAll("article *, header *")]
            .filter((part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth > 0)
            .map((part) => part.className || part.tagName)"""
    )
    assert cut_off == []
    canvas = shown.page.evaluate("(({width, height}) => [width, height])(document.querySelector('canvas'))")
    assert canvas[0] == pytest.approx(2 * canvas[1], abs=2)  # of the picture's shape


def test_a_page_in_another_name_gets_nothing(browser: Browser, publisher: Publisher) -> None:
    with Viewer(publisher.endpoint) as viewer:
        page = browser.new_page()
        answer = page.goto(viewer.url.replace("127.0.0.1", REBOUND))
        assert answer is not None
        assert answer.status == 403
        page.close()
        viewer.stop()

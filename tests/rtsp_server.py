"""A real RTSP camera for the tests: GStreamer's RTSP server (LGPL, from the distribution) around a moving ball.

Run as a program by the system's Python, which has GStreamer's bindings; `rtsp_camera.py` starts and stops it. Says
the port on its first line, once it listens. `/ball` and `/noise` are H.264 without B-frames, as cameras send it;
`/sound` has no video.
"""

from __future__ import annotations

import argparse

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtspServer  # noqa: E402


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--size", default="128x96")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--kbits", type=int, default=500)
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--certificate", help="a PEM file with key and certificate: serve rtsps://")
    options = parser.parse_args()
    Gst.init(None)
    width, height = options.size.split("x")
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    picture = f"video/x-raw,format=I420,width={width},height={height},framerate={options.fps}/1"
    encoder = f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={options.fps // 2} bitrate={options.kbits}"
    streams = {
        "/ball": f"videotestsrc is-live=true pattern=ball ! {picture} ! {encoder} ! rtph264pay config-interval=1",
        "/noise": f"videotestsrc is-live=true pattern=snow ! {picture} ! {encoder} ! rtph264pay config-interval=1",
        "/sound": "audiotestsrc is-live=true ! audioconvert ! rtpL16pay",
    }
    for path, pipeline in streams.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {pipeline} name=pay0 pt=96 )")
        factory.set_shared(True)
        factory.set_enable_rtcp(True)
        _guard(factory, options)
        server.get_mount_points().add_factory(path, factory)
    if options.user or options.certificate:
        server.set_auth(_auth(options))
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def _auth(options: argparse.Namespace) -> GstRtspServer.RTSPAuth:
    auth = GstRtspServer.RTSPAuth()
    if options.certificate:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(options.certificate))
    if options.user:
        token = GstRtspServer.RTSPToken()
        token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "driver")
        if options.digest:
            auth.set_supported_methods(2)  # GST_RTSP_AUTH_DIGEST, whose enum the bindings do not have
            auth.add_digest(options.user, options.password, token)
        else:
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
    return auth


def _guard(factory: GstRtspServer.RTSPMediaFactory, options: argparse.Namespace) -> None:
    if not options.user:
        return
    allowed = Gst.Structure.new_empty("driver")
    for permission in ("media.factory.access", "media.factory.construct"):
        allowed.set_value(permission, True)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role_from_structure(allowed)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    main()

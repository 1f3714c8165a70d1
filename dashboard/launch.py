"""The launcher: Streamlit with the settings that the dashboard is made for."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboard.lesion_classes import ACCENT, INK, LINE
from dermserve_client.connection import API_KEY_VARIABLE, URL_VARIABLE

PORT = 8501
HOST = "127.0.0.1"
MAX_UPLOAD_MB = 500
"""Of one file: a zip of some thousand photographs."""

APP = Path(__file__).with_name("app.py")

_THEME = {
    "base": "light",
    "primaryColor": ACCENT,
    "backgroundColor": "#FFFFFF",
    "secondaryBackgroundColor": "#F3F6F8",
    "textColor": INK,
    "linkColor": ACCENT,
    "borderColor": LINE,
    "baseRadius": "0.4rem",
    "headingFontSizes": '["2rem", "1.45rem", "1.15rem"]',
    "headingFontWeights": "650",
    "showWidgetBorder": "true",
}


def streamlit_options(host: str, port: int, allowed_hosts: Sequence[str]) -> list[str]:
    """Options of `streamlit run`: nothing is sent anywhere, and no error shows its traceback.

    Args:
        host: to listen on.
        port: to listen on.
        allowed_hosts: names under which browsers may ask for it; another one may be a foreign
            site that has its name lead here (DNS rebinding).
    """
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.maxUploadSize": str(MAX_UPLOAD_MB),
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        **{f"theme.{name}": value for name, value in _THEME.items()},
    }
    hosts = [f"--server.allowedHosts={name}" for name in allowed_hosts]
    return [*(f"--{name}={value}" for name, value in options.items()), *hosts]


def main(arguments: Sequence[str] | None = None) -> None:
    """`dermserve-dashboard`: the dashboard in the foreground until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="dermserve-dashboard",
        description="The web dashboard of a DermServe server.",
        epilog="Example: dermserve-dashboard --url http://127.0.0.1:8000",
    )
    parser.add_argument("--url", help=f"of the server; {URL_VARIABLE} if left out")
    parser.add_argument("--host", default=HOST, help="to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="to listen on (%(default)s)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name under which browsers may ask for it; may be repeated",
    )
    given = parser.parse_args(arguments)
    if given.url:
        os.environ[URL_VARIABLE] = given.url
    # Each session brings its own key: with this one, every visitor would act as the operator.
    os.environ.pop(API_KEY_VARIABLE, None)
    allowed = ["localhost", "127.0.0.1", "[::1]", *given.allow_host]
    if given.host not in (HOST, "localhost", "::1"):
        # Whoever reaches it may do what the server lets this machine do.
        print(
            f"The dashboard listens on {given.host}: whoever reaches it can use the server as "
            "you can. Give the server API keys first (`dermserve keys create`)."
        )
        allowed.append(given.host)
    print(f"Dashboard at http://{given.host}:{given.port}. Stop with Ctrl-C.", flush=True)
    options = streamlit_options(given.host, given.port, allowed)
    command = [sys.executable, "-m", "streamlit", "run", str(APP), *options]
    os.execv(sys.executable, command)

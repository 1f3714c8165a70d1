"""An S3-compatible store on this machine: moto's server, which may go away and come back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "dermserve"


class ObjectStore:
    """A store with one bucket; what it holds outlives its absences, as with a real one.

    Args:
        host: address that it listens on.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request
        self._host = host
        self._server = self._start(port=0)
        _, self._port = self._server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
        )
        client.create_bucket(Bucket=BUCKET)

    @property
    def endpoint(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What has processes find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nothing answers while the block runs."""
        self.close()
        try:
            yield
        finally:
            self._server = self._start(self._port)

    def close(self) -> None:
        """Stop to answer."""
        self._server.stop()

    def _start(self, port: int) -> ThreadedMotoServer:
        server = ThreadedMotoServer(ip_address=self._host, port=port, verbose=False)
        server.start()
        return server

"""Object stores as child processes: moto, with the protocol of Amazon S3."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import boto3

from tools.embedded.process import LOOPBACK, Server, accepts_connections

BUCKET = "fraud-models"
KEY, SECRET = "test-key", "test-secret"


class S3(Server):
    """moto's S3 server, in memory: an end loses all data. It checks conditional writes."""

    name = "moto"

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables with which a client reaches the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def prepare(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self.port)]

    def answers(self) -> bool:
        return accepts_connections(self.port)

    def make_bucket(self, name: str = BUCKET) -> str:
        """Create a bucket, and return its URL."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket=name)
        return f"s3://{name}"

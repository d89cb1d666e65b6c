"""The client that speaks to S3, or to anything that speaks S3."""

from __future__ import annotations

import os
from typing import Any

import boto3
from botocore.config import Config


def s3_client(bucket: str, *, parts_apart: bool = False) -> Any:
    """A client for `bucket`, with credentials, region and endpoint of the usual `AWS_*` variables; threads share it.

    `parts_apart` is for multipart uploads whose parts come one by one, also from others: it leaves out the checksums
    that boto3 would add, because S3 wants either all parts of an upload to have one or none, and a signed address
    cannot make anybody send it.
    """
    return boto3.client(
        "s3",
        # The variable that containers and Lambda have, and most tools read; boto3 knows only the other one.
        region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None,
        config=Config(
            signature_version="s3v4",  # boto3 signs addresses the old way, which newer regions do not take
            s3={"addressing_style": _addressing_style(bucket)},
            request_checksum_calculation="when_required" if parts_apart else "when_supported",
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 4},
            max_pool_connections=32,
        ),
    )


def _addressing_style(bucket: str) -> str:
    """`virtual`, with which signed addresses name the region's own host, where Amazon's certificate fits the name."""
    elsewhere = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return "auto" if elsewhere or "." in bucket else "virtual"

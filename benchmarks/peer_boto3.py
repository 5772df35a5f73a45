"""boto3's own transfer of one large file, the bare client that bundlerun is measured against.

Subcommands as those of `side_bundlerun.py`; everything as boto3 sets it when nothing is said.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from measuring import cpu_seconds, peak_bytes, seconds_of


def main() -> None:
    """Do the named work, and print what was measured."""
    import boto3

    parser = argparse.ArgumentParser(description="One file up or down, with boto3 alone.")
    parser.add_argument("work", choices=("push_large", "pull_large"))
    parser.add_argument("--remote", required=True, help="s3://bucket/prefix")
    parser.add_argument("--file", type=Path, required=True)
    given = parser.parse_args()
    bucket, _, prefix = given.remote.removeprefix("s3://").partition("/")
    key = f"{prefix}/boto3"
    client: Any = boto3.client("s3")
    # The first request finds the server and the keys: not what is measured.
    client.head_bucket(Bucket=bucket)
    before = cpu_seconds()
    if given.work == "push_large":
        seconds = seconds_of(lambda: client.upload_file(str(given.file), bucket, key))
    else:
        with tempfile.TemporaryDirectory(prefix="bench-boto3-") as name:
            target = Path(name, "target")
            seconds = seconds_of(lambda: client.download_file(bucket, key, str(target)))
            if target.stat().st_size != given.file.stat().st_size:
                raise RuntimeError("other bytes came back than were sent")
    found = {"seconds": seconds, "cpu": cpu_seconds() - before, "peak_bytes": peak_bytes()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Keeps one stream open until the file named by the argument exists, and uses it before and after."""

import sys
import time
from pathlib import Path

from jumpstarter.common.utils import env

with env() as client, client.echo.stream() as stream:
    stream.send(b"before")
    assert stream.receive() == b"before"
    print("holding", flush=True)
    while not Path(sys.argv[1]).exists():
        time.sleep(0.05)
    stream.send(b"after")
    assert stream.receive() == b"after"
    print("the same stream", flush=True)

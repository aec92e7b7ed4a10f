"""Uses every driver of the exporter in a shell, and says so line by line. Arguments: size of the transfer in MiB."""

import hashlib
import os
import socket
import sys
from pathlib import Path

from jumpstarter_driver_network.adapters import TcpPortforwardAdapter

from jumpstarter.common.utils import env


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def echo_through_forward(client):
    """Sends more than any buffer on the way holds, while reading what comes back."""
    with TcpPortforwardAdapter(client=client.echo) as (host, port):
        with socket.create_connection((host, port), timeout=30) as connection:
            sent = os.urandom(1024) * 64
            for _ in range(16):
                connection.sendall(sent)
                received = b""
                while len(received) < len(sent):
                    received += connection.recv(65536)
                assert received == sent
    print("forward ok", flush=True)


def transfer(client, mebibytes):
    source, back = Path("source.bin").resolve(), Path("back.bin").resolve()
    with source.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
    client.storage.write_from_path("remote.bin", source)
    assert client.storage.hash("remote.bin") == digest(source)
    client.storage.read_into_path("remote.bin", back)
    assert digest(back) == digest(source)
    print("transfer ok", flush=True)


with env() as client:
    client.power.on()
    readings = list(client.power.read())
    assert [reading.voltage for reading in readings] == [0.0, 5.0], readings
    client.power.off()
    print("power ok", flush=True)
    with client.echo.stream() as stream:
        stream.send(b"hello")
        assert stream.receive() == b"hello"
    print("stream ok", flush=True)
    echo_through_forward(client)
    if len(sys.argv) > 1:
        transfer(client, int(sys.argv[1]))

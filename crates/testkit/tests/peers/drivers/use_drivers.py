"""Uses every driver of an exporter with the released client classes, and says so line by line.

Arguments: what the bench told; `ours` or `released`, for what only our exporter does.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import opendal
import pexpect
from websockets.sync.client import connect

from jumpstarter.client.core import DriverError, DriverInvalidArgument, DriverMethodNotImplemented
from jumpstarter.common.utils import env

bench, ours = json.loads(sys.argv[1]), sys.argv[2] == "ours"
SOME = bytes(range(256)) * 1000


def raises(kind, call):
    try:
        call()
    except kind if ours else DriverError:
        return
    raise AssertionError(f"no {kind.__name__}")


def echoes(stream, *texts):
    for text in texts:
        stream.send(text)
        received = b""
        while len(received) < len(text):
            received += stream.receive()
        assert received == text, received


def read(power):
    return [(reading.voltage, reading.current) for reading in power.read()]


def power(client):
    client.power.on()
    assert read(client.power) == [(0.0, 0.0), (5.0, 2.0)]
    client.group.power.off()
    client.sync.on()
    raises(DriverMethodNotImplemented, lambda: client.power.call("rescue"))
    raises(DriverInvalidArgument, lambda: client.power.call("on", 1))
    client.webplug.on()
    assert read(client.webplug) == [(230.5, 0.25)]
    client.webplug.off()
    client.plug.on()
    client.plug.off()
    client.plug.on()
    print("power ok", flush=True)


def network(client):
    port = bench["echo"]
    assert client.tcp.address() == f"tcp://127.0.0.1:{port}"
    assert client.udp.address() == f"udp://127.0.0.1:{port}"
    assert client.websocket.address() == bench["websocket"]
    for driver in (client.tcp, client.echo, client.unix, client.vnc):
        with driver.stream() as stream:
            echoes(stream, b"one", SOME)
    # One frame is one datagram, or one message.
    for driver in (client.udp, client.websocket):
        with driver.stream() as stream:
            for text in (b"one", b"another", SOME[:30000]):
                stream.send(text)
                assert stream.receive() == text
    with client.bus.stream() as stream:
        stream.send(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        assert stream.receive().startswith(b"OK ")
    assert client.vnc.get_default_encrypt() is True
    with client.vnc.session(encrypt=False) as url:
        told = parse_qs(urlsplit(url).query)
        with connect(f"ws://{told['host'][0]}:{told['port'][0]}/") as viewer:
            viewer.send(b"frame")
            assert viewer.recv(timeout=60) == b"frame"
    print("network ok", flush=True)


def console(client):
    for port in (client.serial, client.remote):
        with port.stream() as stream:
            echoes(stream, b"root\n", bytes(range(256)))
        with port.pexpect() as console:
            # The stream before may read along until its end has come through, as two terminals on a port do.
            for _ in range(60):
                console.send("login: ")
                if console.expect_exact(["login: ", pexpect.TIMEOUT], timeout=1) == 0:
                    break
            else:
                raise AssertionError("no prompt")
    with client.loop.stream() as stream:
        echoes(stream, b"slowly")
    if ours:
        raises(DriverInvalidArgument, lambda: client.serial.call("set_dtr", "high"))
    print("serial ok", flush=True)


def shell(client):
    def run(*args):
        items = list(client.tool.streamingcall("call_method", *args))
        return "".join(item[0] for item in items), "".join(item[1] for item in items), items[-1][2]

    assert client.tool.call("get_methods") == ["hello", "fails"]
    assert run("hello", {"WHO": "you"}, "dear") == ("hello dear you\n", "", 0)
    assert run("fails", {}) == ("", "no\n", 4)
    raises(DriverInvalidArgument, lambda: run("nothing", {}))
    raises(DriverInvalidArgument, lambda: run("hello", {"LD_PRELOAD": "x"}))
    print("shell ok", flush=True)


def servers(client):
    source = Path("served.bin").resolve()
    source.write_bytes(SOME)

    def fetched(url):
        return subprocess.run(["curl", "-sSf", "--max-time", "60", url], check=True, capture_output=True).stdout

    client.http.start()
    url = client.http.put_file("a.bin", source)
    assert url == client.http.get_url() + "/a.bin"
    assert fetched(url) == SOME
    client.http.stop()
    client.tftp.storage.write_from_path("b.bin", source)
    client.tftp.start()
    assert fetched(f"tftp://{client.tftp.get_host()}:{int(client.tftp.get_port())}/b.bin") == SOME
    client.tftp.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", urlsplit(url).port)) != 0, "it still serves"
    print("servers ok", flush=True)


def cloud(client):
    name = "by-python.bin"
    client.bucket.write_bytes(name, SOME)
    assert client.bucket.read_bytes(name) == SOME
    assert client.bucket.hash(name) == hashlib.sha256(SOME).hexdigest()
    assert client.bucket.stat(name).content_length == len(SOME)
    assert client.bucket.exists(name) and not client.bucket.exists("never")
    assert name in list(client.bucket.list("/"))
    signed = client.bucket.presign_read(name, 60)
    with urlopen(signed.url, timeout=60) as answer:
        assert answer.read() == SOME
    # The exporter fetches the image from the cloud itself.
    mine = opendal.Operator("s3", **bench["s3_options"])
    client.flasher.flash(name, target="cloud", operator=mine)
    back = Path("cloud.bin").resolve()
    client.flasher.dump(back, target="cloud")
    assert back.read_bytes() == SOME
    client.bucket.delete(name)
    print("cloud ok", flush=True)


def hosted(client):
    assert read(client.bench) == [(7.0, 1.0)]
    client.bench.children["other"].on()
    raises(DriverInvalidArgument, lambda: client.bench.on())
    with client.wire.stream() as stream:
        echoes(stream, b"through Python", bytes(1000))
    image = Path("image.bin").resolve()
    image.write_bytes(os.urandom(1 << 20))
    client.hostedflasher.flash(str(image))
    client.hostedflasher.dump(str(image.with_suffix(".back")))
    assert image.with_suffix(".back").read_bytes() == image.read_bytes()
    print("hosted ok", flush=True)


with env() as client:
    for story in (power, network, console, shell, servers, cloud, hosted):
        story(client)

# All is done and said. The interpreter's own end is left out: one of the client's native modules can crash in it.
sys.stdout.flush()
os._exit(0)

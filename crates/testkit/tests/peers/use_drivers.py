"""Uses every driver of our exporter with the released client classes, and says so line by line.

Arguments: port of the echo servers, path of the Unix socket, path of the serial port.
"""

import os
import pty
import socket
import sys
import threading
import tty
from pathlib import Path

import pexpect

from jumpstarter.client.core import DriverInvalidArgument, DriverMethodNotImplemented
from jumpstarter.common.utils import env

port, unix, serial = sys.argv[1:]


def raises(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


def echoes(stream, *texts):
    for text in texts:
        stream.send(text)
        received = b""
        while len(received) < len(text):
            received += stream.receive()
        assert received == text, received


def power(client):
    client.power.on()
    assert [reading.voltage for reading in client.power.read()] == [0.0, 5.0]
    client.group.power.off()
    client.sync.on()
    raises(DriverMethodNotImplemented, lambda: client.power.call("rescue"))
    raises(DriverInvalidArgument, lambda: client.power.call("on", 1))
    print("power ok", flush=True)


def network(client):
    assert client.tcp.address() == f"tcp://127.0.0.1:{port}"
    assert client.udp.address() == f"udp://127.0.0.1:{port}"
    server = socket.socket(socket.AF_UNIX)
    server.bind(unix)
    server.listen()

    def serve():
        connection, _ = server.accept()
        while data := connection.recv(65536):
            connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    for driver in (client.tcp, client.echo, client.unix):
        with driver.stream() as stream:
            echoes(stream, b"one", bytes(range(256)) * 1000)
    with client.udp.stream() as stream:
        for text in (b"one", b"another"):
            stream.send(text)
            assert stream.receive() == text
    print("network ok", flush=True)


def console(client):
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.symlink(os.ttyname(slave), serial)
    with client.serial.stream() as stream:
        stream.send(b"root\n")
        assert os.read(master, 100) == b"root\n"
        os.write(master, bytes(range(256)))
        received = b""
        while len(received) < 256:
            received += stream.receive()
        assert received == bytes(range(256))
    with client.serial.pexpect() as console:
        # The port is open, and what lay in it is gone, once something has come through.
        console.sendline("root")
        assert os.read(master, 100) == b"root\n"
        # The stream before may read along until its end has come through, as two terminals on a port do.
        for _ in range(60):
            os.write(master, b"login: ")
            if console.expect_exact(["login: ", pexpect.TIMEOUT], timeout=1) == 0:
                break
        else:
            raise AssertionError("no prompt")
    with client.loop.stream() as stream:
        echoes(stream, b"slowly")
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


def hosted(client):
    assert [reading.voltage for reading in client.bench.read()] == [7.0]
    client.bench.children["other"].on()
    raises(DriverInvalidArgument, lambda: client.bench.on())
    with client.wire.stream() as stream:
        echoes(stream, b"through Python", bytes(1000))
    image = Path("image.bin").resolve()
    image.write_bytes(os.urandom(1 << 20))
    client.flasher.flash(str(image))
    client.flasher.dump(str(image.with_suffix(".back")))
    assert image.with_suffix(".back").read_bytes() == image.read_bytes()
    print("hosted ok", flush=True)


with env() as client:
    for story in (power, network, console, shell, hosted):
        story(client)

"""The things that the drivers of a test lead to, each a real one: brokers, servers, a bus, a port.

Arguments: a directory to keep all of it in. Prints one line of JSON when everything is up, and runs until it is ended.
Writes what plugs were told into the file `plugs` of the directory.
"""

import asyncio
import base64
import datetime
import http.server
import ipaddress
import json
import os
import pty
import random
import socket
import subprocess
import sys
import threading
import time
import tty
import urllib.request
from pathlib import Path

import paho.mqtt.client as paho
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto.server import ThreadedMotoServer
from websockets.asyncio.server import serve

ROOM = Path(sys.argv[1])
USER, PASSWORD = "lab", "between us"
guard = threading.Lock()


def note(line):
    with guard, (ROOM / "plugs").open("a") as plugs:
        plugs.write(line + "\n")


def certificate():
    """A broker's certificate, and the CA that clients trust."""

    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def sign(subject, key, issuer_key, extensions):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("bench"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer_key, hashes.SHA256())

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca = sign("bench", ca_key, ca_key, [(x509.BasicConstraints(True, 0), True), (usage, True), (ca_id, False)])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id)
    leaf = sign("broker", key, ca_key, [(here, False), (issuer, False), (x509.BasicConstraints(False, None), True)])
    pem = serialization.Encoding.PEM
    (ROOM / "ca.crt").write_bytes(ca.public_bytes(pem))
    (ROOM / "broker.crt").write_bytes(leaf.public_bytes(pem))
    plain = serialization.NoEncryption()
    (ROOM / "broker.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def connected(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on {port}")


def broker():
    """Mosquitto with TLS and a login."""
    certificate()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    subprocess.run(["mosquitto_passwd", "-b", "-c", ROOM / "passwords", USER, PASSWORD], check=True)
    lines = ["user root"] if os.getuid() == 0 else []
    lines += [
        f"listener {port} 127.0.0.1",
        f"certfile {ROOM}/broker.crt",
        f"keyfile {ROOM}/broker.key",
        "allow_anonymous false",
        f"password_file {ROOM}/passwords",
    ]
    (ROOM / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    subprocess.Popen(["/usr/sbin/mosquitto", "-c", ROOM / "mosquitto.conf"])
    connected(port)
    return port


def plugs(port):
    """Plugs that do what they are told, one for each name."""
    listening = threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)

    def on_message(client, _, message):
        name, told = message.topic.split("/")[1], message.payload.decode()
        note(f"{name} {told}")
        client.publish(f"stat/{name}/POWER", told)

    client.on_connect = lambda client, *_: client.subscribe("cmnd/+/POWER", qos=1)
    client.on_subscribe = lambda *_: listening.set()
    client.on_message = on_message
    client.tls_set(str(ROOM / "ca.crt"))
    client.username_pw_set(USER, PASSWORD)
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert listening.wait(60), "the plugs never reached the broker"


class WebPlug(http.server.BaseHTTPRequestHandler):
    """A socket that is switched and read by HTTP."""

    def answer(self, body):
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        good = self.headers["Authorization"] == wanted
        self.send_response(200 if good else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/read":
            return self.answer(b'{"meters": [{"v": "230.5", "a": 0.25}]}')
        note(self.path)
        self.answer(b"")

    def do_POST(self):
        note(f"{self.path} {self.rfile.read(int(self.headers['Content-Length'])).decode()}")
        self.answer(b"")

    def log_message(self, *args):
        pass


def port_with_echo(name):
    """A serial port: the other end says what it hears."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.symlink(os.ttyname(slave), ROOM / f"tty-{name}")

    def repeat():
        while True:
            os.write(master, os.read(master, 4096))

    threading.Thread(target=repeat, daemon=True).start()


def bucket():
    """A server that speaks S3, with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/images", method="PUT"), timeout=60).close()
    return url


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        self.transport.sendto(data, peer)


async def echoes():
    """One port for both protocols; ports given out at random seldom clash."""
    loop = asyncio.get_running_loop()
    while True:
        port = random.randrange(20000, 60000)
        try:
            await asyncio.start_server(echo, "127.0.0.1", port)
            await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", port))
            return port
        except OSError:
            continue


async def repeat_messages(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    await asyncio.start_unix_server(echo, ROOM / "socket")
    websocket = await serve(repeat_messages, "127.0.0.1", 0)
    web_plug = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WebPlug)
    threading.Thread(target=web_plug.serve_forever, daemon=True).start()
    # What two exporters read from one port, each would miss half of.
    for name in ("ours", "released"):
        port_with_echo(name)
    mqtt = broker()
    plugs(mqtt)
    bus = f"unix:path={ROOM}/bus"
    subprocess.Popen(["dbus-daemon", "--session", "--nofork", f"--address={bus}", "--nopidfile"])
    while not (ROOM / "bus").exists():
        await asyncio.sleep(0.02)
    told = {
        "echo": await echoes(),
        "unix": str(ROOM / "socket"),
        "serial": str(ROOM / "tty"),
        "websocket": f"ws://127.0.0.1:{websocket.sockets[0].getsockname()[1]}/console",
        "web_plug": f"http://127.0.0.1:{web_plug.server_address[1]}",
        "mqtt": mqtt,
        "ca": str(ROOM / "ca.crt"),
        "bus": bus,
        "s3_options": {
            "bucket": "images",
            "endpoint": bucket(),
            "region": "us-east-1",
            "access_key_id": "bench",
            "secret_access_key": "bench",
        },
        "user": USER,
        "password": PASSWORD,
    }
    print(json.dumps(told), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())

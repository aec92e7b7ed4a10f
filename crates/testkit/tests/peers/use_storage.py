"""Uses every storage driver of the exporter in a shell, as its own tests do, and says so line by line."""

import hashlib
import http.server
import os
import sys
import threading
from pathlib import Path

from jumpstarter.client.core import DriverError
from jumpstarter.common.utils import env

PLAIN = os.urandom(300_000) + b"and a compressible tail " * 40_000


def files(storage):
    storage.write_bytes("file.txt", b"hello")
    assert storage.read_bytes("file.txt") == b"hello"
    assert storage.hash("file.txt", "md5") == hashlib.md5(b"hello").hexdigest()
    assert storage.hash("file.txt") == hashlib.sha256(b"hello").hexdigest()
    stat = storage.stat("file.txt")
    assert stat.content_length == 5 and stat.mode.is_file() and not stat.mode.is_dir(), stat
    handle = storage.open("file.txt", "rb")
    assert handle.readable() and handle.seekable() and not handle.writable() and not handle.closed
    assert handle.seek(-3, os.SEEK_END) == 2 and handle.tell() == 2
    assert handle.read_bytes() == b"llo"
    handle.close()
    assert handle.closed
    handle = storage.open("other", "wb")
    assert handle.writable() and not handle.readable() and not handle.seekable()
    handle.write_bytes(b"one ")
    handle.write_bytes(b"two")
    handle.close()
    assert storage.read_bytes("other") == b"one two"
    storage.write_bytes("empty", b"")
    assert storage.read_bytes("empty") == b""
    print("files ok", flush=True)


def paths(storage):
    storage.copy("file.txt", "copy.txt")
    storage.rename("copy.txt", "moved.txt")
    assert storage.exists("moved.txt") and not storage.exists("copy.txt")
    storage.delete("moved.txt")
    storage.delete("never was")
    storage.create_dir("a/b/c/")
    assert storage.stat("a/b/").mode.is_dir()
    assert sorted(storage.list("a/")) == ["a/", "a/b/"]
    assert sorted(storage.scan("a/")) == ["a/", "a/b/", "a/b/c/"]
    storage.remove_all("a/")
    assert not storage.exists("a/")
    assert storage.capability().copy and not storage.capability().presign_read
    assert {"file.txt", "other"} <= storage.get_created_resources()
    for wrong in (
        lambda: storage.stat("never was"),
        lambda: storage.read_bytes("never was"),
        lambda: storage.write_bytes("../outside", b"x"),
        lambda: storage.call("file_write", "11111111-1111-4111-8111-111111111111", {}),
    ):
        try:
            wrong()
        except DriverError:
            continue
        raise AssertionError("went well")
    print("paths ok", flush=True)


def whole_files(storage):
    source, back = Path("source.bin").resolve(), Path("back.bin").resolve()
    source.write_bytes(PLAIN * 8)
    storage.write_from_path("remote.bin", source)
    storage.read_into_path("remote.bin", back)
    assert back.read_bytes() == PLAIN * 8
    print("paths of files ok", flush=True)


def flashing(flasher):
    import bz2
    import gzip
    import lzma

    image, dump = Path("image.bin").resolve(), Path("dump.bin").resolve()
    image.write_bytes(PLAIN)
    for target in (None, "uboot"):
        flasher.flash(image, target=target)
        flasher.dump(dump, target=target)
        assert dump.read_bytes() == PLAIN
    for encoding, module in (("gzip", gzip), ("xz", lzma), ("bz2", bz2)):
        image.write_bytes(module.compress(PLAIN))
        flasher.flash(image, target=encoding, compression=encoding)
        flasher.dump(dump, target=encoding)
        assert dump.read_bytes() == PLAIN, encoding
        flasher.dump(dump, target=encoding, compression=encoding)
        assert module.decompress(dump.read_bytes()) == PLAIN, encoding
    image.write_bytes(gzip.compress(PLAIN)[:-100])
    try:
        flasher.flash(image, target="cut", compression="gzip")
    except* DriverError:
        print("cut image refused", flush=True)
    else:
        raise AssertionError("half an image was taken for a whole one")
    print("flashing ok", flush=True)


def fetching(flasher):
    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", "/image%40v1.bin?Signature=a%2Fb")
                self.end_headers()
                return
            good = self.path == "/image%40v1.bin?Signature=a%2Fb"
            self.send_response(200 if good else 404)
            self.send_header("Content-Length", str(len(PLAIN)))
            self.end_headers()
            self.wfile.write(PLAIN)

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    flasher.flash(f"{url}/moved", target="fetched")
    flasher.dump(Path("dump.bin").resolve(), target="fetched")
    assert Path("dump.bin").read_bytes() == PLAIN
    try:
        flasher.flash(f"{url}/never?Signature=secret", target="fetched")
    except* DriverError as errors:
        said = str(errors.exceptions)
        assert "secret" not in said and "404" in said, said
    else:
        raise AssertionError("an error page was flashed")
    server.shutdown()
    print("fetching ok", flush=True)


def switching(mux, mux_flasher):
    image, dump = Path("image.bin").resolve(), Path("dump.bin").resolve()
    image.write_bytes(PLAIN)
    mux.host()
    mux.write_local_file(str(image))
    mux.dut()
    mux.read_local_file(str(dump))
    mux.off()
    assert dump.read_bytes() == PLAIN
    dump.unlink()
    mux_flasher.flash(image)
    mux_flasher.dump(dump)
    assert dump.read_bytes() == PLAIN
    print("switching ok", flush=True)


with env() as client:
    files(client.storage)
    paths(client.storage)
    whole_files(client.storage)
    flashing(client.flasher)
    fetching(client.flasher)
    switching(client.mux, client.muxflasher)

# All is done and said. The interpreter's own end is left out: one of the client's native modules can crash in it.
sys.stdout.flush()
os._exit(0)

"""Uses a virtual machine with the released client and with ours: `use_qemu.py DISK J`."""

import gzip
import hashlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pexpect
from jumpstarter.utils.env import env
from jumpstarter_driver_network.adapters import TcpPortforwardAdapter


def run(j, *words, code=0):
    done = subprocess.run([j, *words], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == code, (words, done)
    return done.stdout + done.stderr


def ask(console, command, answer, limit=150):
    """Types until it is answered: a guest that starts drops what is typed too early."""
    end = time.monotonic() + limit
    while True:
        console.send(command + "\n")
        try:
            console.expect(answer, timeout=10)
            return
        except pexpect.TIMEOUT:
            if time.monotonic() > end:
                raise AssertionError(f"{command}: {console.before[-500:]}") from None


def get(host, port):
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=60) as answer:
        assert answer.read() == b"hello from the guest\n"


def terminal(j):
    """The console as people use it."""
    console = pexpect.spawn(j, ["qemu", "console", "start-console"], timeout=60, encoding="utf-8")
    console.expect("exit with CTRL.B")
    ask(console, "echo typed-$((7*7))", "typed-49")
    console.send("\x02\x02\x02")
    console.expect(pexpect.EOF)
    console.close()
    assert console.exitstatus == 0, console


def pipe(j):
    """The console as programs use it."""
    log = Path("console.log")
    words = [j, "qemu", "console", "pipe", "--output", str(log)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        # The emulator notices within a second that someone listens.
        for _ in range(100):
            program.stdin.write(b"echo piped-$((2+3))\n")
            program.stdin.flush()
            time.sleep(0.5)
            if log.exists() and b"piped-5" in log.read_bytes():
                break
        assert b"piped-5" in log.read_bytes(), log.read_bytes()
        program.send_signal(signal.SIGINT)
        program.wait(60)


if sys.argv[1] == "terminal":
    terminal(sys.argv[2])
    sys.exit(0)

disk, ours = Path(sys.argv[1]), sys.argv[2]
released = shutil.which("j")
content = disk.read_bytes()
digest = hashlib.sha256(content).hexdigest()

with env() as client:
    vm = client.qemu
    assert (vm.hostname, vm.username, vm.password) == ("vm7", "jumpstarter", "password")

    # Either client writes, the other reads.
    packed, dump = Path("disk.gz"), Path("dump")
    packed.write_bytes(gzip.compress(content, 1))
    vm.flasher.flash(str(packed))
    run(ours, "qemu", "flasher", "dump", str(dump))
    assert hashlib.sha256(dump.read_bytes()).hexdigest() == digest
    run(ours, "qemu", "flasher", "flash", "-t", f"root:{disk}")
    vm.flasher.dump("again", target="root")
    assert hashlib.sha256(Path("again").read_bytes()).hexdigest() == digest
    run(ours, "qemu", "flasher", "flash", "-t", f"nowhere:{disk}", code=1)
    print("flash ok")

    assert "32M on next power on" in run(ours, "qemu", "resize", "disk", "32M")
    run(ours, "qemu", "resize", "memory", "much", code=1)
    vm.set_memory_size("256M")
    vm.power.on()
    with vm.console.pexpect() as console:
        ask(console, "echo booted-$((6*7))", "booted-42")
        print("boot ok")
        ask(console, f"head -c {len(content)} /dev/vda | sha256sum", digest)
        ask(console, "echo sectors-$(cat /sys/block/vda/size)", "sectors-65536")
        ask(console, "echo memory-$(free -m | awk '/Mem/ { print ($2 < 257 && $2 > 150) }')", "memory-1")
        ask(console, "echo cloud-$(head -c 1000000 /dev/vdb | grep -a vm7 | grep -ac local-hostname)", "cloud-[1-9]")
    print("disk ok")

    # A process with gRPC in it does not fork well, which a terminal needs.
    for j in [ours, released]:
        run(sys.executable, __file__, "terminal", j)
    pipe(ours)
    print("consoles ok")

    with TcpPortforwardAdapter(client=vm.web) as (host, port):
        get(host, port)
    words = [ours, "qemu", "web", "forward-tcp", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as forward:
        host, port = forward.stdout.readline().strip().rsplit(":", 1)
        get(host, port)
        forward.terminate()
    with TcpPortforwardAdapter(client=vm.vnc) as (host, port):
        with socket.create_connection((host, port), timeout=60) as screen:
            assert screen.recv(4) == b"RFB "
    print("network ok")

    run(ours, "qemu", "power", "read", code=1)
    run(ours, "qemu", "power", "off")
    vm.power.off()
    print("power ok")

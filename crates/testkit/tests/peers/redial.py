"""Uses a stream until it breaks, then opens another one on the same client, as a person would who tries again."""

import sys
import threading
import time

from jumpstarter.common.utils import env


def say(text):
    print(text, flush=True)


def keep_sending(stream, stop):
    # Does not wait for answers: the client's forwarding closes its local side only when it has something to send into
    # a tunnel that is gone, so one who waits for an answer that was lost with the router would wait for ever.
    try:
        while not stop.is_set():
            stream.send(b"tick")
            time.sleep(0.05)
    except Exception:
        pass  # The reader says so.


with env() as client:
    broken_at = last = time.monotonic()
    stop = threading.Event()
    try:
        with client.echo.stream() as stream:
            stream.send(b"before")
            stream.receive()
            say("holding")
            sender = threading.Thread(target=keep_sending, args=(stream, stop), daemon=True)
            sender.start()
            while True:
                last = time.monotonic()
                stream.receive()
    except Exception as error:
        broken_at = time.monotonic()
        stop.set()
        say(f"broken {broken_at - last:.2f} s after its last good exchange: {type(error).__name__}")
    while True:
        try:
            with client.echo.stream() as stream:
                stream.send(b"after")
                assert stream.receive() == b"after"
            break
        except Exception as error:
            if time.monotonic() - broken_at > 45:
                say(f"never again: {error!r}")
                sys.exit(1)
            time.sleep(0.2)
    say(f"again after {time.monotonic() - broken_at:.2f} s")
    client.power.on()
    say("power on")

"""Uses a stream until it breaks, then opens another one on the same client, as a person would who tries again."""

import sys
import time

from jumpstarter.common.utils import env


def say(text):
    print(text, flush=True)


def exchange(stream, text):
    stream.send(text)
    assert stream.receive() == text


with env() as client:
    broken_at = None
    try:
        with client.echo.stream() as stream:
            exchange(stream, b"before")
            say("holding")
            while True:
                last = time.monotonic()
                exchange(stream, b"tick")
                time.sleep(0.05)
    except Exception as error:
        broken_at = time.monotonic()
        say(f"broken {broken_at - last:.2f} s after its last good exchange: {type(error).__name__}")
    while True:
        try:
            with client.echo.stream() as stream:
                exchange(stream, b"after")
            break
        except Exception as error:
            if time.monotonic() - broken_at > 45:
                say(f"never again: {error!r}")
                sys.exit(1)
            time.sleep(0.2)
    say(f"again after {time.monotonic() - broken_at:.2f} s")
    client.power.on()
    say("power on")

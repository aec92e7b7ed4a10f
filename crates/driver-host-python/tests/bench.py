"""A driver of the tests: one method for each thing that can happen."""
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from anyio import create_memory_object_stream
from anyio.streams.stapled import StapledObjectStream
from jumpstarter.driver import Driver, export, exportstream
from jumpstarter_driver_power.driver import MockPower


@dataclass(kw_only=True)
class Bench(Driver):
    note: str = ""
    close_file: str = ""
    fresh: int = field(init=False, default=0)

    def __post_init__(self):
        super().__post_init__()
        if self.note == "refuse":
            raise ValueError("this note is refused")
        print("printed by a driver", flush=True)
        self.children["made"] = MockPower()

    @classmethod
    def client(cls):
        return "bench.client.BenchClient"

    def extra_labels(self):
        return {"bench": "yes"}

    @export
    def echo(self, *args):
        self.logger.info("echo %d", len(args))
        return [list(args), self.note]

    @export
    def count(self):
        self.fresh += 1
        return self.fresh

    @export
    async def calls(self, name):
        return [method for method in ("off", "on") if callable(getattr(self.children[name], method, None))]

    @export
    def fail(self, kind):
        raise {"value": ValueError, "missing": NotImplementedError, "late": TimeoutError}[kind]("because")

    @export
    async def numbers(self, count):
        for n in range(int(count)):
            yield n
        raise ValueError("no more numbers")

    @export
    async def size(self, handle):
        total = 0
        async with self.resource(handle) as source:
            async for chunk in source:
                total += len(chunk)
        return total

    @export
    def strange(self):
        return object()

    @export
    def shout(self, size):
        self.logger.warning("\x1b]0;mine\x07" + "x" * int(size))
        print("\x1b[2J" + "y" * int(size), flush=True)
        self.logger.warning("quiet again")

    @export
    def die(self):
        os._exit(3)

    @exportstream
    @asynccontextmanager
    async def connect(self):
        tx, rx = create_memory_object_stream[bytes](32)
        async with StapledObjectStream(tx, rx) as stream:
            yield stream

    def close(self):
        if self.note == "hang":
            time.sleep(3600)
        if self.close_file:
            with open(self.close_file, "a") as file:
                file.write("closed\n")
        super().close()

    def reset(self):
        self.fresh = 100

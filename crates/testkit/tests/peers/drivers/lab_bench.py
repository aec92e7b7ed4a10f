"""Drivers that only exist in Python, with client classes of the released packages."""

import os

from jumpstarter_driver_network.driver import EchoNetwork
from jumpstarter_driver_opendal.driver import MockFlasher
from jumpstarter_driver_power.common import PowerReading
from jumpstarter_driver_power.driver import MockPower

from jumpstarter.driver import export


class Bench(MockPower):
    @export
    async def on(self):
        raise ValueError("the bench stays off")

    @export
    async def read(self):
        yield PowerReading(voltage=7.0, current=1.0)

    @export
    async def die(self):
        os._exit(3)


class Wire(EchoNetwork):
    pass


class Flasher(MockFlasher):
    pass

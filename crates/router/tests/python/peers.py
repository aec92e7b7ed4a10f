"""Two unmodified Python peers on one router, told on standard input what to do."""

import asyncio
import contextlib
import hashlib
import json
import sys
import time

import grpc
from anyio import EndOfStream
from jumpstarter.streams.router import RouterStream
from jumpstarter_protocol import router_pb2, router_pb2_grpc

# What the released packages set on their channels, but for the balancing.
OPTIONS = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 180_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
]


class Peer:
    def __init__(self, address, ticket, **options):
        self.channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        stub = router_pb2_grpc.RouterServiceStub(self.channel)
        self.call = stub.Stream(metadata=(("authorization", f"Bearer {ticket}"),), **options)
        self.stream = RouterStream(context=self.call)

    async def rest(self):
        """Everything up to the end of the stream."""
        chunks = []
        while True:
            try:
                chunks.append(await self.stream.receive())
            except EndOfStream:
                return b"".join(chunks)

    async def code(self):
        # A peer that has read a goodbye reads no further by itself.
        while await self.call.read() != grpc.aio.EOF:
            pass
        return (await self.call.code()).name


async def bulk(client, exporter):
    async def write(peer, seed):
        digest = hashlib.sha256()
        chunk = hashlib.sha512(seed).digest() * 1024
        for _ in range(512):
            chunk = chunk[1:] + chunk[:1]
            digest.update(chunk)
            await peer.stream.send(chunk)
        await peer.stream.send_eof()
        return digest.hexdigest()

    async def read(peer):
        digest = hashlib.sha256()
        while True:
            try:
                digest.update(await peer.stream.receive())
            except EndOfStream:
                return digest.hexdigest()

    sent_c, sent_e, got_c, got_e = await asyncio.gather(
        write(client, b"c"), write(exporter, b"e"), read(client), read(exporter)
    )
    return {
        "whole": [sent_c == got_e, sent_e == got_c],
        "codes": [await client.code(), await exporter.code()],
    }


async def small(client, exporter):
    async def write():
        for index in range(10_000):
            await client.stream.send(index.to_bytes(4, "big"))
        await client.stream.send_eof()

    _, received = await asyncio.gather(write(), exporter.rest())
    await exporter.stream.send_eof()
    expected = b"".join(index.to_bytes(4, "big") for index in range(10_000))
    return {"whole": [received == expected], "codes": [await client.code(), await exporter.code()]}


async def half_close(client, exporter):
    await client.stream.send(b"question")
    await client.stream.send_eof()
    asked = await exporter.rest()
    await exporter.stream.send(b"answer")
    await exporter.stream.send_eof()
    answered = await client.rest()
    return {
        "whole": [asked == b"question", answered == b"answer"],
        "codes": [await client.code(), await exporter.code()],
    }


async def cancel(client, exporter):
    await client.stream.send(b"x")
    assert await exporter.stream.receive() == b"x"
    started = time.monotonic()
    client.call.cancel()
    rest = await exporter.rest()
    return {"whole": [rest == b""], "codes": [await exporter.code()], "seconds": time.monotonic() - started}


async def close_channel(client, exporter):
    await exporter.stream.send(b"x")
    assert await client.stream.receive() == b"x"
    started = time.monotonic()
    await exporter.channel.close()
    rest = await client.rest()
    return {"whole": [rest == b""], "codes": [await client.code()], "seconds": time.monotonic() - started}


async def early_half_close(client_later, exporter):
    """One side says all that it has to say, and ends, before the other side comes."""
    await exporter.stream.send(b"question")
    await exporter.stream.send_eof()
    client = Peer(*client_later)
    asked = await client.rest()
    await client.stream.send(b"answer")
    await client.stream.send_eof()
    answered = await exporter.rest()
    return {
        "whole": [asked == b"question", answered == b"answer"],
        "codes": [await client.code(), await exporter.code()],
    }


async def compressed(client_later, exporter):
    """Messages that gRPC compresses are refused, by the standard headers; the ticket is good for another try."""
    squeezed = Peer(*client_later, compression=grpc.Compression.Gzip)
    # Refused by the headers, perhaps before the message is written.
    with contextlib.suppress(grpc.aio.AioRpcError):
        await squeezed.call.write(router_pb2.StreamRequest(payload=b"a" * 1000))
    code = await squeezed.call.code()
    spoken = dict(await squeezed.call.initial_metadata()) | dict(await squeezed.call.trailing_metadata())
    client = Peer(*client_later)
    await client.stream.send(b"plain")
    got = await exporter.stream.receive()
    return {"whole": [code == grpc.StatusCode.UNIMPLEMENTED, got == b"plain"], "codes": [], "spoken": str(spoken)}


async def exporter_alone(_, exporter):
    """The client never comes, and the exporter's local server tires of waiting."""
    await exporter.stream.send(b"settings")
    await exporter.stream.send_eof()
    return {"whole": [await exporter.rest() == b""], "codes": [await exporter.code()]}


async def sent_away(_, exporter):
    """The router stops while a half waits: a goodbye, although the status is an error."""
    waiting = asyncio.ensure_future(exporter.rest())
    await exporter.stream.send(b"settings")
    print("waiting", flush=True)
    return {"whole": [await waiting == b""], "codes": []}


async def main():
    request = json.loads(sys.stdin.readline())
    later = request["case"] in ("exporter_alone", "sent_away", "early_half_close", "compressed")
    exporter = Peer(request["address"], request["exporter"])
    client = (request["address"], request["client"]) if later else Peer(request["address"], request["client"])
    for peer in (exporter,) if later else (client, exporter):
        # Let in, so that nothing ends before its partner came.
        await peer.call.initial_metadata()
    result = await asyncio.wait_for(globals()[request["case"]](client, exporter), 60)
    print(json.dumps(result), flush=True)


asyncio.run(main())

"""Talks to the echo server at argv[1]: texts, binary messages of many sizes, pings, many sockets at once, a close code."""
import asyncio
import os
import sys

import websockets


async def talk(address):
    async with websockets.connect(address, max_size=None) as socket:
        for text in ("", "a", "ümlaut €", "x" * 70_000):
            await socket.send(text)
            assert await socket.recv() == text
        for size in (1, 125, 126, 1350, 65_535, 65_536, 3_000_000):
            data = os.urandom(size)
            await socket.send(data)
            assert await socket.recv() == data, size
        await (await socket.ping())


async def close(address):
    async with websockets.connect(address) as socket:
        await socket.send("close 4321")
        try:
            await socket.recv()
        except websockets.ConnectionClosed as closed:
            assert (closed.code, closed.reason) == (4321, "as asked"), closed
        else:
            raise AssertionError("the server did not close")


async def main(address):
    await asyncio.gather(*(talk(address) for _ in range(8)))
    await close(address)
    print("done")


asyncio.run(main(sys.argv[1]))

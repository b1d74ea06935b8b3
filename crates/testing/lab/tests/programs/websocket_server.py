"""Echoes every WebSocket message; closes with a code of its own when asked to."""
import asyncio

import websockets


async def serve(socket):
    async for message in socket:
        if message == "close 4321":
            await socket.close(4321, "as asked")
            return
        await socket.send(message)


async def main():
    async with websockets.serve(serve, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())

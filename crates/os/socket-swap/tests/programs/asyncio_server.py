"""asyncio_server.py SOCKET: answers each line with its length and itself."""
import asyncio
import sys


async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(b"%d %s" % (len(line), line))
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_unix_server(serve, sys.argv[1])
    async with server:
        await server.serve_forever()


asyncio.run(main())

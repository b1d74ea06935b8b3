"""asyncio_client.py SOCKET: eight connections at once, each with lines of many lengths. Prints a digest of the answers."""
import asyncio
import hashlib
import sys


async def talk(number):
    reader, writer = await asyncio.open_unix_connection(sys.argv[1])
    digest = hashlib.sha256()
    for turn in range(60):
        line = b"x" * (turn * turn * 17 % 30000 + number) + b"\n"
        writer.write(line)
        await writer.drain()
        digest.update(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return digest.hexdigest()


async def main():
    for answer in await asyncio.gather(*(talk(number) for number in range(8))):
        print(answer)


asyncio.run(main())

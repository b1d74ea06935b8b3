"""What Python's own libraries make of a connection."""
import asyncio
import hashlib
import http.client
import http.server
import io
import os
import socket
import socketserver
import tempfile
import threading

from harness import exactly, hear, idle, pattern, say, tell, tried


def lines_server(end):
    with end.makefile("rw", encoding="utf-8", newline="\n") as stream:
        for line in stream:
            stream.write(f"{len(line)} {line}")
            stream.flush()
            if line == "last\n":
                break
    end.close()


def lines_client(end):
    stream = end.makefile("rw", encoding="utf-8", newline="\n")
    for line in ("one", "zwölf", "x" * 70_000, "", "last"):
        stream.write(line + "\n")
        stream.flush()
        answer = stream.readline()
        say(len(answer), answer[:20])
    say("end", stream.read())


def buffers_server(end):
    with end.makefile("wb") as stream:
        for number in range(2000):
            stream.write(b"%d\n" % number)
        tried("place", stream.tell)
        tried("seek", stream.seek, 0)
    end.shutdown(socket.SHUT_WR)
    hear()


def buffers_client(end):
    stream = end.makefile("rb", buffering=1000)
    say(stream.readable(), stream.writable(), stream.seekable())
    say(stream.read(10), stream.peek(4)[:4], stream.read1(5))
    space = bytearray(6)
    say(stream.readinto(space), space)
    say(sum(int(line) for line in stream.readlines()[1:]))
    say("end", stream.read(), stream.read1())
    tell()


def raw_server(end):
    raw = end.makefile("rwb", buffering=0)
    say(raw.read(5), raw.write(b"answer"))
    say("all", raw.readall())
    tell()


def raw_client(end):
    raw = socket.SocketIO(end, "rw")
    say(raw.write(b"hello"))
    pair = io.BufferedRWPair(raw, raw)
    say(pair.read(6))
    end.setblocking(False)
    say("none", raw.read(1), raw.readinto(bytearray(1)))
    end.setblocking(True)
    end.sendall(b"rest" * 100)
    end.shutdown(socket.SHUT_WR)
    hear()


def by_number_server(end):
    hear()
    with os.fdopen(os.dup(end.fileno()), "rb") as stream:
        say(stream.readline(), stream.readline())
    end.sendall(b"!")
    hear()


def by_number_client(end):
    end.sendall(b"one\ntwo\n")
    tell()
    say(end.recv(1))
    tell()


def web_server(end):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = hashlib.sha256(body).hexdigest().encode() * 50
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words):
            pass

        def address_string(self):
            return "a client"

    Handler(end, "a client", None)
    say("served")


def web_client(end):
    asker = http.client.HTTPConnection("x")
    asker.sock = end
    for turn in range(12):
        asker.request("POST", "/", pattern(turn * 9000, turn))
        answer = asker.getresponse()
        say(answer.status, hashlib.sha256(answer.read()).hexdigest())
    asker.close()


def handler_server(end):
    class Handler(socketserver.StreamRequestHandler):
        timeout = 5

        def handle(self):
            for line in self.rfile:
                self.wfile.write(line.upper())

    Handler(end, "a client", None)
    tell()


def handler_client(end):
    end.sendall(b"one\ntwo\n" * 500)
    end.shutdown(socket.SHUT_WR)
    say(exactly(end, 4000) == b"ONE\nTWO\n" * 500)
    hear()


def streams_server(end):
    async def serve():
        reader, writer = await asyncio.open_unix_connection(sock=end)
        while line := await reader.readline():
            writer.write(b"%d %s" % (len(line), line))
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    asyncio.run(serve())


def streams_client(end):
    async def ask():
        reader, writer = await asyncio.open_unix_connection(sock=end)
        for turn in range(40):
            writer.write(b"x" * (turn * turn * 37 % 50_000) + b"\n")
            say(len(await reader.readline()))
        try:
            await asyncio.wait_for(reader.read(1), 0.05)
        except asyncio.TimeoutError:
            say("in time")
        writer.write_eof()
        say("end", await reader.read())

    asyncio.run(ask())


def loop_calls_server(end):
    async def serve():
        loop = asyncio.get_running_loop()
        end.setblocking(False)
        got = b""
        while len(got) < 300_000:
            got += await loop.sock_recv(end, 65536)
        await loop.sock_sendall(end, hashlib.sha256(got).hexdigest().encode())
        with tempfile.TemporaryFile() as file:
            file.write(pattern(200_000, 3))
            file.flush()
            say(await loop.sock_sendfile(end, file))

    asyncio.run(serve())
    hear()


def loop_calls_client(end):
    async def ask():
        loop = asyncio.get_running_loop()
        end.setblocking(False)
        await loop.sock_sendall(end, pattern(300_000, 8))
        space = bytearray(64)
        say(await loop.sock_recv_into(end, space), space == hashlib.sha256(pattern(300_000, 8)).hexdigest().encode())
        got = b""
        while len(got) < 200_000:
            got += await loop.sock_recv(end, 65536)
        say(got == pattern(200_000, 3))

    asyncio.run(ask())
    tell()


def watched_by_a_loop_server(end):
    for turn in range(100):
        end.sendall(b"%03d" % turn)
        assert end.recv(1) == b"."
    end.close()


def watched_by_a_loop_client(end):
    async def watch():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        seen = []

        def readable():
            piece = end.recv(3)
            if not piece:
                loop.remove_reader(end)
                done.set_result(None)
                return
            seen.append(int(piece))
            end.send(b".")

        end.setblocking(False)
        loop.add_reader(end, readable)
        await done
        say(seen == list(range(100)))

    asyncio.run(watch())


def pair_server(end):
    idle(end)


def pair_client(end):
    own, other = socket.socketpair()
    for turn in range(100):
        own.sendall(bytes([turn]) * 1000)
        assert exactly(other, 1000) == bytes([turn]) * 1000
    reader = threading.Thread(target=lambda: say("all", len(exactly(other, 1_000_000))))
    reader.start()
    own.sendall(bytes(1_000_000))
    reader.join()
    own.close()
    tried("end", other.recv, 1)
    tell()

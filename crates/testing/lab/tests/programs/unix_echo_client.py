"""Sends messages to an echo server through a unix socket, and compares what comes back.

unix_echo_client.py PATH SEED COUNT WAY. Messages are of many sizes behind some large ones; with the WAY `small` all are small, and with
`small-large-small` those of the middle third are large. With `hand-over` the program replaces itself in the middle, while an answer is
on its way, by one that goes on with the same connection.
"""
import os, random, socket, sys


# A connection is swapped for its large messages.
LARGE_FIRST = 40


def message(seed, number):
    numbers = random.Random(seed * 1_000_003 + number)
    size = numbers.choice([1, 64, 1_000, 4_096, 30_000, 150_000])
    if way.startswith("small"):
        size = 16_000 if way != "small" and number * 3 // count == 1 else 64
    elif number < LARGE_FIRST:
        size = 30_000
    return numbers.randbytes(size)


def receive(connection, wanted):
    got = bytearray()
    while len(got) < len(wanted):
        part = connection.recv(min(len(wanted) - len(got), 65_536))
        if not part:
            sys.exit(f"the connection ended after {len(got)} bytes of an answer")
        got += part
    if got != wanted:
        sys.exit("an answer has other bytes")


def main():
    first = 0
    if way == "go-on":
        connection = socket.socket(fileno=int(place))
        first = count // 2
        receive(connection, message(seed, first))
        first += 1
    else:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(place)
    for number in range(first, count):
        bytes_ = message(seed, number)
        connection.sendall(bytes_)
        if way == "hand-over" and number == count // 2:
            connection.set_inheritable(True)
            os.execv(sys.executable, [sys.executable, sys.argv[0], str(connection.fileno()), sys.argv[2], sys.argv[3], "go-on"])
        receive(connection, bytes_)
    connection.shutdown(socket.SHUT_WR)
    if connection.recv(1):
        sys.exit("bytes behind the last answer")
    print("all answers are right")


place, seed, count, way = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
main()

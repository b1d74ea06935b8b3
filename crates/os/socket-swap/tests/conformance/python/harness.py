"""What the cases share: a settled connection, a way to take turns, and a record of what was seen."""
import errno
import os
import signal
import socket
import time

record = []
path = ""
to_other = from_other = -1


def say(*words):
    """Appends one observation. Only what a plain socket promises belongs here, so no amounts that depend on buffers."""
    record.append(" ".join(str(word) for word in words).replace(path, "PATH"))


def tried(what, call, *words, **named):
    """Says what a call gave, or its error, and returns it."""
    try:
        value = call(*words, **named)
    except (OSError, ValueError) as error:
        code = getattr(error, "errno", None)
        say(what, type(error).__name__, errno.errorcode.get(code, code))
        return None
    say(what, value)
    return value


def tell():
    os.write(to_other, b"t")


def hear():
    """Goes on when the other side has called tell() as often as this side has called hear()."""
    assert os.read(from_other, 1) == b"t"


def exactly(end, count):
    """Receives `count` bytes, or what comes before the end."""
    got = bytearray()
    while len(got) < count:
        piece = end.recv(count - len(got))
        if not piece:
            break
        got += piece
    return bytes(got)


def settle(end, is_first):
    """Exchanges single bytes until a pair that can be swapped has been."""
    for turn in range(200):
        byte = bytes([turn])
        if is_first:
            end.sendall(byte)
        assert end.recv(1) == byte
        if not is_first:
            end.sendall(byte)


def pattern(length, seed):
    """Bytes that tell where they belong."""
    return bytes((index * 131 + index // 251 * 17 + seed) & 255 for index in range(length))


def interrupt_after(seconds, handler):
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def keep_limit():
    """After a case has used the alarm for itself."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(60)


def idle(end):
    """A side that only waits for the other one."""
    hear()


def answers(*pieces):
    """A side that sends one piece for each tell(), and then waits."""

    def side(end):
        for piece in pieces:
            hear()
            time.sleep(0.03)
            end.sendall(piece)
        hear()

    return side


def play(is_server, case, at):
    """Runs one side of a case, and prints what it saw."""
    global path, to_other, from_other
    path = at
    signal.alarm(60)
    # Some cases give their output another place.
    out = os.dup(1)
    # Read and write at once, so that opening waits for nobody and the end of one side is no end of the pipe.
    pipes = [os.open(f"{at}.{name}", os.O_RDWR | os.O_CLOEXEC) for name in ("up", "down")]
    from_other, to_other = pipes if is_server else reversed(pipes)
    if is_server:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(at)
        listener.listen(8)
        end, _ = listener.accept()
    else:
        for _ in range(3000):
            end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            if end.connect_ex(at) == 0:
                break
            end.close()
            time.sleep(0.01)
    settle(end, not is_server)
    try:
        case[0 if is_server else 1](end)
    except BaseException as error:  # Whatever a side ends with is what it saw.
        say("ended with", repr(error))
    os.write(out, "\n".join([*record, ""]).encode())

"""Ends of connections, and calls that must fail as the kernel makes them fail."""
import os
import signal
import socket
import time

from harness import exactly, hear, idle, say, tell, tried


def shut_each_way_server(end):
    end.sendall(b"bye")
    tried("shut", end.shutdown, socket.SHUT_WR)
    tried("send", end.send, b"x")
    say(exactly(end, 5))
    tried("end", end.recv, 1)
    tried("shut again", end.shutdown, socket.SHUT_RDWR)
    tell()


def shut_each_way_client(end):
    say(exactly(end, 3))
    tried("end", end.recv, 1)
    tried("send", end.send, b"still")
    tried("shut", end.shutdown, socket.SHUT_RD)
    tried("recv", end.recv, 1)
    tried("wrong", end.shutdown, 7)
    end.close()
    hear()


def shut_reading_server(end):
    tried("shut", end.shutdown, socket.SHUT_RD)
    tell()
    hear()
    tried("recv", end.recv, 10)
    tried("send", end.send, b"still")
    tell()
    hear()


def shut_reading_client(end):
    hear()
    tried("send", end.send, b"x")
    tell()
    hear()
    tried("recv", end.recv, 10)
    tell()


def peer_closes_server(end):
    end.sendall(b"last")
    end.close()
    tell()


def peer_closes_client(end):
    hear()
    tried("send", end.send, b"x")
    tried("send without a signal", end.send, b"x", socket.MSG_NOSIGNAL)
    tried("sendmsg", end.sendmsg, [b"x", b"y"])
    tried("write", os.write, end.fileno(), b"x")
    say(exactly(end, 4))
    tried("end", end.recv, 1)
    tried("peer", end.getpeername)
    tried("error", end.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)


def unread_at_close_server(end):
    hear()
    end.close()
    tell()


def unread_at_close_client(end):
    end.sendall(b"never read")
    tell()
    hear()
    tried("recv", end.recv, 1)
    tried("recv", end.recv, 1)
    tried("send", end.send, b"x")


def killed_by_the_signal_server(end):
    end.close()
    tell()


def killed_by_the_signal_client(end):
    hear()
    for call in (lambda: end.send(b"x"), lambda: os.write(end.fileno(), b"x"), lambda: end.sendmsg([b"x"])):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            call()
            os._exit(3)
        say("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def signal_caught_server(end):
    end.close()
    tell()


def signal_caught_client(end):
    seen = []
    signal.signal(signal.SIGPIPE, lambda number, frame: seen.append(number))
    hear()
    tried("send", end.send, b"x")
    say("signals", len(seen))
    tried("send", end.send, b"x", socket.MSG_NOSIGNAL)
    say("signals", len(seen))


def after_close_server(end):
    say("end", end.recv(1))


def after_close_client(end):
    fd = end.fileno()
    with end:
        pass
    for what, call in (("recv", lambda: end.recv(1)), ("send", lambda: end.send(b"x")), ("peer", end.getpeername),
                       ("read", lambda: os.read(fd, 1)), ("write", lambda: os.write(fd, b"x")),
                       ("stat", lambda: os.fstat(fd)), ("shut", lambda: end.shutdown(socket.SHUT_WR)),
                       ("dup", lambda: os.dup(fd)), ("file", end.fileno)):
        tried(what, call)


def detached_server(end):
    say(exactly(end, 8))
    end.sendall(b"answer")
    say("end", end.recv(1))


def detached_client(end):
    fd = end.detach()
    say("number", end.fileno())
    tried("recv", end.recv, 1)
    os.write(fd, b"by a num")
    say(os.read(fd, 6))
    again = socket.socket(fileno=fd)
    say(again.family, again.type)
    again.close()


def wrong_calls_server(end):
    idle(end)


def wrong_calls_client(end):
    tried("connect", end.connect, "/nowhere")
    tried("code", end.connect_ex, "/nowhere")
    tried("listen", end.listen, 1)
    tried("accept", end.accept)
    tried("bind", end.bind, "\0hushwire-conformance-%d" % os.getpid())
    tried("bind again", end.bind, "\0hushwire-conformance-again-%d" % os.getpid())
    other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    tried("nowhere", other.connect, "/nowhere")
    tried("no socket", other.connect, "/dev/null")
    tried("unconnected", other.send, b"x")
    tried("unconnected", other.recv, 1)
    tried("unconnected", other.getpeername)
    tried("unconnected", other.shutdown, socket.SHUT_WR)
    tried("taken", other.bind, end.getpeername())
    tried("long", other.bind, "/" + "x" * 200)
    tried("kind", socket.socket, socket.AF_UNIX, socket.SOCK_RDM)
    tell()


def listeners_server(end):
    hear()


def listeners_client(end):
    name = "\0hushwire-conformance-%d" % os.getpid()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    tried("not yet", listener.accept)
    listener.bind(name)
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    tried("refused", caller.connect, name)
    listener.listen(0)
    listener.settimeout(0.05)
    tried("in time", listener.accept)
    listener.setblocking(False)
    tried("now", listener.accept)
    tried("connected", caller.connect, name)
    listener.setblocking(True)
    accepted, _ = listener.accept()
    say("blocks", accepted.getblocking(), "inherits", accepted.get_inheritable())
    tried("of a listener", listener.recv, 1)
    tried("of a listener", listener.send, b"x")
    for turn in range(60):
        caller.sendall(bytes([turn]))
        assert accepted.recv(1) == bytes([turn])
        accepted.sendall(bytes([turn]))
        assert caller.recv(1) == bytes([turn])
    listener.close()
    tried("still", caller.sendall, b"there")
    say(exactly(accepted, 5))
    accepted.close()
    say("end", caller.recv(1))
    tell()


def killed_peer_server(end):
    tried("recv", end.recv, 1)
    tried("again", end.recv, 1)


def killed_peer_client(end):
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


def both_closed_server(end):
    end.sendall(b"one")
    say("end", exactly(end, 4))


def both_closed_client(end):
    say(exactly(end, 3))
    copy = end.dup()
    end.close()
    tried("by the copy", copy.sendall, b"four")
    copy.close()

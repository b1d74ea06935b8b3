"""Readiness, time limits and signals."""
import os
import select
import selectors
import signal
import socket
import struct
import threading
import time

from harness import answers, exactly, hear, idle, interrupt_after, keep_limit, say, tell, tried

NOW = socket.MSG_DONTWAIT


def fill_up(end):
    """Sends until no more goes in; returns how much did."""
    end.setblocking(False)
    total = 0
    while True:
        try:
            total += end.send(b"x" * 70_000)
        except BlockingIOError:
            return total


def drain(end):
    end.setblocking(False)
    total = 0
    while True:
        try:
            total += len(end.recv(1 << 20))
        except BlockingIOError:
            end.setblocking(True)
            return total


limits_server = answers(b"late")


def limits_client(end):
    end.settimeout(0.06)
    before = time.monotonic()
    tried("recv", end.recv, 1)
    say("in time", 0.05 < time.monotonic() - before < 3)
    tried("recv_into", end.recv_into, bytearray(1))
    tried("recvmsg", end.recvmsg, 1)
    end.settimeout(5)
    tell()
    tried("recv", end.recv, 10)
    end.settimeout(0)
    tried("now", end.recv, 1)
    end.settimeout(None)
    say(end.gettimeout())
    tried("negative", end.settimeout, -1)
    end.setblocking(False)
    tried("now", end.recv, 1)
    tried("now", os.read, end.fileno(), 1)
    tell()


kernel_limits_server = answers(b"a", b"b")


def kernel_limits_client(end):
    limit = struct.pack("ll", 0, 60_000)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    say(end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == limit)
    before = time.monotonic()
    tried("recv", end.recv, 1)
    tried("read", os.read, end.fileno(), 1)
    took = time.monotonic() - before
    say("in time", 0.1 < took < 5)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    for _ in range(2):
        tell()
        tried("recv", end.recv, 1)
    tell()


def full_server(end):
    total = fill_up(end)
    say("some", total > 0)
    say("writable", select.select([], [end], [], 0.03)[1] == [end])
    tell()
    say("writable", select.select([], [end], [], 5)[1] == [end])
    end.setblocking(True)
    hear()
    end.sendall(struct.pack("q", total))
    hear()


def full_client(end):
    hear()
    total = drain(end)
    tell()
    time.sleep(0.03)
    tell()
    sent = struct.unpack("q", exactly(end, 8))[0]
    say("all", sent == total)
    tell()


def send_limit_server(end):
    fill_up(end)
    end.settimeout(0.06)
    tried("send", end.send, b"x")
    end.settimeout(None)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 60_000))
    tried("send", end.send, b"x")
    tried("sendall", end.sendall, b"x")
    tell()
    hear()


def send_limit_client(end):
    hear()
    say("some", drain(end) > 0)
    tell()


selects_server = answers(b"ab", b"c")


def selects_client(end):
    ends = os.pipe()
    both = [end, ends[0]]
    say("nothing", select.select(both, [], both, 0) == ([], [], []))
    say("writable", select.select([], [end], [], 0) == ([], [end], []))
    os.write(ends[1], b"p")
    say("pipe", select.select(both, [], [], 5)[0] == [ends[0]])
    tell()
    os.read(ends[0], 1)
    say("end", select.select(both, [], [], 5)[0] == [end])
    tried("recv", end.recv, 1)
    say("still", select.select(both, [end], [], 0) == ([end], [end], []))
    tried("recv", end.recv, 1)
    say("no more", select.select(both, [], [], 0.01)[0])
    tell()
    say("end", select.select(both, [], [])[0] == [end])
    tried("recv", end.recv, 5)
    tell()


def finder(waiter, end):
    """Asks a poll object or an epoll set: whether each piece of news is about `end`, and what it is."""
    number = end.fileno()
    return lambda limit: [(fd == number, event) for fd, event in waiter.poll(limit)]


polls_server = answers(b"ab", b"c")


def polls_client(end):
    poll = select.poll()
    poll.register(end, select.POLLIN | select.POLLOUT | select.POLLPRI)
    found = finder(poll, end)
    say("room", found(0))
    poll.modify(end, select.POLLIN)
    say("nothing", found(20))
    tell()
    say("news", found(5000))
    tried("recv", end.recv, 1)
    say("level", found(0))
    tried("recv", end.recv, 1)
    say("none", found(0))
    tell()
    say("news", found(None))
    poll.unregister(end)
    say("left", found(0))
    tried("recv", end.recv, 1)
    tell()


def hang_up_server(end):
    hear()
    end.shutdown(socket.SHUT_WR)
    hear()
    end.close()
    tell()


def hang_up_client(end):
    wanted = select.POLLIN | select.POLLOUT | select.POLLRDHUP
    poll = select.poll()
    poll.register(end, wanted)
    epoll = select.epoll()
    epoll.register(end, select.EPOLLIN | select.EPOLLRDHUP)
    say(poll.poll(0)[0][1], epoll.poll(0))
    tell()
    poll.modify(end, select.POLLIN | select.POLLRDHUP)
    say(poll.poll(5000)[0][1], epoll.poll(5)[0][1])
    tell()
    hear()
    say(poll.poll(5000)[0][1], epoll.poll(5)[0][1])
    tried("recv", end.recv, 1)


epolls_server = answers(b"ab", b"cd", b"ef", b"gh")


def epolls_client(end):
    epoll = select.epoll()
    found = finder(epoll, end)
    epoll.register(end, select.EPOLLIN)
    tried("twice", epoll.register, end, select.EPOLLIN)
    say("nothing", found(0.01))
    tell()
    say("level", found(5))
    tried("recv", end.recv, 1)
    say("level", found(0))
    tried("recv", end.recv, 1)
    say("drained", found(0))
    epoll.modify(end, select.EPOLLIN | select.EPOLLONESHOT)
    tell()
    say("once", found(5), found(0.01))
    tried("recv", end.recv, 1)
    epoll.modify(end, select.EPOLLIN | select.EPOLLONESHOT)
    say("again", found(5), found(0))
    tried("recv", end.recv, 1)
    epoll.modify(end, select.EPOLLIN | select.EPOLLOUT)
    say("room", found(0))
    tell()
    epoll.modify(end, select.EPOLLIN)
    say("both", found(5))
    tried("recv", end.recv, 5)
    epoll.unregister(end)
    tried("gone", epoll.unregister, end)
    tell()
    say("none", found(0.06))
    tried("recv", end.recv, 5)
    tell()


edges_server = answers(b"ab", b"cd")


def edges_client(end):
    epoll = select.epoll()
    end.setblocking(False)
    epoll.register(end, select.EPOLLIN | select.EPOLLET)
    for _ in range(2):
        tell()
        say("edge", len(epoll.poll(5)))
        got = b""
        while len(got) < 2:
            # Data may be told of twice, so all is taken until there is no more.
            try:
                got += end.recv(1)
            except BlockingIOError:
                epoll.poll(5)
        say(got)
        tried("drained", end.recv, 1)
    tell()


selectors_server = answers(b"abc", b"d")


def selectors_client(end):
    for kind in (selectors.EpollSelector, selectors.PollSelector, selectors.SelectSelector):
        with kind() as chosen:
            key = chosen.register(end, selectors.EVENT_READ | selectors.EVENT_WRITE, "data")
            say(kind.__name__, [(k.data, e) for k, e in chosen.select(0)])
            chosen.modify(end, selectors.EVENT_READ, "other")
            if kind is selectors.EpollSelector:
                say("nothing", chosen.select(0.01))
                tell()
            say([(k.data, e) for k, e in chosen.select(5)], key.fd == end.fileno())
            tried("recv", end.recv, 1)
    tell()
    tried("recv", end.recv, 5)
    tell()


signals_go_on_server = answers(b"x")


def signals_go_on_client(end):
    seen = []

    def handler(number, frame):
        seen.append(number)
        tell()

    interrupt_after(0.15, handler)
    # The call goes on after the signal.
    tried("recv", end.recv, 1)
    say("signals", len(seen))
    keep_limit()
    tell()


def signal_ends_a_call_server(end):
    hear()
    end.sendall(b"still whole")
    hear()


def signal_ends_a_call_client(end):
    def handler(number, frame):
        raise ValueError("from the handler")

    for what, call in (("recv", lambda: end.recv(1)), ("read", lambda: os.read(end.fileno(), 1)),
                       ("select", lambda: select.select([end], [], [])), ("recv_into", lambda: end.recv_into(bytearray(4)))):
        interrupt_after(0.15, handler)
        tried(what, call)
    keep_limit()
    tell()
    say(exactly(end, 11))
    tell()


def wakeup_descriptor_server(end):
    say(end.recv(1) == bytes([signal.SIGUSR1]))
    hear()


def wakeup_descriptor_client(end):
    end.setblocking(False)
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.set_wakeup_fd(end.fileno())
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.set_wakeup_fd(-1)
    tell()


def threads_wait_server(end):
    for _ in range(300):
        byte = end.recv(1)
        end.sendall(byte)
    hear()


def threads_wait_client(end):
    turn = threading.Lock()
    got = []

    def exchange():
        for _ in range(100):
            with turn:
                end.sendall(b"t")
                got.append(end.recv(1))

    threads = [threading.Thread(target=exchange) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(len(got), set(got))
    tell()


def shut_wakes_a_reader_server(end):
    idle(end)


def shut_wakes_a_reader_client(end):
    seen = []
    reader = threading.Thread(target=lambda: seen.append(end.recv(1)))
    reader.start()
    time.sleep(0.1)
    end.shutdown(socket.SHUT_RD)
    reader.join(5)
    say(seen, reader.is_alive())
    tried("send", end.send, b"x")
    tell()

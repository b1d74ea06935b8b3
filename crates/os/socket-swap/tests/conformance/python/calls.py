"""Every call of Python's that sends, receives, or asks."""
import array
import fcntl
import hashlib
import os
import socket
import struct
import tempfile
import termios
import threading

from harness import answers, exactly, hear, idle, pattern, say, tell, tried

HERE, NOW, ALL = socket.MSG_PEEK, socket.MSG_DONTWAIT, socket.MSG_WAITALL


def names_server(end):
    say(end.family, end.type, end.proto, end.gettimeout(), end.getblocking())
    say("own", end.getsockname(), "peer", end.getpeername())
    hear()


def names_client(end):
    say(end.family, end.type, end.proto, end.get_inheritable())
    say("own", end.getsockname(), "peer", end.getpeername())
    tell()


def send_forms_server(end):
    tried("send", end.send, b"one")
    tried("sendall", end.sendall, bytearray(b"two"))
    tried("sendall", end.sendall, array.array("H", [25185, 25699]))
    tried("view", end.send, memoryview(b"..abc..")[2:5])
    tried("sendto", end.sendto, b"x", "/nowhere")
    tried("flags and address", end.sendto, b"x", NOW, "/nowhere")
    tried("sendmsg", end.sendmsg, [b"three", b"", b"four"])
    tried("sendmsg with flags", end.sendmsg, [b"five"], [], socket.MSG_NOSIGNAL)
    tried("sendmsg with address", end.sendmsg, [b"six"], [], 0, "/nowhere")
    tried("nothing", end.send, b"")
    tried("no parts", end.sendmsg, [])
    tried("writev", os.writev, end.fileno(), [b"se", b"ven"])
    tried("write", os.write, end.fileno(), b"eight")
    for flag in ("MSG_MORE", "MSG_EOR", "MSG_DONTROUTE", "MSG_CONFIRM", "MSG_NOSIGNAL"):
        tried(flag, end.send, b"f", getattr(socket, flag))
    tell()
    hear()


def send_forms_client(end):
    hear()
    say(exactly(end, 41))
    tried("more", end.recv, 100, NOW)
    tell()


def receive_forms_server(end):
    for piece in (b"abcdefgh", b"ijkl", b"mnop", b"qrst", b"uvwx", b"yz", b"0123456789"):
        end.sendall(piece)
        tell()
        hear()


def receive_forms_client(end):
    hear()
    tried("recv", end.recv, 3)
    space = bytearray(8)
    tried("recv_into", end.recv_into, space, 2)
    tried("recv_into", end.recv_into, memoryview(space)[4:], 3)
    say(space)
    tell()
    hear()
    tried("recvfrom", end.recvfrom, 100)
    tell()
    hear()
    tried("recvfrom_into", end.recvfrom_into, space)
    say(space)
    tell()
    hear()
    tried("recvmsg", end.recvmsg, 3)
    tried("recvmsg", end.recvmsg, 3, 100)
    tell()
    hear()
    parts = [bytearray(1), bytearray(0), bytearray(9)]
    tried("recvmsg_into", end.recvmsg_into, parts)
    say(parts)
    tell()
    hear()
    tried("read", os.read, end.fileno(), 100)
    tell()
    hear()
    parts = [bytearray(4), bytearray(4), bytearray(4)]
    tried("readv", os.readv, end.fileno(), parts)
    say(parts)
    tried("nothing wanted", end.recv, 0)
    tell()


def flags_server(end):
    end.sendall(b"abcdef")
    hear()
    for piece in (b"gh", b"ij", b"kl"):
        end.sendall(piece)
    hear()
    end.sendall(b"mn")
    end.shutdown(socket.SHUT_WR)
    hear()


def flags_client(end):
    tried("peek", end.recv, 3, HERE | ALL)
    tried("peek all", end.recv, 6, HERE | ALL)
    tried("trunc", end.recv, 2, socket.MSG_TRUNC)
    tried("rest", end.recv, 100)
    tried("nothing", end.recv, 1, NOW)
    tried("nothing to peek", end.recv, 1, NOW | HERE)
    tried("nothing at all", end.recvmsg, 10, 0, NOW)
    tell()
    tried("all", end.recv, 6, ALL)
    tell()
    tried("all at the end", end.recv, 6, ALL)
    tried("end", end.recv, 1, HERE)
    tried("end", end.recv, 1)
    tell()


def big_both_ways_server(end):
    both_ways(end, 3, 5)


def big_both_ways_client(end):
    both_ways(end, 5, 3)


def both_ways(end, own, others):
    out = pattern(1_500_000, own)
    sender = threading.Thread(target=end.sendall, args=(out,))
    sender.start()
    got = exactly(end, len(out))
    sender.join()
    say(len(got), got == pattern(len(out), others))


def options_server(end):
    look_at_options(end)
    hear()


def options_client(end):
    look_at_options(end)
    tell()


def look_at_options(end):
    for name in ("TYPE", "DOMAIN", "PROTOCOL", "ERROR", "ACCEPTCONN", "BROADCAST", "KEEPALIVE", "REUSEADDR", "PRIORITY",
                 "OOBINLINE", "PASSCRED", "MARK"):
        tried(name, end.getsockopt, socket.SOL_SOCKET, getattr(socket, "SO_" + name))
    for name in ("SNDBUF", "RCVBUF"):
        number = getattr(socket, "SO_" + name)
        tried("set", end.setsockopt, socket.SOL_SOCKET, number, 50_000)
        tried(name, end.getsockopt, socket.SOL_SOCKET, number)
    linger = struct.pack("ii", 1, 3)
    tried("set", end.setsockopt, socket.SOL_SOCKET, socket.SO_LINGER, linger)
    tried("linger", end.getsockopt, socket.SOL_SOCKET, socket.SO_LINGER, 8)
    tried("short", end.getsockopt, socket.SOL_SOCKET, socket.SO_LINGER, 2)
    credentials = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, user, group = struct.unpack("iii", credentials)
    say("peer", user == os.getuid(), group == os.getgid())
    tried("no level", end.getsockopt, socket.IPPROTO_TCP, socket.TCP_NODELAY)
    tried("no level", end.setsockopt, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tried("no option", end.getsockopt, socket.SOL_SOCKET, 9999)
    tried("no option", end.setsockopt, socket.SOL_SOCKET, 9999, 1)


def descriptors_server(end):
    hear()
    end.sendall(b"12345")
    tell()
    hear()


def descriptors_client(end):
    fd = end.fileno()
    room = array.array("i", [-1])
    for _ in range(2):
        tried("unread", fcntl.ioctl, fd, termios.FIONREAD, room)
        say(room[0])
        if room[0] == 0:
            tell()
            hear()
    tried("window", fcntl.ioctl, fd, termios.TIOCGWINSZ, b"\0" * 8)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    say("flags", flags & os.O_ACCMODE == os.O_RDWR, flags & os.O_NONBLOCK)
    say("on exec", fcntl.fcntl(fd, fcntl.F_GETFD))
    tried("set", fcntl.fcntl, fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    say(exactly(end, 5))
    tried("empty", os.read, fd, 1)
    off = array.array("i", [0])
    tried("off", fcntl.ioctl, fd, termios.FIONBIO, off)
    say("flags", fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK)
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 300)
    say("copy", high >= 300)
    tried("by the copy", os.write, high, b"x")
    tried("closed", os.close, high)
    tried("closed again", os.close, high)
    say("terminal", os.isatty(fd), "kind", oct(os.fstat(fd).st_mode), "size", os.fstat(fd).st_size)
    tell()


def wrong_for_a_socket_server(end):
    idle(end)


def wrong_for_a_socket_client(end):
    fd = end.fileno()
    tried("pread", os.pread, fd, 1, 0)
    tried("preadv", os.preadv, fd, [bytearray(1)], 0)
    tried("pwrite", os.pwrite, fd, b"x", 0)
    tried("pwritev", os.pwritev, fd, [b"x"], 0)
    tried("lseek", os.lseek, fd, 0, os.SEEK_SET)
    tried("ftruncate", os.ftruncate, fd, 0)
    tried("fsync", os.fsync, fd)
    tried("advice", os.posix_fadvise, fd, 0, 0, os.POSIX_FADV_NORMAL)
    tried("allocate", os.posix_fallocate, fd, 0, 1)
    tried("open", os.open, f"/proc/self/fd/{fd}", os.O_RDONLY)
    tried("folder", os.listdir, fd)
    tried("go there", os.fchdir, fd)
    with tempfile.TemporaryFile() as file:
        tried("copy", os.copy_file_range, fd, file.fileno(), 1)
        tried("from the socket", os.sendfile, file.fileno(), fd, None, 1)
    tell()


def files_into_it_server(end):
    content = pattern(200_000, 9)
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        end.sendall(b"head")
        done = 0
        while done < len(content):
            done += os.sendfile(end.fileno(), file.fileno(), done, len(content) - done)
        end.sendall(b"middle")
        file.seek(0)
        tried("sendfile of the socket", end.sendfile, file, 10, 150_000)
        end.sendall(b"tail")
    hear()


def files_into_it_client(end):
    digest = hashlib.sha256()
    for length in (4, 200_000, 6, 150_000, 4):
        piece = exactly(end, length)
        digest.update(piece)
        say(length, len(piece), piece[:6])
    say(digest.hexdigest())
    tell()


def splices_server(end):
    ends = os.pipe()
    os.write(ends[1], b"by a pipe")
    end.sendall(b"before ")
    tried("splice in", os.splice, ends[0], end.fileno(), 9)
    end.sendall(b" behind")
    tell()
    hear()


def splices_client(end):
    hear()
    say(exactly(end, 7))
    ends = os.pipe()
    done = 0
    while done < 16:
        done += os.splice(end.fileno(), ends[1], 16 - done)
    say("splice out", done, os.read(ends[0], 100))
    tried("empty", os.splice, end.fileno(), ends[1], 1, flags=2)
    tell()


def passed_descriptors_server(end):
    ends = os.pipe()
    os.write(ends[1], b"in the pipe")
    end.sendall(b"before")
    tried("send", socket.send_fds, end, [b"here"], [ends[0], ends[1]])
    end.sendall(b"behind")
    hear()


def passed_descriptors_client(end):
    say(exactly(end, 6))
    data, fds, flags, _ = socket.recv_fds(end, 100, 4)
    say(data[:4], len(fds), flags)
    rest = data[4:]
    say(rest + exactly(end, 6 - len(rest)))
    say(os.read(fds[0], 100))
    tell()


def itself_passed_server(end):
    own, others = socket.socketpair()
    socket.send_fds(own, [b"f"], [end.fileno()])
    _, fds, _, _ = socket.recv_fds(others, 1, 1)
    copy = socket.socket(fileno=fds[0])
    tried("by the copy", copy.sendall, b"from the copy")
    end.close()
    say(exactly(copy, 6))
    copy.close()
    hear()


def itself_passed_client(end):
    say(exactly(end, 13))
    tried("answer", end.sendall, b"answer")
    say("end", end.recv(1))
    tell()


def urgent_server(end):
    end.sendall(b"abc")
    tried("urgent", end.send, b"u", socket.MSG_OOB)
    end.sendall(b"def")
    tell()
    hear()


def urgent_client(end):
    hear()
    tried("urgent", end.recv, 1, socket.MSG_OOB)
    say(exactly(end, 3))
    say(exactly(end, 3))
    tried("no more", end.recv, 1, NOW)
    tell()


pieces_server = answers(b"a", b"bc", b"def")


def pieces_client(end):
    for count in (1, 2, 3):
        tell()
        tried("recv", end.recv, 10)
        say(count)
    tell()

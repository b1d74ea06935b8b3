"""memcached.py SOCKET: sets and gets over two connections in turn. Prints a digest of all answers."""
import hashlib
import socket
import sys

ends = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
for end in ends:
    end.connect(sys.argv[1])
streams = [bytearray() for _ in ends]


def until(which, mark):
    while mark not in streams[which]:
        got = ends[which].recv(65536)
        if not got:
            raise SystemExit("the server left")
        streams[which] += got
    at = streams[which].index(mark) + len(mark)
    answer = bytes(streams[which][:at])
    del streams[which][:at]
    return answer


digest = hashlib.sha256()
for turn in range(300):
    which = turn % 2
    value = (b"%d " % turn) * (1 + turn * 7 % 900)
    ends[which].sendall(b"set k%d 0 0 %d\r\n%s\r\n" % (turn % 50, len(value), value))
    digest.update(until(which, b"STORED\r\n"))
    ends[1 - which].sendall(b"get k%d k%d\r\n" % (turn % 50, (turn + 25) % 50))
    digest.update(until(1 - which, b"END\r\n"))
# Many at once, answered in order.
ends[0].sendall(b"".join(b"get k%d\r\n" % (turn % 50) for turn in range(400)) + b"version\r\n")
digest.update(until(0, b"VERSION"))
print(digest.hexdigest())

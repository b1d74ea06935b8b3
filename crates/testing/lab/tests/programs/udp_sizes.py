"""Counts the UDP packets on loopback with a port in a range; on SIGTERM it prints `SOURCE DESTINATION PAYLOAD COUNT` lines.

usage: udp_sizes.py FIRST LAST; needs CAP_NET_RAW.
"""

import collections
import signal
import socket
import sys

first, last = int(sys.argv[1]), int(sys.argv[2])
every_protocol = 3
listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(every_protocol))
listener.bind(("lo", 0))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
counts = collections.Counter()


def end(*_):
    for (source, destination, payload), count in counts.items():
        print(source, destination, payload, count)
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
print("listening", flush=True)
while True:
    frame, (_, protocol, direction, *_) = listener.recvfrom(65536)
    # Loopback shows each packet twice; these are the ones that arrive. UDP over IPv4 behind 14 bytes.
    if direction == socket.PACKET_OUTGOING or protocol != 0x0800 or frame[23] != 17:
        continue
    header = 14 + 4 * (frame[14] & 15)
    source, destination, length = (int.from_bytes(frame[header + at : header + at + 2], "big") for at in (0, 2, 4))
    if first <= source <= last or first <= destination <= last:
        counts[source, destination, length - 8] += 1

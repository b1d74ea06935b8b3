"""Notes every UDP packet over IPv4 at an interface; on SIGTERM it prints `NANOSECONDS OUT SOURCE DESTINATION PAYLOAD` lines.

The time is the kernel's, OUT is 1 for packets that leave. usage: udp_times.py INTERFACE; needs CAP_NET_RAW.
"""

import signal
import socket
import struct
import sys

every_protocol, so_timestampns = 3, 35
# Without the header of the link, which not every interface has.
listener = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(every_protocol))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
listener.setsockopt(socket.SOL_SOCKET, so_timestampns, 1)
listener.bind((sys.argv[1], every_protocol))
notes = []


def end(*_):
    sys.stdout.writelines("%d %d %d %d %d\n" % note for note in notes)
    sys.stdout.flush()
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
print("listening", flush=True)
while True:
    packet, about, _, (_, protocol, direction, *_) = listener.recvmsg(64, 64)
    if protocol != 0x0800 or packet[9] != 17:
        continue
    seconds, nanoseconds = struct.unpack("qq", about[0][2][:16])
    source, destination, length = struct.unpack_from("!HHH", packet, 4 * (packet[0] & 15))
    notes.append(
        (seconds * 10**9 + nanoseconds, direction == socket.PACKET_OUTGOING, source, destination, length - 8)
    )

"""Asks the server at argv[2] through the SOCKS5 proxy at argv[1], over UDP: many small questions, and large answers."""
import socket
import sys

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import socks

TRIES = 5


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


proxy, server = address(sys.argv[1]), address(sys.argv[2])


def ask(channel, query):
    # UDP may lose a datagram anywhere; a resolver asks again.
    for _ in range(TRIES):
        try:
            return dns.query.udp(query, server[0], port=server[1], timeout=2, sock=channel)
        except dns.exception.Timeout:
            pass
    raise AssertionError(f"no answer to {query.question[0]}")


def open_channel():
    channel = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.set_proxy(socks.SOCKS5, *proxy, rdns=True)
    channel.bind(("127.0.0.1", 0))
    channel.setblocking(False)
    return channel


channel = open_channel()
for number in range(200):
    answer = ask(channel, dns.message.make_query(f"{number}.example.", "A"))
    assert answer.answer[0][0].address == f"192.0.2.{number % 256}", answer
# Answers that fit one packet of the link, and answers that travel in two: 1, 5, 12 and 20 strings of 100 bytes.
for strings in (1, 5, 12, 20):
    query = dns.message.make_query(f"{strings}.example.", dns.rdatatype.TXT, use_edns=0, payload=4096)
    answer = ask(channel, query)
    assert len(answer.answer[0][0].strings) == strings, answer
    assert all(text == (str(strings) * 100).encode()[:100] for text in answer.answer[0][0].strings), answer
channel.close()
# Several associations side by side do not mix.
channels = [open_channel() for _ in range(8)]
for number, channel in enumerate(channels):
    answer = ask(channel, dns.message.make_query(f"{number}.example.", "A"))
    assert answer.answer[0][0].address == f"192.0.2.{number}"
print("done")

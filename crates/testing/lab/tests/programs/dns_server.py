"""A DNS server on UDP that answers A with an address made of the name, and TXT with as many bytes as the name says."""
import socket

import dns.message
import dns.rdatatype
import dns.rrset

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    wire, client = server.recvfrom(65_535)
    query = dns.message.from_wire(wire)
    question = query.question[0]
    label = question.name.labels[0].decode()
    answer = dns.message.make_response(query)
    if question.rdtype == dns.rdatatype.A:
        text = f"192.0.2.{int(label) % 256}"
        answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", text))
    else:
        strings = " ".join([f'"{(label * 100)[:100]}"'] * int(label))
        answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", strings))
    server.sendto(answer.to_wire(max_size=65_535), client)

#!/usr/bin/env python3
"""Publishes lines to a cluster, or prints what it ordered: pipe.py SOCKET pub TOPIC < lines, or pipe.py SOCKET sub OFFSET.
The protocol is docs/spec/pipe.md; this speaks it in lines."""
import base64, json, socket, sys

class Pipe:
    def __init__(self, path, **session):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        self.say(op="hello", **session)
        self.session, self.next = map(self.hear().get, ["session", "next"])

    def say(self, **message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def hear(self):
        answer = json.loads(self.lines.readline() or b'{"op": "error", "text": "the node is gone"}')
        if answer["op"] == "error":
            raise RuntimeError(answer["text"])
        return answer

    def publish(self, topic, data):
        self.say(op="pub", seq=self.next, topic=topic, b64=base64.b64encode(data).decode())
        self.next += 1
        return self.hear()["off"]

    def subscribe(self, offset):
        self.say(op="sub", **{"from": offset})
        while True:
            self.say(op="credit", n=1)
            answer = next(answer for answer in iter(self.hear, None) if answer["op"] == "msg")
            yield answer["off"], answer["name"], base64.b64decode(answer["b64"]) if "b64" in answer else answer["data"].encode()

pipe = Pipe(sys.argv[1])
if sys.argv[2] == "pub":
    for line in sys.stdin.buffer:
        print(pipe.publish(sys.argv[3], line.rstrip(b"\r\n")), flush=True)
for offset, topic, data in pipe.subscribe(int(sys.argv[3])) if sys.argv[2] == "sub" else []:
    print(offset, topic, data.decode(errors="replace"), flush=True)

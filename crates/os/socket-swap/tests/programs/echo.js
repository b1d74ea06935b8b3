// node echo.js server|client SOCKET: an echo, and one that checks it.
const net = require("net");
const [role, path] = process.argv.slice(2);
const total = 3000000;

function byteAt(index) {
  return (index * 131 + Math.floor(index / 251) * 17) & 255;
}

if (role === "server") {
  net.createServer((end) => end.pipe(end)).listen(path);
} else {
  const out = Buffer.alloc(total, 0);
  for (let index = 0; index < total; index++) out[index] = byteAt(index);
  let sent = 0;
  let received = 0;
  const end = net.connect(path, () => more());
  function more() {
    while (sent < total && sent - received < 100000) {
      const length = Math.min(1 + ((sent * 7919) % 9000), total - sent);
      end.write(out.subarray(sent, sent + length));
      sent += length;
    }
  }
  end.on("data", (bytes) => {
    if (!bytes.equals(out.subarray(received, received + bytes.length))) {
      console.log("other bytes at", received);
      process.exit(1);
    }
    received += bytes.length;
    if (received === total) end.end();
    else more();
  });
  end.on("close", () => console.log(received, "bytes came back as they were"));
}

"""Reads events from curl, whose arguments are ours, and checks that each comes alone, in order and in time."""
import subprocess
import sys
import time

EVENTS = 40
LATE_MAX_S = 1.0

curl = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
expected = 0
worst = 0.0
for line in curl.stdout:
    if line.startswith("id: "):
        assert int(line[4:]) == expected, line
    elif line.startswith("data: "):
        late = time.time() - float(line[6:])
        worst = max(worst, late)
        assert late < LATE_MAX_S, f"event {expected} came {late:.3f} s after it was sent"
        expected += 1
assert curl.wait() == 0, curl.returncode
assert expected == EVENTS, expected
print(f"done, the latest event came after {worst * 1e3:.1f} ms")

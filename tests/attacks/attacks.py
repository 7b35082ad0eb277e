"""Five attacks of a model's own code on servers that run such code: python3 attacks.py --environments FOLDER [SERVER ..]

Prints a table in Markdown, a row a server. README.md says what runs.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).parent
SECRET = "the-secret-of-another-tenant"
START_S = 120
# A client that waits longer has given up; every server's own limit is shorter or none.
REQUEST_S = 45
VICTIM_S = 10
ATTACKS = ["loop", "memory", "read", "crash", "reach"]
TITLES = ["endless loop", "2 GiB of memory", "reads of another tenant", "segmentation fault", "processes and network"]


class Server:
    """A server under attack: how it is installed, started and asked."""

    requirements = []
    path = "/{model}"

    def command(self, python, ports, folder):
        raise NotImplementedError

    def body(self, text):
        return {"text": text}

    def text(self, answer):
        return answer["text"]


class LitServe(Server):
    requirements = ["litserve==0.2.19"]

    def command(self, python, ports, folder):
        return [python, HERE / "servers/litserve_server.py", ports[0]]


class KServe(Server):
    requirements = ["kserve==0.21.0"]
    path = "/v1/models/{model}:predict"

    def command(self, python, ports, folder):
        return [python, HERE / "servers/kserve_server.py", f"--http_port={ports[0]}"]

    def body(self, text):
        return {"instances": [text]}

    def text(self, answer):
        return answer["predictions"][0]


class MLServer(Server):
    # A newer uvloop has no event loop for its workers.
    requirements = ["mlserver==1.7.1", "uvloop==0.21.0"]
    path = "/v2/models/{model}/infer"

    def command(self, python, ports, folder):
        settings = {"host": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2]}
        (folder / "settings.json").write_text(json.dumps(settings))
        for model in ["victim", "hostile"]:
            (folder / model).mkdir()
            settings = {"name": model, "implementation": f"mlserver_models.{model.title()}"}
            (folder / model / "model-settings.json").write_text(json.dumps(settings))
        return [pathlib.Path(python).with_name("mlserver"), "start", folder]

    def body(self, text):
        return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text]}]}

    def text(self, answer):
        return answer["outputs"][0]["data"][0]


class PyTriton(MLServer):
    requirements = ["nvidia-pytriton==0.7.0"]

    def command(self, python, ports, folder):
        return [python, HERE / "servers/pytriton_server.py", *ports]


SERVERS = {
    "Triton, Python backend (nvidia-pytriton 0.7.0)": PyTriton(),
    "KServe 0.21.0": KServe(),
    "MLServer 1.7.1": MLServer(),
    "LitServe 0.2.19": LitServe(),
}


def environment(server, folder):
    """The Python of an environment with the server, or None with the reason."""
    name = server.requirements[0].split("==")[0]
    python = folder / name / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
    install = [python, "-m", "pip", "install", "--quiet", *server.requirements]
    done = subprocess.run(install, capture_output=True, text=True)
    return (python, "") if done.returncode == 0 else (None, done.stderr.strip().splitlines()[-1])


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Site:
    """A server that runs, and what listens outside of it."""

    def __init__(self, server, python):
        self.server = server
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="attacks"))
        (self.folder / "secret").write_text(SECRET)
        self.ports = free_ports(3)
        self.outside = socket.create_server(("127.0.0.1", 0))
        self.received = []
        threading.Thread(target=self.listen, daemon=True).start()
        variables = {
            **os.environ,
            "PYTHONPATH": f"{HERE}:{HERE / 'servers'}",
            "ATTACK_ENVIRONMENT_SECRET": SECRET,
            "ATTACK_FILE": str(self.folder / "secret"),
            "ATTACK_PORT": str(self.outside.getsockname()[1]),
        }
        models = self.folder / "models"
        models.mkdir()
        command = [str(part) for part in server.command(python, self.ports, models)]
        self.log = open(self.folder / "log", "w+")
        self.process = subprocess.Popen(
            command, env=variables, cwd=self.folder, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def listen(self):
        while True:
            try:
                connection, _ = self.outside.accept()
            except OSError:
                return
            with connection:
                self.received.append(connection.recv(1000).decode())

    def ask(self, model, text, seconds):
        """The model's answer, or what came instead, in words."""
        url = f"http://127.0.0.1:{self.ports[0]}" + self.server.path.format(model=model)
        body = json.dumps(self.server.body(text)).encode()
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:
                return self.server.text(json.load(response))
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code}"
        except OSError as error:
            return "no answer" if "timed out" in str(error) else "connection refused or cut"

    def victim_answers(self, seconds=VICTIM_S):
        return self.answers("victim", ("hello", "HELLO"), seconds)

    def answers(self, model, case, seconds):
        """Whether the model gives the expected answer within this time, however often it is asked."""
        give_up = time.monotonic() + seconds
        text, expected = case
        while time.monotonic() < give_up:
            if self.ask(model, text, max(1, give_up - time.monotonic())) == expected:
                return True
            time.sleep(0.2)
        return False

    def group(self):
        """Processes of the server's session."""
        found = []
        for folder in pathlib.Path("/proc").iterdir():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            if int(fields[3]) == self.process.pid:
                found.append((int(folder.name), fields))
        return found

    def running_threads(self):
        """Threads that want a processor now, and a tenth of a second."""
        found = set()
        for pid, _ in self.group():
            for thread in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"):
                try:
                    if thread.read_text().rsplit(")", 1)[1].split()[0] == "R":
                        found.add(thread)
                except (OSError, IndexError):
                    pass
        time.sleep(0.1)
        return found

    def resident_mebibytes(self):
        return sum(int(fields[21]) for _, fields in self.group()) * os.sysconf("SC_PAGE_SIZE") >> 20

    def close(self):
        for pid, _ in self.group():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.outside.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def tried(site, kind):
    """One attack; what came of it, in words."""
    if kind == "loop":
        return loop(site)
    before = site.resident_mebibytes()
    answer = site.ask("hostile", kind, REQUEST_S)
    if kind == "read":
        return f"read: {answer}"
    if kind == "memory":
        grown = site.resident_mebibytes() - before
        served = "served" if site.victim_answers() else "NOT served"
        return f"{'took all' if grown > 1900 else f'grew by {grown} MiB'}; victim {served}"
    if kind == "reach":
        time.sleep(1)
        sent = "sent the secret out" if SECRET in site.received else "sent nothing"
        return f"made: {answer}; {sent}"
    victim = "served" if site.victim_answers() else "NOT served"
    again = site.ask("hostile", "none", VICTIM_S)
    again = "answers again" if again == "served" else f"does not come back ({again})"
    return f"victim {victim}; the model {again}"


def loop(site):
    """An endless loop: whether others are served meanwhile, and whether anything ends it."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(site.ask("hostile", "loop", REQUEST_S)), daemon=True)
    thread.start()
    time.sleep(2)
    victim = "served" if site.victim_answers() else "NOT served"
    thread.join()
    samples = [site.running_threads() for _ in range(30)]
    # Whoever always wants a processor, whatever a busy machine gives it.
    spins = any(sum(thread in sample for sample in samples) > 25 for thread in samples[0])
    return f"victim {victim}; client: {answers[0]}; loop {'goes on' if spins else 'was ended'}"


def attacked(name, server, folder):
    """The row of a server."""
    python, why = environment(server, folder)
    if python is None:
        return f"| {name} | did not install: {why} |" + " |" * (len(ATTACKS) - 1)
    cells = []
    for kind in ATTACKS:
        site = Site(server, python)
        try:
            if site.victim_answers(START_S) and site.answers("hostile", ("none", "served"), START_S):
                cells.append(tried(site, kind))
            else:
                site.log.seek(0)
                sys.stderr.write(site.log.read()[-4000:])
                cells.append("did not start")
        finally:
            site.close()
        print(f"{name}: {kind}: {cells[-1]}", file=sys.stderr, flush=True)
    return f"| {name} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=pathlib.Path, required=True, help="folder of virtual environments")
    parser.add_argument("servers", nargs="*", help="parts of names; all if none")
    options = parser.parse_args()
    wanted = [name for name in SERVERS if not options.servers or any(part in name for part in options.servers)]
    rows = [attacked(name, SERVERS[name], options.environments) for name in wanted]
    print("| server | " + " | ".join(TITLES) + " |\n|" + "---|" * (len(ATTACKS) + 1))
    print("\n".join(rows))


if __name__ == "__main__":
    main()

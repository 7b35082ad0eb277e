"""What every matrix script shares: each public method of a client class has a case, and each case a
method; a case is a right answer or a refusal whose text is documented."""

import asyncio
import inspect
import json
import sys


class Wrong(Exception):
    """An answer that is not what it should be."""


def check(condition, text):
    if not condition:
        raise Wrong(text)


class Matrix:
    """The cases of one client class: functions named like the methods that they try."""

    def __init__(self, name, client_class):
        self.name = name
        self.client_class = client_class
        self.cases = {}
        self.refusals = set()

    def answers(self, function):
        """A method that gets a right answer."""
        self.cases[function.__name__] = function
        return function

    def refuses(self, function):
        """A method that gets a documented refusal."""
        self.refusals.add(function.__name__)
        return self.answers(function)

    def methods(self):
        names = [name for name in dir(self.client_class) if not name.startswith("_")]
        return {name for name in names if callable(getattr(self.client_class, name))}

    async def run(self, *arguments):
        """Runs every case; one line for each method, and what failed."""
        rows, failed = {}, []
        for name in sorted(self.methods() | set(self.cases)):
            if name not in self.cases:
                failed.append(f"{self.name}.{name}: the client has it, the matrix does not")
                continue
            if name not in self.methods():
                failed.append(f"{self.name}.{name}: the matrix has it, the client does not")
                continue
            try:
                done = self.cases[name](*arguments)
                if inspect.isawaitable(done):
                    await asyncio.wait_for(done, 60)
                rows[name] = "refusal" if name in self.refusals else "answer"
            except Exception as error:  # noqa: BLE001 - whatever a client raises is the finding
                failed.append(f"{self.name}.{name}: {type(error).__name__}: {error}")
        return rows, failed


def finish(results):
    """Prints the rows of every matrix, or what failed, and ends the script."""
    failed = [line for _, _, lines in results for line in lines]
    if failed:
        sys.exit("\n".join(failed))
    print(json.dumps({name: rows for name, rows, _ in results}))


async def refused(kind, call, contains, status=None):
    """Runs `call`, which must raise `kind` with these words."""
    try:
        done = call()
        if inspect.isawaitable(done):
            await done
    except kind as error:
        check(contains in str(error), f"expected {contains!r} in {str(error)!r}")
        if status is not None:
            got = error.status()
            check(str(status) in str(got), f"expected status {status}, got {got}")
        return
    raise Wrong(f"expected a refusal with {contains!r}, the call succeeded")

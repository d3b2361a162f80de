"""Starts programs, waits until they are ready, and ends them. Python's standard library only."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

# A program that is not ready by then has failed. Generous: machines that test are busy.
READY_LIMIT_S = 30
# A program that was asked to end and has not by then is killed.
END_LIMIT_S = 15


class NotReady(Exception):
    """A program ended, or said nothing, before it was ready. The text says which and why."""


class Program:
    """A running program, ended by its own handle and no other way.

    Its stderr goes to a file: a pipe that nobody reads would stall it.
    """

    def __init__(self, name, command, log_folder):
        os.makedirs(log_folder, exist_ok=True)
        self.name = name
        self.log = os.path.join(log_folder, f"{name}.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def ready(self, limit_s=READY_LIMIT_S):
        """Waits for `ready KEY=VALUE...` on stdout and returns the values."""
        while True:
            try:
                line = self.lines.get(timeout=limit_s)
            except queue.Empty:
                raise NotReady(f"{self.name} is not ready after {limit_s} s{self.said()}") from None
            if line is None:
                code = self.process.wait()
                raise NotReady(f"{self.name} ended with {code} before it was ready{self.said()}")
            if line.startswith("ready "):
                return dict(word.split("=", 1) for word in line.split()[1:])

    def logged(self, word):
        """The words of the last log line that has this one; none where no line has."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            lines = [line.split() for line in log if word in line.split()]
        return lines[-1] if lines else []

    def said(self):
        """The end of its stderr, for an error message."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            tail = log.read()[-1_000:].strip()
        return f"; its log ({self.log}) ends:\n{tail}" if tail else f" ({self.log} is empty)"

    def kill(self):
        """SIGKILL, as a crash would be."""
        self.process.kill()

    def end(self):
        """SIGTERM, and SIGKILL if that is not heeded in time. The exit code, None if killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None


class Programs(contextlib.ExitStack):
    """Starts the programs of one test, and ends them all, last started first, when it is left."""

    def __init__(self, python, grpcrouter, log_folder):
        super().__init__()
        self.python = python
        self.grpcrouter = grpcrouter
        self.log_folder = log_folder

    def start(self, name, command):
        program = Program(name, command, self.log_folder)
        self.callback(program.end)
        return program

    def server(self, *flags, name="server"):
        """The upstream and its address."""
        script = os.path.join(HERE, "server.py")
        program = self.start(name, [self.python, script, "--listen", "127.0.0.1:0", *flags])
        return program, program.ready()["listen"]

    def gateway(self, *flags, name="gateway"):
        """A gateway, its address for clients and its address for tunnels."""
        command = [self.grpcrouter, "gateway", "--listen", "127.0.0.1:0", *flags]
        program = self.start(name, command)
        ready = program.ready()
        return program, ready["client"], ready["tunnel"]

    def agent(self, tunnel, upstream, instance_id, *flags, name="agent"):
        """An agent that has been started; its `ready()` tells when it is registered."""
        to = ["--gateway", f"http://{tunnel}", "--upstream", f"http://{upstream}"]
        return self.start(name, [self.grpcrouter, "agent", *to, "--id", instance_id, *flags])


def log(text):
    print(text, file=sys.stderr, flush=True)

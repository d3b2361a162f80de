"""Shows that grpcio programs which know nothing of grpcrouter work through it.

    run.py --grpcrouter PATH [--churn]

Starts server.py and runs check.py directly against it, which is the oracle; then through
`grpcrouter gateway` and `grpcrouter agent`, once with a server without reflection (the agent offers
`*`) and once with reflection (the agent offers what it finds, and reflection.py asks for it). With --churn it also runs churn.py.
Without --grpcrouter it runs the oracle only.

The packages of requirements.txt are installed into a virtual environment under target/ if they are
not there yet. The last line says how it went. Exit codes: 0 all passed, 1 something failed, 3 the
packages could not be installed.
"""

import argparse
import os
import subprocess
import sys
import venv

from harness import HERE, ROOT, NotReady, Programs, log

# The whole of check.py, or of churn.py. Alone on a machine they take about 10 and 20 s.
SUITE_LIMIT_S = 300


def make_environment(folder):
    """The Python of a virtual environment with exactly these requirements."""
    python = os.path.join(folder, "bin", "python")
    requirements = os.path.join(HERE, "requirements.txt")
    with open(requirements, encoding="utf-8") as file:
        wanted = file.read()
    # Written last, so that an installation which was cut short is done again.
    stamp = os.path.join(folder, "installed-requirements.txt")
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as file:
            if file.read() == wanted:
                return python
    log(f"installing {', '.join(wanted.split())} into {folder}")
    venv.create(folder, clear=True, with_pip=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
    subprocess.run([python, *install], check=True, timeout=600, stdout=sys.stderr)
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(wanted)
    return python


def run_script(python, script, *args):
    """Whether a script of this folder succeeded. Its lines go to our stdout as they come."""
    command = [python, os.path.join(HERE, script), *args]
    try:
        return subprocess.run(command, timeout=SUITE_LIMIT_S).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"FAIL {script}: not done after {SUITE_LIMIT_S} s", flush=True)
        return False


def direct(programs):
    _, address = programs.server()
    return run_script(programs.python, "check.py", "--target", address)


def routed(programs, offered, *server_flags):
    """The checks through gateway and agent, which must offer this service among others."""
    server, upstream = programs.server(*server_flags)
    gateway, client, tunnel = programs.gateway()
    agent = programs.agent(tunnel, upstream, "py-1")
    services = agent.ready()["services"]
    if offered not in services.split(","):
        print(f"FAIL agent: offers {services}, expected {offered}")
        return False
    passed = run_script(programs.python, "check.py", "--target", client)
    if "--reflection" in server_flags:
        passed &= run_script(programs.python, "reflection.py", "--target", client)
    # Programs that end when asked are part of what is shown: instance, then gateway, then server.
    for program in (agent, gateway, server):
        code = program.end()
        if code != 0:
            print(f"FAIL {program.name}: exit code {code} after SIGTERM{program.said()}")
            passed = False
    return passed


def churn(programs):
    own = ["--grpcrouter", programs.grpcrouter, "--logs", programs.log_folder]
    return run_script(programs.python, "churn.py", *own)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grpcrouter", metavar="PATH", help="the binary")
    parser.add_argument("--churn", action="store_true", help="also kill and restart an agent")
    parser.add_argument("--target-dir", default=os.path.join(ROOT, "target"), metavar="PATH")
    args = parser.parse_args()
    if args.churn and not args.grpcrouter:
        parser.error("--churn needs --grpcrouter")

    try:
        python = make_environment(os.path.join(args.target_dir, "grpcio-venv"))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"grpcio: not run, the packages could not be installed: {error}")
        return 3

    arms = {"direct": direct}
    if args.grpcrouter:
        arms["routed"] = lambda programs: routed(programs, "*")
        arms["routed-reflection"] = lambda programs: routed(
            programs, "probe.v1.Probe", "--reflection"
        )
    if args.churn:
        arms["churn"] = churn
    results = {}
    for name, arm in arms.items():
        print(f"-- {name}", flush=True)
        logs = os.path.join(args.target_dir, "grpcio-logs", name)
        try:
            with Programs(python, args.grpcrouter, logs) as programs:
                results[name] = arm(programs)
        except (NotReady, OSError) as error:
            print(f"FAIL {name}: {error}", flush=True)
            results[name] = False
    words = [f"{name} {'ok' if passed else 'FAILED'}" for name, passed in results.items()]
    print(f"grpcio: {', '.join(words)}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

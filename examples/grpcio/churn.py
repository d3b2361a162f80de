"""10,000 unary calls with 64 in flight while the only agent is killed and restarted 10 times.

    churn.py --grpcrouter PATH

What must be seen: at least one call ends `instance-lost`, at least 90 % end OK, every other one
UNAVAILABLE with a `grpcrouter-reason`, none hangs, the server ran no nonce twice, nothing remains.

How the load is paced, and why that is honest. There is one agent, so after a kill there is nobody
to take a call until the next agent has registered, and the gateway then refuses at once. 64 clients
that hammer a gateway with no instance would only count how fast it refuses. So a worker whose call
failed waits for the harness to say that an agent is ready before it makes its next call; that is
all that any worker waits for. Nobody is warned of a kill: it comes between two steps of the event
loop, at the client at least 32 calls are then in flight, and workers whose calls still succeed go
on calling, into the dying tunnel and into the gap. No call is made again: each has its own nonce and
counts once, however it ended.
"""

import argparse
import asyncio
import collections
import os
import sys
import time

import grpc

from harness import ROOT, NotReady, Programs
from probe import SERVICE, messages, services

CALLS = 10_000
IN_FLIGHT = 64
KILLS = 10
# In flight at a kill, at the least.
AT_KILL = 32
# Long enough that nearly all calls in flight are inside the handler, short enough to be done soon.
HOLD_MS = 30
# No call may take as long: one that does, hangs.
CALL_LIMIT_S = 20
TOTAL_LIMIT_S = 180
# The server's handlers of lost calls must have ended by then.
REST_LIMIT_S = 10

NO_REASON = "(no reason)"


class Churn:
    def __init__(self, stub):
        self.stub = stub
        self.issued = 0
        self.ended = 0
        self.in_flight = 0
        self.outcomes = collections.Counter()
        # Set while an agent is registered, as far as the harness knows.
        self.agent_ready = asyncio.Event()
        # Set at the end of each call, for the killer.
        self.progress = asyncio.Event()
        # In flight at each kill.
        self.at_kill = []

    async def worker(self):
        while self.issued < CALLS:
            self.issued += 1
            ok = await self.call(f"nonce-{self.issued}")
            if not ok:
                await self.agent_ready.wait()

    async def call(self, nonce):
        self.in_flight += 1
        try:
            job = messages.Job(nonce=nonce, hold_ms=HOLD_MS)
            answer = await self.stub.Work(job, timeout=CALL_LIMIT_S)
            self.outcomes["OK" if answer.text == nonce else "wrong answer"] += 1
            return answer.text == nonce
        except grpc.aio.AioRpcError as error:
            self.outcomes[outcome(error)] += 1
            return False
        finally:
            self.in_flight -= 1
            self.ended += 1
            self.progress.set()

    async def kill_and_restart(self, start_agent):
        """Kills at even distances over the calls, so that there is load before and after each."""
        agent = await start_agent()
        self.agent_ready.set()
        for number in range(1, KILLS + 1):
            due = number * CALLS // (KILLS + 1)
            while self.ended < due or self.in_flight < AT_KILL:
                self.progress.clear()
                await self.progress.wait()
            self.at_kill.append(self.in_flight)
            # No await from the count to here, and none to the next line: the count is that of the
            # kill, and no worker sees a failure while the event is still set.
            agent.kill()
            self.agent_ready.clear()
            agent = await start_agent()
            self.agent_ready.set()

    async def run(self, start_agent):
        killer = asyncio.create_task(self.kill_and_restart(start_agent))
        await wait_or_fail(self.agent_ready.wait(), killer)
        workers = asyncio.gather(*(self.worker() for _ in range(IN_FLIGHT)))
        await wait_or_fail(workers, killer)
        await killer


async def wait_or_fail(work, killer):
    """Waits for the work, but not for ever if the agent cannot be started any more."""
    work = asyncio.ensure_future(work)
    await asyncio.wait({work, killer}, return_when=asyncio.FIRST_COMPLETED)
    if killer.done() and killer.exception() is not None:
        work.cancel()
        raise killer.exception()
    await work


def outcome(error):
    """How a call ended that did not end OK."""
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return f"{error.code().name}: {error.details()}"
    trailers = dict(error.trailing_metadata() or ())
    return trailers.get("grpcrouter-reason", f"UNAVAILABLE {NO_REASON}: {error.details()}")


def is_reason(word):
    """Reasons are tokens such as `instance-lost`; everything else we named ourselves."""
    return word.replace("-", "").isalpha() and word.islower()


def verdict(churn, jobs):
    """What should have been seen and was not."""
    outcomes = churn.outcomes
    if outcomes.total() != CALLS:
        yield f"{CALLS - outcomes.total()} calls did not end"
    if churn.in_flight:
        yield f"{churn.in_flight} calls remain"
    if len(churn.at_kill) < KILLS or min(churn.at_kill) < AT_KILL:
        yield f"calls in flight at each kill: {churn.at_kill}"
    if outcomes["OK"] < CALLS * 0.9:
        yield f"only {outcomes['OK']} ended OK"
    if not outcomes["instance-lost"]:
        yield "no call ended instance-lost"
    for word, count in outcomes.items():
        if word != "OK" and not is_reason(word):
            yield f"{count} ended {word}"
    if jobs.most_runs_of_a_nonce > 1:
        yield f"a nonce ran {jobs.most_runs_of_a_nonce} times"
    if jobs.nonces < outcomes["OK"]:
        yield f"the server ran {jobs.nonces} nonces, fewer than ended OK"
    if jobs.running:
        yield f"{jobs.running} handlers still run"


async def at_rest(address):
    """The server's own log, asked directly, once no handler runs any more."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = services.ProbeStub(channel)
        limit = time.monotonic() + REST_LIMIT_S
        while True:
            jobs = await stub.Jobs(messages.Message(), timeout=CALL_LIMIT_S)
            if not jobs.running or time.monotonic() > limit:
                return jobs
            # Nothing tells us of a handler's end; each ends by itself after HOLD_MS.
            await asyncio.sleep(HOLD_MS / 1000)


async def main(programs):
    _, upstream = programs.server(name="churn-server")
    gateway, client, tunnel = programs.gateway(name="churn-gateway")

    async def start_agent():
        agent = programs.agent(
            tunnel, upstream, "churn", "--service", SERVICE, name="churn-agent"
        )
        await asyncio.to_thread(agent.ready)
        return agent

    started = time.monotonic()
    async with grpc.aio.insecure_channel(client) as channel:
        churn = Churn(services.ProbeStub(channel))
        try:
            await asyncio.wait_for(churn.run(start_agent), TOTAL_LIMIT_S)
        except asyncio.TimeoutError:
            print(f"not done after {TOTAL_LIMIT_S} s")
    took_s = time.monotonic() - started
    jobs = await at_rest(upstream)

    faults = list(verdict(churn, jobs))
    # A gateway that still held a call would wait for it here.
    code = await asyncio.to_thread(gateway.end)
    if code != 0:
        faults.append(f"the gateway's exit code after SIGTERM is {code}{gateway.said()}")
    # Its gauge of open calls, which it logs as it begins to drain.
    gauge = [word for word in gateway.logged("draining") if word.startswith("calls=")]
    if gauge != ["calls=0"]:
        faults.append(f"the gateway's gauge of open calls after the load: {gauge}")
    print(f"outcomes: {dict(churn.outcomes.most_common())}")
    print(f"in flight at each kill: {churn.at_kill}; nonces run: {jobs.nonces}; {took_s:.1f} s")
    for fault in faults:
        print(f"FAIL churn: {fault}")
    if not faults:
        print("ok   churn")
    return 1 if faults else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grpcrouter", required=True, metavar="PATH")
    logs = os.path.join(ROOT, "target", "grpcio-logs", "churn")
    parser.add_argument("--logs", default=logs, metavar="PATH")
    args = parser.parse_args()
    try:
        with Programs(sys.executable, args.grpcrouter, args.logs) as all_programs:
            sys.exit(asyncio.run(main(all_programs)))
    except NotReady as not_ready:
        print(f"FAIL churn: {not_ready}")
        sys.exit(1)

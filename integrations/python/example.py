"""Creates, finds and removes sessions.

usage: CONSUL_HTTP_ADDR=http://127.0.0.1:8500 python example.py embedded.wasm
"""

import asyncio
import os
import sys

from consul_session import AsyncConsulSession, ConsulSession, Failed

consul = ConsulSession(sys.argv[1])
url = os.environ["CONSUL_HTTP_ADDR"]
for _ in range(2):  # The second call finds the session and changes nothing.
    job = consul.action({"name": "job", "ttl": "30s", "url": url})
    print("changed" if job["changed"] else "unchanged", job["session_id"])

agent = {"address": url}
session = consul.sessions("create", agent, {"name": "typed", "lock_delay": 5 * 10**9})
print(consul.sessions("info", agent, session))
consul.sessions("destroy", agent, session)
print("removed", consul.sessions("remove", agent, "job", None))
try:
    consul.action({"state": "renew", "name": "job", "url": url})
except Failed as failure:
    print(f"{failure.kind}, status {failure.status}, retryable {failure.retryable}: {failure}")


async def side_by_side():
    consul = AsyncConsulSession(sys.argv[1])
    calls = [consul.action({"state": "info", "name": name, "url": url}) for name in ("job", "typed")]
    for result in await asyncio.gather(*calls):
        print(len(result["sessions"]), "sessions")


asyncio.run(side_by_side())

#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception OR MIT
# Written from the component's contract, with no text or code of the module that it stands in for. Ansible, which is
# GPL-3.0-or-later, is not part of this file but loads it; either licence above lets the two be combined.

DOCUMENTATION = r"""
module: consul_session
short_description: Create, look up, renew and remove the sessions of a Consul cluster
description:
  - A session ties locks in Consul's key-value store to the life of their holder. This module manages sessions through the
    component C(consul-session), which runs in a sandbox with an HTTP client and nothing else.
  - What a parameter may hold is checked by the component, also in check mode, so its messages say what it takes.
  - Two hosts that ask for one O(name) get one session, and with it the same locks. Where each is to have its own, for
    instance to keep the other out, set O(unique=false) or a name of its own.
requirements:
  - On the host that runs the task, Python 3.9 or later and the package C(wasmtime) 49 or later.
options:
  component:
    description: File of the component, on the host that runs the task. Falls back to E(CONSUL_SESSION_COMPONENT).
    type: path
    required: true
  state:
    description:
      - V(present) makes sure that a session of this O(name) exists; without a name it makes a new one every time.
      - V(absent) removes by O(id), or every session of this O(name).
      - V(info) looks up by O(id) or O(name), V(node) lists the sessions of O(node), V(list) all of them.
      - V(renew) starts the TTL anew.
    type: str
    choices: [present, absent, info, node, list, renew]
    default: present
  name:
    description: Name of the session. Consul does not keep names unique; this module does, unless O(unique=false).
    type: str
  id:
    description: UUID of a session.
    type: str
  node:
    description: Node to tie the session to, by default the agent's own, or whose sessions to look at.
    type: str
  datacenter:
    description: Datacenter to work in, by default the agent's own.
    type: str
  delay:
    description:
      - Lock delay, for which a lock cannot be taken after its session was invalidated; at most 60 seconds.
      - Seconds, or a text with units such as V(20s) or V(500ms). Consul's default is 15 seconds.
    type: str
  ttl:
    description: Time after which the session ends unless renewed, from V(10s) to V(24h), written as for O(delay).
    type: str
  checks:
    description: Health checks in the form from before Consul 1.7. With the empty list the session has no check at all.
    type: list
    elements: str
  node_checks:
    description: Node checks that the session depends on. Left out, Consul takes V(serfHealth).
    type: list
    elements: str
  service_checks:
    description: Service checks that the session depends on, as ids or as mappings of C(id) and C(namespace).
    type: list
    elements: raw
  behavior:
    description: What becomes of the keys locked when the session ends. Consul's default is V(release).
    type: str
    choices: [release, delete]
  unique:
    description: Whether one session of a name is enough.
    type: bool
    default: true
  recreate:
    description: Whether to replace a session of this name that has other attributes, instead of failing.
    type: bool
    default: false
  url:
    description:
      - Address of the agent, C(http://host:port) or C(https://host:port). Falls back to E(CONSUL_HTTP_ADDR).
      - The default is V(http://localhost:8500). O(scheme), O(host) and O(port) win over their part of it.
    type: str
  host:
    description: Host of the agent.
    type: str
  port:
    description: Port of the agent.
    type: int
  scheme:
    description: V(http) or V(https). With E(CONSUL_HTTP_SSL) true, V(https) is the default.
    type: str
  token:
    description: ACL token. Falls back to the file that E(CONSUL_HTTP_TOKEN_FILE) names, else to E(CONSUL_HTTP_TOKEN).
    type: str
  namespace:
    description: Namespace (Consul Enterprise). Falls back to E(CONSUL_NAMESPACE).
    type: str
  partition:
    description: Admin partition (Consul Enterprise). Falls back to E(CONSUL_PARTITION).
    type: str
  timeout:
    description: How long to wait for a connection and for each part of an answer, by default 10 seconds, as for O(delay).
    type: str
  validate_certs:
    description:
      - V(true) is what happens anyway, against the certificates that wasmtime has built in. V(false) fails.
      - Falls back to E(CONSUL_HTTP_SSL_VERIFY). E(CONSUL_TLS_SERVER_NAME) fails.
    type: bool
  ca_path:
    description: Fails. With this host a component cannot be given trust; the program C(consul-session) can be.
    type: str
  client_cert:
    description: Fails, like O(ca_path).
    type: str
  client_key:
    description: Fails, like O(ca_path).
    type: str
attributes:
  check_mode:
    support: full
    description:
      - Says what would change, and writes nothing. A session that does not exist yet has no id; a task that gets none where
        it should have one takes it for the id of such a session.
  diff_mode:
    support: full
    description: Shows the sessions before and after.
"""

EXAMPLES = r"""
- name: One session for this deployment, however often this runs
  consul_session:
    name: deploy
    ttl: 10m
    delay: 20s
  register: deploy

- name: Stay alive
  consul_session:
    state: renew
    id: "{{ deploy.session_id }}"

- name: Read all sessions, once Consul has a leader
  consul_session:
    state: list
  register: all
  retries: 5
  until: all is not failed or not all.error.retryable | default(false)

- name: Remove it
  consul_session:
    state: absent
    name: deploy
"""

RETURN = r"""
session_id:
  description: UUID of the session; null if there is none, or several.
  returned: all states but node and list
  type: str
name, behavior, ttl, delay, checks, node:
  description: As asked for; where nothing was asked for, as the session has it.
  returned: present
  type: raw
session:
  description: The session as Consul stores it; null where check mode would create it.
  returned: present, renew
  type: dict
sessions:
  description: The sessions found.
  returned: info, node, list
  type: list
  elements: dict
session_ids:
  description: UUIDs of the sessions removed.
  returned: absent
  type: list
  elements: str
replaced:
  description: UUIDs of the sessions replaced.
  returned: present, if any were
  type: list
  elements: str
diff:
  description: The sessions before and after.
  returned: in diff mode, by all states that change something
  type: dict
error:
  description:
    - What failed, for a program. C(kind) is one of invalid, denied, not-found, conflict, unavailable, timeout, transport,
      tls, protocol, unsupported, other; C(retryable) tells whether the same may work later.
    - With C(maybe_applied) a write went out and its outcome is not known. Also C(parameter), or the HTTP exchange.
  returned: failure, unless Ansible itself refused the parameters
  type: dict
  sample: {kind: denied, retryable: false, status: 403, maybe_applied: false}
"""

import json
import os
import threading
import time
import traceback

from ansible.module_utils.basic import AnsibleFallbackNotFound, AnsibleModule, missing_required_lib

try:
    from wasmtime import Config, Engine, Store, WasiConfig, WasmtimeError
    from wasmtime.component import Component, Linker

    WASMTIME_MISSING = None
except ImportError:
    WASMTIME_MISSING = traceback.format_exc()

DEADLINE = 60  # seconds, for an answer that drips in; silence is ended by the call's own timeout


class Stopped(Exception):
    """The component ended without a result."""


# What is wrong with the environment, as parameter and message: a fallback has no module to fail yet.
wrong = []


def environment(name):
    if not os.environ.get(name):
        raise AnsibleFallbackNotFound
    return os.environ[name]


def unusable(parameter, message):
    wrong.append((parameter, message))
    raise AnsibleFallbackNotFound


def token_by_environment():
    if not os.environ.get("CONSUL_HTTP_TOKEN_FILE"):
        return environment("CONSUL_HTTP_TOKEN")
    file = f"CONSUL_HTTP_TOKEN_FILE: token file {os.environ['CONSUL_HTTP_TOKEN_FILE']}"
    try:
        with open(os.environ["CONSUL_HTTP_TOKEN_FILE"], encoding="utf-8") as opened:
            token = opened.read().strip()
    except OSError as error:
        unusable("token", f"{file}: {error.strerror}")
    except ValueError:
        unusable("token", f"{file}: it is not text")
    # An empty token would be an anonymous request.
    return token or unusable("token", f"{file}: it is empty")


def truth_by_environment(name):
    said = environment(name).strip()
    if said.lower() in ("1", "1.0", "t", "true", "y", "yes", "on"):
        return True
    if said.lower() in ("0", "0.0", "f", "false", "n", "no", "off"):
        return False
    return unusable(name, f"`{name}` must be true or false, not `{said}`")


def https_by_environment(name):
    if truth_by_environment(name):
        return "https"
    raise AnsibleFallbackNotFound


def run(component, params):
    """Calls the component's action door. Returns whether it failed, and its result."""
    config = Config()
    config.epoch_interruption = True
    engine = Engine(config)
    linker = Linker(engine)
    linker.add_wasip2()
    linker.add_wasi_http()
    store = Store(engine)
    store.set_wasi(WasiConfig())  # no environment, files or standard streams
    store.set_wasi_http()
    store.set_epoch_deadline(1)
    clock = threading.Timer(DEADLINE, engine.increment_epoch)
    clock.daemon = True
    clock.start()
    instance = linker.instantiate(store, Component.from_file(engine, component))
    door = instance.get_export_index(store, "consul:session/action@0.1.0")
    function = instance.get_func(store, instance.get_export_index(store, "run", door))
    started = time.monotonic()
    try:
        result = function(store, json.dumps(params))
    except WasmtimeError as trap:
        late = f"no result in {time.monotonic() - started:.0f} s"
        raise Stopped(late if "wasm trap: interrupt" in str(trap) else str(trap)) from trap
    return result.tag == "err", json.loads(result.payload)


def predict(module, state, why):
    """Ends a task in check mode that needs a session which an earlier task would have made."""
    found = {"absent": {"session_ids": []}, "info": {"sessions": []}, "renew": {"session": None, "ttl": None}}
    module.warn(f"check mode: {why}")
    module.exit_json(changed=state != "info", session_id=None, **found[state])


def main():
    fallback = {
        "component": (environment, ["CONSUL_SESSION_COMPONENT"]),
        "url": (environment, ["CONSUL_HTTP_ADDR"]),
        "scheme": (https_by_environment, ["CONSUL_HTTP_SSL"]),
        "token": (token_by_environment,),
        "namespace": (environment, ["CONSUL_NAMESPACE"]),
        "partition": (environment, ["CONSUL_PARTITION"]),
        "validate_certs": (truth_by_environment, ["CONSUL_HTTP_SSL_VERIFY"]),
        "ca_path": (environment, ["CONSUL_CACERT"]),
        "client_cert": (environment, ["CONSUL_CLIENT_CERT"]),
        "client_key": (environment, ["CONSUL_CLIENT_KEY"]),
    }
    options = {
        "component": {"type": "path", "required": True},
        "state": {"choices": ["present", "absent", "info", "node", "list", "renew"], "default": "present"},
        "checks": {"type": "list", "elements": "str"},
        "node_checks": {"type": "list", "elements": "str"},
        "service_checks": {"type": "list", "elements": "raw"},
        "behavior": {"choices": ["release", "delete"]},
        "unique": {"type": "bool", "default": True},
        "recreate": {"type": "bool", "default": False},
        "port": {"type": "int"},
        "token": {"no_log": True},
        "validate_certs": {"type": "bool"},
    }
    texts = "name id node datacenter delay ttl url host scheme namespace partition timeout ca_path client_cert client_key"
    options.update({name: {} for name in texts.split()})
    module = AnsibleModule(
        argument_spec={
            name: dict(option, fallback=fallback[name]) if name in fallback else option for name, option in options.items()
        },
        supports_check_mode=True,
    )
    if WASMTIME_MISSING:
        module.fail_json(msg=missing_required_lib("wasmtime"), exception=WASMTIME_MISSING)
    refused = {"retryable": False, "maybe_applied": False}
    for parameter, message in wrong:
        module.fail_json(msg=message, error=dict(refused, kind="invalid", parameter=parameter))
    if os.environ.get("CONSUL_TLS_SERVER_NAME"):
        message = "CONSUL_TLS_SERVER_NAME cannot be honoured here: this host gives a component no say about TLS. Unset it."
        module.fail_json(msg=message, error=dict(refused, kind="unsupported"))
    # What is left out has to stay out: to the component an unset key is not an empty one.
    params = {name: value for name, value in module.params.items() if value is not None}
    component = params.pop("component")
    state = params["state"]
    if module.check_mode and state in ("absent", "info", "renew") and not params.get("id") and not params.get("name"):
        predict(module, state, "no id and no name: taken for those of a session that an earlier task would have made")
    try:
        failed, result = run(component, dict(params, check_mode=module.check_mode, diff=module._diff))
    except Stopped as stopped:
        writes = state in ("present", "absent", "renew") and not module.check_mode
        late = "no result" in str(stopped)
        error = {"kind": "timeout" if late else "other", "retryable": late, "maybe_applied": writes}
        module.fail_json(msg=f"the component was stopped: {stopped}", error=error)
    except (OSError, WasmtimeError) as error:
        module.fail_json(msg=f"cannot run the component {component}: {error}", error=dict(refused, kind="other"))
    for warning in result.pop("warnings", []):
        module.warn(warning)
    if failed and module.check_mode and state == "renew" and result["error"]["kind"] == "not-found":
        predict(module, state, result["msg"])
    if failed:
        module.fail_json(**result)
    if "diff" in result:
        # Ansible compares texts line by line.
        result["diff"] = {side: json.dumps(sessions, indent=2) + "\n" for side, sessions in result["diff"].items()}
    module.exit_json(**result)


if __name__ == "__main__":
    main()

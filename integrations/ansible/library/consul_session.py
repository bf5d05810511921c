#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception OR MIT
# Written from the component's interface, without text or code of the module of this name in community.general. Ansible,
# which is GPL-3.0-or-later, loads this file but is not part of it; either license above permits the combination.

DOCUMENTATION = r"""
module: consul_session
short_description: Create, look up, renew and remove sessions of a Consul cluster
description:
  - A session ties locks in Consul's key-value store to the life of their holder. This module manages sessions through
    the WebAssembly component C(consul-session), which runs in a sandbox. Its only way out are the HTTP requests that
    this module sends for it.
  - The component checks the values of parameters, also in check mode, and its messages say which values are accepted.
  - Hosts that ask for the same O(name) get the same session, and with it the same locks. If hosts are to keep each
    other out, give each a name of its own, or set O(unique=false).
requirements:
  - Python 3.9 or later and the package C(wasmtime) 49 or later, on the host that runs the task.
  - The directory C(module_utils/consul_session) beside the directory of this module.
options:
  component:
    description:
      - Path of the component on the host that runs the task. Default is E(CONSUL_SESSION_COMPONENT).
      - The command C(consul-session component embedded -o embedded.wasm) writes the file.
    type: path
    required: true
  cache:
    description:
      - Whether to keep the compiled component in C($XDG_CACHE_HOME/consul-session) or C(~/.cache/consul-session), where
        only the user who runs the task can write. Without it, every task takes 0.3 seconds longer.
    type: bool
    default: true
  state:
    description:
      - V(present) makes sure that a session of this O(name) exists. Without a name, it creates a session on every run.
      - V(absent) destroys the session with this O(id), or every session of this O(name).
      - V(info) looks up sessions by O(id) or O(name), V(node) lists the sessions of O(node), and V(list) lists all.
      - V(renew) restarts the TTL of the session with this O(id) or O(name).
      - V(locked) makes sure that the session with this O(session) or O(name) holds the lock of O(key), and V(unlocked)
        that it does not. V(holder) looks up who holds the lock. Nothing renews the session between tasks, so give it a
        TTL that is long enough.
      - V(written) makes sure that O(key) has the O(value). Consul writes it only while the session holds O(lock).
    type: str
    choices: [present, absent, info, node, list, renew, locked, unlocked, holder, written]
    default: present
  name:
    description: The session's name. Consul does not keep names unique, but this module does unless O(unique=false).
    type: str
  id:
    description: The session's UUID. Consul assigns it, so V(present) refuses it.
    type: str
  node:
    description: The node to bind the session to, or whose sessions to list. Default is the agent's own node.
    type: str
  datacenter:
    description: The datacenter. Default is the agent's own.
    type: str
  delay:
    description:
      - The lock delay, from 0 to 60 seconds. It is the time after the session was invalidated during which its locks
        cannot be acquired.
      - Whole seconds, or text with units such as V(20s) or V(500ms). Consul's default is 15 seconds.
    type: str
  ttl:
    description:
      - The time after which Consul ends the session unless it is renewed, from V(10s) to V(24h); V(0) for no limit.
      - The format is that of O(delay). Consul's default is no limit.
    type: str
  checks:
    description: Checks in the form used before Consul 1.7. An empty list turns all checks off.
    type: list
    elements: str
  node_checks:
    description: Node checks by id. Consul's default is V(serfHealth), which ends the session when its node fails.
    type: list
    elements: str
  service_checks:
    description: Service checks by id, or as dictionaries with the keys C(id) and C(namespace).
    type: list
    elements: raw
  behavior:
    description: What happens to the session's locks when it ends. Consul's default is V(release).
    type: str
    choices: [release, delete]
  unique:
    description: Whether one session of a name is enough. V(false) creates a session on every run.
    type: bool
    default: true
  recreate:
    description: Whether to replace sessions of this name that have other attributes. V(false) fails in this case.
    type: bool
    default: false
  key:
    description: The key of a lock, or for V(written) the key to write.
    type: str
  value:
    description: The value of the key.
    type: str
  session:
    description: The session of the lock, by its UUID. The same as O(id).
    type: str
  lock:
    description: For V(written), the key of the lock that must be held.
    type: str
  wait:
    description:
      - For V(locked), how long to wait for the lock. It must be less than O(timeout). Default is not to wait.
      - The format is that of O(delay).
    type: str
  url:
    description:
      - The agent's address, C(http://host:port) or C(https://host:port). Default is E(CONSUL_HTTP_ADDR), or else
        V(http://localhost:8500).
      - O(scheme), O(host) and O(port) each replace their own part of the address.
    type: str
  host:
    description: The agent's host.
    type: str
  port:
    description: The agent's port.
    type: int
  scheme:
    description: V(http) or V(https). If E(CONSUL_HTTP_SSL) is true, the default is V(https).
    type: str
  token:
    description:
      - The ACL token. Default is the content of the file that E(CONSUL_HTTP_TOKEN_FILE) names, or else
        E(CONSUL_HTTP_TOKEN).
    type: str
  namespace:
    description: The namespace (Consul Enterprise). Default is E(CONSUL_NAMESPACE).
    type: str
  partition:
    description: The admin partition (Consul Enterprise). Default is E(CONSUL_PARTITION).
    type: str
  timeout:
    description:
      - The timeout for connecting, and for each part of a response. Default is 10 seconds.
      - The format is that of O(delay).
    type: str
  validate_certs:
    description:
      - Whether to verify the server's certificate. With V(false), an impostor would receive the token.
      - Default is E(CONSUL_HTTP_SSL_VERIFY), or else V(true). E(CONSUL_TLS_SERVER_NAME) is the name to verify, if it is
        not the host of the address.
    type: bool
  ca_path:
    description:
      - A PEM file with the only certificates to trust. Default is E(CONSUL_CACERT), or else those of the system.
    type: path
  client_cert:
    description: A PEM file with the client's certificate. Default is E(CONSUL_CLIENT_CERT).
    type: path
  client_key:
    description:
      - A PEM file with the key of O(client_cert), without a passphrase. Default is E(CONSUL_CLIENT_KEY), or else the
        file of O(client_cert).
    type: path
attributes:
  check_mode:
    support: full
    description:
      - Predicts the result and writes nothing. A session that does not exist yet has no id. If V(absent), V(info) or
        V(renew) gets neither O(id) nor O(name), it assumes such a session, and warns.
  diff_mode:
    support: full
    description: Returns the sessions before and after.
"""

EXAMPLES = r"""
- name: Have one session for this deployment, however often the playbook runs
  consul_session:
    name: deploy
    ttl: 10m
    delay: 20s
  register: deploy

- name: Keep it alive
  consul_session:
    state: renew
    id: "{{ deploy.session_id }}"

- name: List all sessions, and try again while Consul has no leader
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
  description: The session's UUID. Null if there is no session, or if there are several.
  returned: present, absent, info, renew, locked, unlocked, holder, written
  type: str
fencing_token:
  description: The fencing token of the lock. Null in check mode, and if nobody holds it.
  returned: locked, holder
  type: int
name, behavior, ttl, delay, checks, node:
  description: The parameters. For V(behavior), V(ttl) and V(delay) that are not given, the values of the session.
  returned: present
  type: raw
session:
  description: The session as Consul stores it. Null if check mode predicts its creation.
  returned: present, renew
  type: dict
sessions:
  description: The sessions found.
  returned: info, node, list
  type: list
  elements: dict
session_ids:
  description: The UUIDs of the sessions that were destroyed.
  returned: absent
  type: list
  elements: str
replaced:
  description: The UUIDs of the sessions that were replaced.
  returned: present, if it replaced any
  type: list
  elements: str
diff:
  description: The sessions before and after.
  returned: in diff mode, by present, absent and renew
  type: dict
error:
  description:
    - What went wrong, for playbooks. C(kind) is one of invalid, denied, not-found, conflict, unavailable, timeout,
      transport, tls, protocol, unsupported and other. C(retryable) says whether the same task may succeed later.
    - C(maybe_applied) says whether a write went out whose outcome is unknown. Further keys are C(parameter), or the
      C(method), C(path), C(status) and C(text) of the HTTP exchange.
  returned: failure, unless Ansible itself refused the parameters
  type: dict
  sample: {kind: denied, retryable: false, status: 403, maybe_applied: false}
"""

import json
import os
import traceback

from ansible.module_utils.basic import AnsibleFallbackNotFound, AnsibleModule, missing_required_lib
from ansible.module_utils.consul_session import ConsulSession, Failed

STATES = "present absent info node list renew locked unlocked holder written"
DEADLINE = 60  # seconds, for a response that arrives too slowly; a silent server meets the call's own timeout first

# Errors in the environment, as parameter and message. A fallback runs before there is a module that could fail.
mistakes = []


def environment(name):
    if not os.environ.get(name):
        raise AnsibleFallbackNotFound
    return os.environ[name]


def unusable(parameter, message):
    mistakes.append((parameter, message))
    raise AnsibleFallbackNotFound


def token_by_environment():
    if not os.environ.get("CONSUL_HTTP_TOKEN_FILE"):
        return environment("CONSUL_HTTP_TOKEN")
    failure = f"CONSUL_HTTP_TOKEN_FILE: cannot use the token file {os.environ['CONSUL_HTTP_TOKEN_FILE']}"
    try:
        with open(os.environ["CONSUL_HTTP_TOKEN_FILE"], encoding="utf-8") as opened:
            token = opened.read().strip()
    except OSError as error:
        unusable("token", f"{failure}: {error.strerror}")
    except ValueError:
        unusable("token", f"{failure}: it is not UTF-8 text")
    # With an empty token, the request would be anonymous.
    return token or unusable("token", f"{failure}: it is empty")


def truth_by_environment(name):
    text = environment(name).strip()
    if text.lower() in ("1", "1.0", "t", "true", "y", "yes", "on"):
        return True
    if text.lower() in ("0", "0.0", "f", "false", "n", "no", "off"):
        return False
    return unusable(name, f"`{name}` must be true or false, not `{text}`")


def https_by_environment(name):
    if truth_by_environment(name):
        return "https"
    raise AnsibleFallbackNotFound


def predict(module, state, why):
    """Ends a check mode task that needs a session which an earlier task would have created."""
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
        "state": {"choices": STATES.split(), "default": "present"},
        "key": {"no_log": False},
        "checks": {"type": "list", "elements": "str"},
        "node_checks": {"type": "list", "elements": "str"},
        "service_checks": {"type": "list", "elements": "raw"},
        "behavior": {"choices": ["release", "delete"]},
        "unique": {"type": "bool", "default": True},
        "recreate": {"type": "bool", "default": False},
        "port": {"type": "int"},
        "token": {"no_log": True},
        "validate_certs": {"type": "bool"},
        "ca_path": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path"},
        "cache": {"type": "bool", "default": True},
    }
    strings = "name id node datacenter delay ttl value session lock wait url host scheme namespace partition timeout"
    options.update({name: {} for name in strings.split()})
    module = AnsibleModule(
        argument_spec={
            name: dict(option, fallback=fallback[name]) if name in fallback else option
            for name, option in options.items()
        },
        supports_check_mode=True,
    )
    refused = {"retryable": False, "maybe_applied": False}
    for parameter, message in mistakes:
        module.fail_json(msg=message, error=dict(refused, kind="invalid", parameter=parameter))
    # Ansible sets parameters that are not given to None. The component gets only those that are given.
    params = {name: value for name, value in module.params.items() if value is not None}
    component, cache = params.pop("component"), params.pop("cache")
    state = params["state"]
    if module.check_mode and state in ("absent", "info", "renew") and not params.get("id") and not params.get("name"):
        predict(module, state, "no id or name, so this task assumes a session that an earlier task would create")
    server_name = os.environ.get("CONSUL_TLS_SERVER_NAME")
    tls = {"server_name": server_name} if server_name else {}
    try:
        consul = ConsulSession(component, DEADLINE, cache=cache, **tls)
    except ImportError:
        module.fail_json(msg=missing_required_lib("wasmtime"), exception=traceback.format_exc())
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"cannot run the component {component}: {error}", error=dict(refused, kind="other"))
    try:
        failed, result = False, consul.action(dict(params, check_mode=module.check_mode, diff=module._diff))
    except Failed as failure:
        failed, result = True, {"failed": True, "msg": str(failure), "error": failure.error}
    for warning in result.pop("warnings", []):
        module.warn(warning)
    if failed and module.check_mode and state == "renew" and result["error"]["kind"] == "not-found":
        predict(module, state, result["msg"])
    if failed:
        module.fail_json(**result)
    if "diff" in result:
        # Ansible compares strings line by line.
        result["diff"] = {side: json.dumps(sessions, indent=2) + "\n" for side, sessions in result["diff"].items()}
    module.exit_json(**result)


if __name__ == "__main__":
    main()

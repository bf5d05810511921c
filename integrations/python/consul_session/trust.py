"""TLS settings: which certificates to trust, and which to present."""

import functools
import os
from dataclasses import dataclass, replace
from typing import Optional

from .failure import failed

PARAMETERS = ("validate_certs", "ca_path", "client_cert", "client_key")
TRUE, FALSE = ("true", "yes", "y", "on", "t", "1"), ("false", "no", "n", "off", "f", "0")


@dataclass(frozen=True)
class Trust:
    validate_certs: bool = True
    ca_path: Optional[str] = None  # a PEM file with the only certificates to trust
    client_cert: Optional[str] = None
    client_key: Optional[str] = None  # default: the file in client_cert
    server_name: Optional[str] = None  # the name to verify, in place of the host

    def take_from(self, params):
        """Returns the settings with those of an action, and the action's other parameters."""
        given = {name: params[name] for name in PARAMETERS if params.get(name) not in (None, "")}
        if "validate_certs" in given:
            given["validate_certs"] = truth(given["validate_certs"])
        # A path may be a number or a boolean, because a template may have made it one.
        texts = {name: value if name == "validate_certs" else str(value) for name, value in given.items()}
        if params.get("validate_certs") == "":
            raise failed("invalid", "`validate_certs` must not be empty", parameter="validate_certs")
        return replace(self, **texts), {name: value for name, value in params.items() if name not in PARAMETERS}

    def context(self):
        """The settings as OpenSSL takes them. Files are read again after they changed, for example when renewed."""
        if self.client_key and not self.client_cert:
            raise failed("invalid", "`client_key` needs `client_cert`", parameter="client_key")
        files = [
            ("ca_path", "CA file", self.ca_path if self.validate_certs else None),
            ("client_cert", "client certificate file", self.client_cert),
            ("client_key", "key file", self.client_key),
        ]
        return build(self, tuple(state(*file) for file in files))

    def check(self):
        """Fails if a file cannot be used, even if the address turns out to be `http`."""
        if self.ca_path or self.client_cert or self.client_key:
            self.context()


def truth(value):
    text = str(value).strip().lower()
    if text not in TRUE + FALSE:
        raise failed("invalid", f"`validate_certs` must be true or false, not `{value}`", parameter="validate_certs")
    return text in TRUE


def state(parameter, what, path):
    """What changes when the file changes. Fails if the file cannot be read."""
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            file.read(1)
            status = os.fstat(file.fileno())
            return status.st_ino, status.st_size, status.st_mtime_ns
    except OSError as error:
        raise failed("invalid", f"cannot read the {what} {path}: {error.strerror}", parameter=parameter) from error


@functools.lru_cache(maxsize=16)
def build(trust, _files):
    import ssl  # here, because it takes 20 ms

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not trust.validate_certs:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif trust.ca_path:
        context.verify_flags |= 0x80000  # X509_V_FLAG_PARTIAL_CHAIN: any certificate in the file is trusted
        try:
            context.load_verify_locations(trust.ca_path)
        except ssl.SSLError as error:
            why = f"cannot use the CA file {trust.ca_path}: {reason(error, 'the PEM data contains no certificate')}"
            raise failed("invalid", why, parameter="ca_path") from error
    else:
        context.load_default_certs()
    if trust.client_cert:
        key = trust.client_key or trust.client_cert
        try:
            context.load_cert_chain(trust.client_cert, key, password=lambda: "")  # otherwise OpenSSL asks the terminal
        except ssl.SSLError as error:
            no_certificate = "there is no certificate or key in the PEM data, or the key has a passphrase"
            files = f"the client certificate {trust.client_cert} with the key {key}"
            why = f"cannot use {files}: {reason(error, no_certificate)}"
            raise failed("invalid", why, parameter="client_cert") from error
    return context


def reason(error, otherwise):
    known = {"KEY_VALUES_MISMATCH": "the key belongs to another certificate"}
    return known.get(error.reason, otherwise)

"""The proxy for an address, from `http_proxy`, `https_proxy` and `no_proxy`, as Python's urllib reads them."""

import binascii
import os
import sys
from dataclasses import dataclass, field
from typing import List, Tuple

from .messages import TransportError


@dataclass
class Proxy:
    host: str
    port: int
    headers: List[Tuple[str, str]] = field(repr=False)  # to send to the proxy: its password


def proxy_for(scheme, authority):
    """Returns the proxy to use, or None."""
    if sys.platform not in ("darwin", "win32") and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None  # urllib.request takes 15 ms to import
    from urllib.parse import unquote, urlsplit
    from urllib.request import getproxies, proxy_bypass

    address = getproxies().get(scheme)
    if not address or proxy_bypass(authority):
        return None
    try:
        proxy = urlsplit(address if "://" in address else f"http://{address}")
        if proxy.scheme != "http" or not proxy.hostname:
            raise ValueError
        headers = []
        if proxy.username is not None:
            credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            headers.append(("Proxy-Authorization", b"Basic " + binascii.b2a_base64(credentials, newline=False)))
        return Proxy(proxy.hostname, proxy.port or 80, headers)
    except ValueError as error:  # The address may contain a password.
        raise TransportError("misconfigured", f"the proxy in {scheme}_proxy must be http://host:port") from error

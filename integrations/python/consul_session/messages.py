"""What a `send` function takes, returns and raises. The fields are those of wit/embedded.wit."""

from dataclasses import dataclass, field
from typing import List, Optional, Tuple


@dataclass
class Request:
    """A request to send, exactly once: follow no redirects, and ask for no compression. Timeouts are in seconds."""

    method: str  # GET, PUT or DELETE
    scheme: str
    authority: str  # host:port
    path: str  # with the query, percent-encoded; send it as it is
    headers: List[Tuple[str, str]] = field(repr=False)  # without `host`; they may contain the token
    body: bytes = field(repr=False)
    connect_timeout: float
    first_byte_timeout: float
    between_bytes_timeout: float
    max_body: int  # the longest body that the component reads
    writes: bool  # whether Consul applies a write because of this request

    @property
    def url(self):
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass
class Response:
    """A response, whatever its status."""

    status: int
    headers: List[Tuple[str, str]]
    body: bytes


class TransportError(Exception):
    """A request that got no response. `kind` is a case of `transport-error-kind` in wit/embedded.wit, `detail` says for
    people what the kind does not, and `maybe_sent` says whether the server may have received the request."""

    def __init__(self, kind, detail=None, maybe_sent=False):
        super().__init__(kind, detail, maybe_sent)
        self.kind, self.detail, self.maybe_sent = kind, detail, maybe_sent

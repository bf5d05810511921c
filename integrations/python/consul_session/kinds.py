"""Which exception of the standard library is which kind of transport error."""

import errno
import http.client
import socket
import ssl

from .messages import TransportError

# Alerts of a server that does not accept the client. Under TLS 1.3 they arrive after the client's side of the
# handshake, but before the server reads a request.
REJECTIONS = (
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "DECRYPT_ERROR",
    "HANDSHAKE_FAILURE",
    "NO_CERTIFICATE",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
)


def of_dialing(error):
    """An error while connecting to an address."""
    if isinstance(error, socket.timeout):
        return TransportError("connect-timeout", "connecting took too long")
    if isinstance(error, ConnectionRefusedError):
        return TransportError("connection-refused")
    full = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL)
    return TransportError("too-many-connections" if full else "unreachable", error.strerror or str(error))


def of_handshake(error):
    """An error during the TLS handshake."""
    if isinstance(error, socket.timeout):
        return TransportError("connect-timeout", "the TLS handshake took too long")
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransportError("untrusted-certificate", error.verify_message)
    if alert := alert_of(error):
        return TransportError("tls-alert", alert_text(alert))
    if isinstance(error, ssl.SSLEOFError) or not isinstance(error, ssl.SSLError):
        return TransportError("tls-handshake", "the server closed the connection during the handshake")
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE"):
        return TransportError("tls-handshake", "the server does not speak TLS; is the scheme right?")
    return TransportError("tls-handshake", error.reason or str(error))


def of_exchange(error, stream):
    """An error on an open connection, on which a request may have been sent."""
    sent = stream.sent
    if isinstance(error, socket.timeout):
        return TransportError("response-timeout" if stream.all_sent else "write-timeout", maybe_sent=sent)
    if alert := alert_of(error):
        rejected = alert in REJECTIONS and not stream.received
        return TransportError("tls-alert", alert_text(alert), maybe_sent=sent and not rejected)
    if isinstance(error, (http.client.RemoteDisconnected, http.client.IncompleteRead, OSError)):
        detail = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
        return TransportError("incomplete" if stream.received else "connection-closed", detail, maybe_sent=sent)
    # http.client has no class of its own for the number and length of headers.
    if "header" in str(error) and str(error).startswith("got more than"):
        return TransportError("headers-too-large", maybe_sent=sent)
    return TransportError("not-http", maybe_sent=sent)


def alert_of(error):
    """The name of the alert that the server sent, or None. OpenSSL calls it `TLSV1_ALERT_UNKNOWN_CA`, for example."""
    reason = isinstance(error, ssl.SSLError) and error.reason or ""
    return reason.partition("_ALERT_")[2] or None


def alert_text(alert):
    hint = "; it may require a client certificate" if alert in REJECTIONS else ""
    return f"the server sent the alert {alert.lower().replace('_', ' ')}{hint}"

//! The one file that touches `wasi:http`.

use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method as WasiMethod, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme as WasiScheme, http_error_code,
};
use crate::bindings::wasi::io::streams::StreamError;
use crate::request::{Method, Request};
use crate::transport::{
    Call, MAX_RESPONSE, Response, Transport, TransportError, TransportErrorKind as Kind,
    first_byte_timeout,
};
use consul_session_core::Scheme;

/// HTTP as the host provides it.
pub(crate) struct WasiHttp;

impl Transport for WasiHttp {
    async fn send(&self, call: &Call<'_>, request: &Request) -> Result<Response, TransportError> {
        let outgoing = outgoing(call, request)
            .ok_or_else(|| other("it rejects a part of the request", false))?;
        // Also of a GET, which has no body: preview2-shim 0.26 leaks the connection of a request whose body is not finished.
        let body = outgoing.body().ok();
        let response = handle(outgoing, Some(options(call, request)))
            .map_err(|code| from_code(&code, false))?;
        if let Some(body) = body {
            send_body(body, &request.body);
        }
        response.subscribe().block();
        match response.get() {
            Some(Ok(Ok(incoming))) => read(&incoming),
            Some(Ok(Err(code))) => Err(from_code(&code, true)),
            Some(Err(())) | None => Err(other("it reported readiness without a response", true)),
        }
    }
}

fn outgoing(call: &Call<'_>, request: &Request) -> Option<OutgoingRequest> {
    let headers = Fields::new();
    for (name, value) in call.headers(request) {
        headers.append(name, value.as_bytes()).ok()?;
    }
    let outgoing = OutgoingRequest::new(headers);
    // A new request is a GET.
    if request.method == Method::Put {
        outgoing.set_method(&WasiMethod::Put).ok()?;
    }
    outgoing
        .set_scheme(Some(&match call.address.scheme {
            Scheme::Http => WasiScheme::Http,
            Scheme::Https => WasiScheme::Https,
        }))
        .ok()?;
    outgoing
        .set_authority(Some(&call.address.authority()))
        .ok()?;
    outgoing.set_path_with_query(Some(&request.path)).ok()?;
    Some(outgoing)
}

/// The timeouts. A host that does not support them has limits of its own.
fn options(call: &Call<'_>, request: &Request) -> RequestOptions {
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(Some(call.timeout));
    let _ = options.set_first_byte_timeout(Some(first_byte_timeout(call, request)));
    let _ = options.set_between_bytes_timeout(Some(call.timeout));
    options
}

/// Writes the body. A failure here is not a failure of the request: with a declared length, the host may close the stream
/// as soon as it has the last byte (seen in 69 of 80 requests on wasmtime 48), and a server may respond before it has read
/// everything. The response decides.
fn send_body(body: OutgoingBody, mut bytes: &[u8]) {
    if let Ok(stream) = body.write() {
        while !bytes.is_empty() {
            match stream.check_write() {
                Ok(0) => stream.subscribe().block(),
                Ok(room) => {
                    let now = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
                    if stream.write(&bytes[..now]).is_err() {
                        break;
                    }
                    bytes = &bytes[now..];
                }
                Err(_) => break,
            }
        }
        let _ = stream.flush();
    }
    let _ = OutgoingBody::finish(body, None);
}

fn read(incoming: &IncomingResponse) -> Result<Response, TransportError> {
    let headers = incoming.headers().entries();
    let headers = headers
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()));
    let body = incoming
        .consume()
        .map_err(|()| other("it provides no response body", true))?;
    let body = read_body(&body)?;
    Ok(Response::new(incoming.status(), headers, body))
}

fn read_body(body: &IncomingBody) -> Result<Vec<u8>, TransportError> {
    let stream = body
        .stream()
        .map_err(|()| other("it provides no response body", true))?;
    let mut bytes = Vec::new();
    loop {
        // One byte more than allowed, to notice an excess.
        let room = MAX_RESPONSE + 1 - bytes.len();
        match stream.blocking_read(room.min(64 << 10) as u64) {
            Ok(chunk) if bytes.is_empty() => bytes = chunk,
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(failure)) => {
                return Err(match http_error_code(&failure) {
                    Some(code) => from_code(&code, true),
                    None => from_text(&failure.to_debug_string()),
                });
            }
        }
        if bytes.len() > MAX_RESPONSE {
            return Err(error(Kind::BodyTooLarge, None, true));
        }
    }
}

fn error(kind: Kind, detail: Option<&str>, maybe_sent: bool) -> TransportError {
    TransportError {
        kind,
        detail: detail.map(str::to_owned),
        maybe_sent,
    }
}

fn other(why: &str, maybe_sent: bool) -> TransportError {
    error(Kind::Other, Some(why), maybe_sent)
}

/// A failure for which the host has only text: wasmtime 48 has no code for failures within a body.
fn from_text(text: &str) -> TransportError {
    let says = |needle: &str| text.contains(needle);
    let (kind, detail) = if says("imeout") || says("timed out") {
        (Kind::ResponseTimeout, None)
    } else if says("size exceeds") || says("BodySize") {
        (Kind::BodyTooLarge, None)
    } else if says("ncomplete") {
        (Kind::Incomplete, None)
    } else if says("terminated") {
        (Kind::ConnectionClosed, None)
    } else if says("protocol") {
        (Kind::NotHttp, Some(text))
    } else {
        (Kind::ConnectionClosed, Some(text))
    };
    error(kind, detail, true)
}

/// `handled` is whether the host had accepted the request.
fn from_code(code: &ErrorCode, handled: bool) -> TransportError {
    let (kind, detail, sent) = match code {
        ErrorCode::HttpRequestDenied => (Kind::Denied, None, false),
        ErrorCode::DestinationIpProhibited => (Kind::AddressDenied, None, false),
        ErrorCode::DnsTimeout => (Kind::ConnectTimeout, None, false),
        // preview2-shim 0.26 also reports a late response this way, so the request may have been sent.
        ErrorCode::ConnectionTimeout => (Kind::Timeout, None, true),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            (Kind::ResponseTimeout, None, true)
        }
        ErrorCode::ConnectionWriteTimeout => (Kind::WriteTimeout, None, true),
        ErrorCode::TlsProtocolError => (Kind::TlsHandshake, None, false),
        ErrorCode::TlsCertificateError => (Kind::UntrustedCertificate, None, false),
        ErrorCode::TlsAlertReceived(alert) => {
            (Kind::TlsAlert, alert.alert_message.as_deref(), false)
        }
        // preview2-shim 0.26 reports a failed handshake only as text from Node.
        ErrorCode::InternalError(Some(detail)) if is_about_tls(detail) => {
            (Kind::TlsHandshake, Some(detail.as_str()), false)
        }
        ErrorCode::DnsError(detail) => (Kind::Unresolved, detail.rcode.as_deref(), false),
        ErrorCode::DestinationNotFound => (Kind::Unreachable, Some("not found"), false),
        ErrorCode::DestinationUnavailable => (Kind::Unreachable, None, false),
        ErrorCode::DestinationIpUnroutable => (Kind::Unreachable, Some("unroutable"), false),
        ErrorCode::ConnectionRefused => (Kind::ConnectionRefused, None, false),
        ErrorCode::ConnectionLimitReached => (Kind::TooManyConnections, None, false),
        ErrorCode::ConfigurationError => (Kind::Misconfigured, None, false),
        ErrorCode::ConnectionTerminated => (Kind::ConnectionClosed, None, true),
        ErrorCode::HttpResponseIncomplete => (Kind::Incomplete, None, true),
        ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseTrailerSectionSize(_)
        | ErrorCode::HttpResponseTrailerSize(_) => (Kind::HeadersTooLarge, None, true),
        ErrorCode::HttpResponseBodySize(_) => (Kind::BodyTooLarge, None, true),
        ErrorCode::HttpResponseTransferCoding(_) | ErrorCode::HttpResponseContentCoding(_) => {
            (Kind::UnsupportedCoding, None, true)
        }
        ErrorCode::HttpUpgradeFailed | ErrorCode::HttpProtocolError => (Kind::NotHttp, None, true),
        ErrorCode::InternalError(detail) => (Kind::Other, detail.as_deref(), true),
        _ => (Kind::Other, Some("it cannot send this request"), true),
    };
    error(kind, detail, sent && handled)
}

fn is_about_tls(detail: &str) -> bool {
    detail.contains("certificate") || detail.contains("SSL") || detail.contains("TLS")
}

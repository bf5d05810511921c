//! The one file that touches `wasi:http`.

use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method as WasiMethod, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme as WasiScheme, http_error_code,
};
use crate::bindings::wasi::io::streams::StreamError;
use crate::request::{Method, Request};
use crate::transport::{
    Call, MAX_RESPONSE, Response, Transport, TransportError, TransportErrorKind,
};
use consul_session_core::Scheme;

/// HTTP as the host provides it.
pub(crate) struct WasiHttp;

impl Transport for WasiHttp {
    fn send(&self, call: &Call<'_>, request: &Request) -> Result<Response, TransportError> {
        let outgoing = outgoing(call, request).ok_or_else(|| {
            error(
                TransportErrorKind::Other,
                "it rejects a part of the request",
                false,
            )
        })?;
        let body = outgoing.body().ok();
        let response = handle(outgoing, Some(options(call.timeout)))
            .map_err(|code| from_code(&code, false))?;
        if let Some(body) = body {
            send_body(body, &request.body);
        }
        response.subscribe().block();
        match response.get() {
            Some(Ok(Ok(incoming))) => read(&incoming),
            Some(Ok(Err(code))) => Err(from_code(&code, true)),
            Some(Err(())) | None => Err(error(
                TransportErrorKind::Other,
                "it reported readiness without a response",
                true,
            )),
        }
    }
}

fn outgoing(call: &Call<'_>, request: &Request) -> Option<OutgoingRequest> {
    let headers = Fields::new();
    let set = |name: &str, value: &str| headers.append(name, value.as_bytes()).ok();
    set("accept", "application/json")?;
    if let Some(token) = call.token {
        set("x-consul-token", token)?;
    }
    if request.method == Method::Put {
        // Without it, Consul ignores the body and creates a default session.
        set("content-length", &request.body.len().to_string())?;
        if !request.body.is_empty() {
            set("content-type", "application/json")?;
        }
    }
    let outgoing = OutgoingRequest::new(headers);
    outgoing
        .set_method(&match request.method {
            Method::Get => WasiMethod::Get,
            Method::Put => WasiMethod::Put,
        })
        .ok()?;
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
fn options(timeout: u64) -> RequestOptions {
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(Some(timeout));
    let _ = options.set_first_byte_timeout(Some(timeout));
    let _ = options.set_between_bytes_timeout(Some(timeout));
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
    let headers = incoming.headers();
    let header = |name: &str| {
        headers
            .get(name)
            .into_iter()
            .next()
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    };
    let mut response = Response {
        status: incoming.status(),
        content_type: header("content-type"),
        content_encoding: header("content-encoding"),
        location: header("location"),
        filtered: header("x-consul-results-filtered-by-acls")
            .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        body: Vec::new(),
    };
    let body = incoming.consume().map_err(|()| {
        error(
            TransportErrorKind::Other,
            "it provides no response body",
            true,
        )
    })?;
    response.body = read_body(&body)?;
    Ok(response)
}

fn read_body(body: &IncomingBody) -> Result<Vec<u8>, TransportError> {
    let stream = body.stream().map_err(|()| {
        error(
            TransportErrorKind::Other,
            "it provides no response body",
            true,
        )
    })?;
    let mut bytes = Vec::new();
    loop {
        // One byte more than allowed, to notice an excess.
        let room = MAX_RESPONSE + 1 - bytes.len();
        match stream.blocking_read(room.min(64 << 10) as u64) {
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
            let text = format!("it is larger than {} MiB", MAX_RESPONSE >> 20);
            return Err(error(TransportErrorKind::NotHttp, &text, true));
        }
    }
}

fn error(kind: TransportErrorKind, text: &str, maybe_sent: bool) -> TransportError {
    TransportError {
        kind,
        text: text.to_owned(),
        maybe_sent,
    }
}

/// A failure for which the host has only text: wasmtime 48 has no code for failures within a body.
fn from_text(text: &str) -> TransportError {
    let says = |needle: &str| text.contains(needle);
    let (kind, text) = if says("imeout") || says("timed out") {
        (
            TransportErrorKind::Timeout,
            "the rest of the response did not arrive in time",
        )
    } else if says("size exceeds") || says("BodySize") {
        (TransportErrorKind::NotHttp, "it is too large")
    } else if says("protocol") {
        (TransportErrorKind::NotHttp, text)
    } else {
        (TransportErrorKind::Broken, text)
    };
    error(kind, text, true)
}

fn from_code(code: &ErrorCode, handled: bool) -> TransportError {
    use TransportErrorKind::{Broken, Denied, NotHttp, Other, Timeout, Tls};
    let (kind, sent) = match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => (Denied, false),
        ErrorCode::DnsTimeout => (Timeout, false),
        // preview2-shim 0.26 also reports a late response this way, so the request may have been sent.
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => (Timeout, true),
        ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError
        | ErrorCode::TlsAlertReceived(_) => (Tls, false),
        ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionLimitReached => (Broken, false),
        ErrorCode::ConfigurationError => (Other, false),
        // preview2-shim 0.26 reports a failed handshake only as text from Node.
        ErrorCode::InternalError(Some(detail)) if is_about_tls(detail) => (Tls, false),
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => (Broken, true),
        ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseTrailerSectionSize(_)
        | ErrorCode::HttpResponseTrailerSize(_)
        | ErrorCode::HttpResponseTransferCoding(_)
        | ErrorCode::HttpResponseContentCoding(_)
        | ErrorCode::HttpUpgradeFailed
        | ErrorCode::HttpProtocolError => (NotHttp, true),
        _ => (Other, true),
    };
    error(kind, &description(code), sent && handled)
}

fn is_about_tls(detail: &str) -> bool {
    detail.contains("certificate") || detail.contains("SSL") || detail.contains("TLS")
}

/// Describes a code, with the host's detail if there is one.
fn description(code: &ErrorCode) -> String {
    let (description, detail) = match code {
        ErrorCode::DnsTimeout => ("could not connect in time", None),
        ErrorCode::DnsError(detail) => ("cannot resolve the name", detail.rcode.as_deref()),
        ErrorCode::DestinationNotFound => ("destination not found", None),
        ErrorCode::DestinationUnavailable => ("destination unavailable", None),
        ErrorCode::DestinationIpProhibited => ("destination address not allowed", None),
        ErrorCode::DestinationIpUnroutable => ("destination address unroutable", None),
        ErrorCode::ConnectionRefused => ("connection refused", None),
        ErrorCode::ConnectionTerminated => ("connection closed by the server", None),
        ErrorCode::ConnectionTimeout => ("connecting or waiting took too long", None),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            ("the server took too long to respond", None)
        }
        ErrorCode::ConnectionWriteTimeout => ("the server took too long to read the request", None),
        ErrorCode::ConnectionLimitReached => ("too many connections", None),
        ErrorCode::TlsProtocolError => ("TLS handshake failed", None),
        ErrorCode::TlsCertificateError => ("the server's certificate is not trusted", None),
        ErrorCode::TlsAlertReceived(detail) => (
            "the server aborted the TLS handshake",
            detail.alert_message.as_deref(),
        ),
        ErrorCode::HttpRequestDenied => ("request denied", None),
        ErrorCode::HttpResponseIncomplete => ("the response ended too early", None),
        ErrorCode::HttpResponseHeaderSectionSize(_) | ErrorCode::HttpResponseHeaderSize(_) => {
            ("the response's headers are too large", None)
        }
        ErrorCode::HttpResponseBodySize(_) => ("the response is too large", None),
        ErrorCode::HttpResponseTransferCoding(_) => ("unsupported transfer coding", None),
        ErrorCode::HttpResponseContentCoding(_) => ("unsupported content coding", None),
        ErrorCode::HttpProtocolError => (
            "the server closed the connection early or does not speak HTTP",
            None,
        ),
        ErrorCode::ConfigurationError => ("the host is misconfigured", None),
        ErrorCode::InternalError(detail) => ("internal error of the host", detail.as_deref()),
        _ => ("the host cannot send this request", None),
    };
    match detail {
        Some(detail) => format!(
            "{description}: {}",
            detail.lines().next().unwrap_or_default()
        ),
        None => description.to_owned(),
    }
}

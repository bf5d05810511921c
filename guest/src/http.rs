//! The one file that touches `wasi:http`.

use crate::bindings::wasi::http::outgoing_handler::handle;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method as WasiMethod, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme as WasiScheme, http_error_code,
};
use crate::bindings::wasi::io::streams::StreamError;
use crate::connection::Scheme;
use crate::request::{Method, Request};
use crate::transport::{Answer, Breach, BreachKind, Call, MAX_ANSWER, Transport};

/// HTTP as the host provides it.
pub(crate) struct WasiHttp;

impl Transport for WasiHttp {
    fn send(&self, call: &Call<'_>, request: &Request) -> Result<Answer, Breach> {
        let outgoing = outgoing(call, request)
            .ok_or_else(|| breach(BreachKind::Other, "it refuses the request's parts", false))?;
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
            Some(Err(())) | None => Err(breach(
                BreachKind::Other,
                "it has no answer where one was due",
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
        // Consul does not read a body without it and would create a default session.
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

/// A host may know no such options; it then has bounds of its own.
fn options(timeout: u64) -> RequestOptions {
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(Some(timeout));
    let _ = options.set_first_byte_timeout(Some(timeout));
    let _ = options.set_between_bytes_timeout(Some(timeout));
    options
}

/// Writes the body. No failure in here is one of the request: with a declared length the host may close the stream as
/// soon as it has the last byte (seen in up to 69 of 80 requests on wasmtime 48), and a server may answer before it has
/// read everything. The answer decides.
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

fn read(incoming: &IncomingResponse) -> Result<Answer, Breach> {
    let headers = incoming.headers();
    let header = |name: &str| {
        headers
            .get(name)
            .into_iter()
            .next()
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    };
    let mut answer = Answer {
        status: incoming.status(),
        content_type: header("content-type"),
        content_encoding: header("content-encoding"),
        location: header("location"),
        filtered: header("x-consul-results-filtered-by-acls")
            .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        body: Vec::new(),
    };
    let body = incoming
        .consume()
        .map_err(|()| breach(BreachKind::Other, "it hands out no body", true))?;
    answer.body = read_body(&body)?;
    Ok(answer)
}

fn read_body(body: &IncomingBody) -> Result<Vec<u8>, Breach> {
    let stream = body
        .stream()
        .map_err(|()| breach(BreachKind::Other, "it hands out no body", true))?;
    let mut bytes = Vec::new();
    loop {
        // One more than allowed is asked for, to tell a full answer from one that is too long.
        let room = MAX_ANSWER + 1 - bytes.len();
        match stream.blocking_read(room.min(64 << 10) as u64) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(match http_error_code(&error) {
                    Some(code) => from_code(&code, true),
                    None => from_text(&error.to_debug_string()),
                });
            }
        }
        if bytes.len() > MAX_ANSWER {
            let text = format!("it is larger than {} MiB", MAX_ANSWER >> 20);
            return Err(breach(BreachKind::NotHttp, &text, true));
        }
    }
}

fn breach(kind: BreachKind, text: &str, maybe_sent: bool) -> Breach {
    Breach {
        kind,
        text: text.to_owned(),
        maybe_sent,
    }
}

/// A failure for which the host has no code, only words: wasmtime 48 has none for whatever goes wrong within a body.
fn from_text(text: &str) -> Breach {
    let says = |needle: &str| text.contains(needle);
    let (kind, text) = if says("imeout") || says("timed out") {
        (BreachKind::Timeout, "the rest of the answer did not come")
    } else if says("size exceeds") || says("BodySize") {
        (BreachKind::NotHttp, "it is too large")
    } else if says("protocol") {
        (BreachKind::NotHttp, text)
    } else {
        (BreachKind::Broken, text)
    };
    breach(kind, text, true)
}

fn from_code(code: &ErrorCode, handled: bool) -> Breach {
    use BreachKind::{Broken, Denied, NotHttp, Other, Timeout, Tls};
    let (kind, sent) = match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => (Denied, false),
        ErrorCode::DnsTimeout => (Timeout, false),
        // preview2-shim 0.26 says so of an answer that is late too: the request may have gone out.
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
        // preview2-shim 0.26 has no other code for a failed handshake, only Node's words.
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
    breach(kind, &words(code), sent && handled)
}

fn is_about_tls(detail: &str) -> bool {
    detail.contains("certificate") || detail.contains("SSL") || detail.contains("TLS")
}

/// The code in words, with a detail where the host gave one. Not by `Debug`, which brings much code along.
fn words(code: &ErrorCode) -> String {
    let (words, detail) = match code {
        ErrorCode::DnsTimeout => ("no connection in time", None),
        ErrorCode::DnsError(detail) => ("the name cannot be resolved", detail.rcode.as_deref()),
        ErrorCode::DestinationNotFound => ("destination not found", None),
        ErrorCode::DestinationUnavailable => ("destination unavailable", None),
        ErrorCode::DestinationIpProhibited => ("destination address prohibited", None),
        ErrorCode::DestinationIpUnroutable => ("destination address unroutable", None),
        ErrorCode::ConnectionRefused => ("connection refused", None),
        ErrorCode::ConnectionTerminated => ("connection closed by the server", None),
        ErrorCode::ConnectionTimeout => ("connecting or waiting took too long", None),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            ("the server took too long to answer", None)
        }
        ErrorCode::ConnectionWriteTimeout => ("the server took too long to read the request", None),
        ErrorCode::ConnectionLimitReached => ("too many connections", None),
        ErrorCode::TlsProtocolError => ("TLS handshake failed", None),
        ErrorCode::TlsCertificateError => ("the server's certificate is not trusted", None),
        ErrorCode::TlsAlertReceived(detail) => (
            "the server broke off the TLS handshake",
            detail.alert_message.as_deref(),
        ),
        ErrorCode::HttpRequestDenied => ("request denied", None),
        ErrorCode::HttpResponseIncomplete => ("the answer ended too early", None),
        ErrorCode::HttpResponseHeaderSectionSize(_) | ErrorCode::HttpResponseHeaderSize(_) => {
            ("the answer's headers are too large", None)
        }
        ErrorCode::HttpResponseBodySize(_) => ("the answer is too large", None),
        ErrorCode::HttpResponseTransferCoding(_) => ("transfer coding not understood", None),
        ErrorCode::HttpResponseContentCoding(_) => ("content coding not understood", None),
        ErrorCode::HttpProtocolError => ("closed early, or not HTTP", None),
        ErrorCode::ConfigurationError => ("the host is misconfigured", None),
        ErrorCode::InternalError(detail) => ("an error inside the host", detail.as_deref()),
        _ => ("the request cannot be sent as it is", None),
    };
    match detail {
        // Of several lines the first says it.
        Some(detail) => format!("{words}: {}", detail.lines().next().unwrap_or_default()),
        None => words.to_owned(),
    }
}

//! A component's request becomes an HTTP request, and the response goes back to the component.

use crate::component::steps::{
    Header, Method, Request, Response, ResponseHeader, Scheme, Timeouts, TransportError,
    TransportErrorKind,
};
use crate::network::{self, Kind, LimitedBody, Network, RequestError, TOKEN_HEADER};
use crate::runtime::Journal;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http_body_util::{BodyExt, Either, Full};
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of headers of a request. The built-in component sends four.
const MAX_HEADERS: usize = 100;

/// The headers that the built-in component reads.
const READ_HEADERS: [&str; 5] = [
    "content-type",
    "content-encoding",
    "location",
    "x-consul-index",
    "x-consul-results-filtered-by-acls",
];

/// The headers that any component may need (`wit/embedded.wit`).
fn is_needed(name: &str) -> bool {
    READ_HEADERS.contains(&name) || name == "retry-after" || name.starts_with("x-consul-")
}

/// The response for the component, with its whole body and the headers that the component needs.
fn response(head: &http::response::Parts, body: Vec<u8>, built_in: bool) -> Response {
    let headers = head.headers.iter().filter(|(name, _)| {
        if built_in {
            READ_HEADERS.contains(&name.as_str())
        } else {
            is_needed(name.as_str())
        }
    });
    Response {
        status: head.status.as_u16(),
        headers: headers
            .map(|(name, value)| ResponseHeader {
                name: name.to_string(),
                value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            })
            .collect(),
        body,
    }
}

/// Sends a component's request and reads the whole response.
pub(super) async fn exchange(
    network: &Network,
    journal: &Journal,
    deadline: Instant,
    request: Request,
    built_in: bool,
) -> Result<Response, RequestError> {
    let writes = request.writes || !matches!(request.method, Method::Get);
    let timeouts = timeouts(request.timeouts);
    let max_body = usize::try_from(request.max_body).unwrap_or(usize::MAX);
    let outgoing = outgoing(request, network.injects_token())?;
    journal.begin(outgoing.method(), outgoing.uri(), writes);
    let result = async {
        let sent = network.send(outgoing, timeouts, deadline);
        let (head, mut body) = sent.await?.into_parts();
        body.limit(max_body);
        Ok(response(&head, whole(body).await?, built_in))
    };
    result
        .await
        .inspect_err(|error| journal.failed(error, writes))
}

/// The whole body. Each part is copied and dropped: a part of one byte may hold a buffer of many, so a server could make
/// a body of 8 MiB take hundreds.
async fn whole(mut body: LimitedBody) -> Result<Vec<u8>, RequestError> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole)
}

fn timeouts(timeouts: Timeouts) -> network::Timeouts {
    network::Timeouts {
        connect: Some(Duration::from_nanos(timeouts.connect)),
        first_byte: Some(Duration::from_nanos(timeouts.first_byte)),
        between_bytes: Some(Duration::from_nanos(timeouts.between_bytes)),
    }
}

/// Builds the request. A component other than the built-in one may have put anything into it.
fn outgoing(
    request: Request,
    injects_token: bool,
) -> Result<http::Request<network::RequestBody>, RequestError> {
    let malformed = |what: &str| {
        RequestError::new(
            Kind::Malformed,
            format!("the {what} of the request is malformed"),
        )
    };
    let path = PathAndQuery::try_from(request.path_with_query).map_err(|_| malformed("path"))?;
    let uri = Uri::builder()
        .scheme(match request.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        })
        .authority(request.authority)
        .path_and_query(path)
        .build()
        .map_err(|_| malformed("authority"))?;
    let method = method(request.method);
    let length = request.body.len();
    let mut outgoing = http::Request::new(Either::Left(Full::new(Bytes::from(request.body))));
    *outgoing.uri_mut() = uri;
    if method == http::Method::GET && length > 0 {
        return Err(malformed("body"));
    }
    if request.headers.len() > MAX_HEADERS {
        let why = format!("the request has more than {MAX_HEADERS} headers");
        return Err(RequestError::new(Kind::Malformed, why));
    }
    for Header { name, value } in request.headers {
        let name = HeaderName::try_from(name).map_err(|_| malformed("header"))?;
        let value = HeaderValue::try_from(value).map_err(|_| malformed("header"))?;
        // Counted here, so that no byte of the body or of the next request can pass for the other.
        if name == header::CONTENT_LENGTH {
            continue;
        }
        if is_forbidden(&name) || (injects_token && name == TOKEN_HEADER) {
            let why = format!("the component must not send the header `{name}`");
            return Err(RequestError::new(Kind::Malformed, why));
        }
        outgoing.headers_mut().append(name, value);
    }
    if method != http::Method::GET {
        outgoing
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    *outgoing.method_mut() = method;
    Ok(outgoing)
}

/// The headers that `wasi:http` forbids, and those that announce something after the headers.
fn is_forbidden(name: &HeaderName) -> bool {
    [
        header::AUTHORIZATION,
        header::EXPECT,
        header::TE,
        header::TRAILER,
    ]
    .contains(name)
        || wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS.contains(name)
}

fn method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Put => http::Method::PUT,
        Method::Delete => http::Method::DELETE,
    }
}

pub(super) fn transport_error(error: &RequestError) -> TransportError {
    TransportError {
        kind: match error.kind() {
            Kind::Denied => TransportErrorKind::Denied,
            Kind::TooMany => TransportErrorKind::TooManyConnections,
            Kind::AddressDenied => TransportErrorKind::AddressDenied,
            Kind::Resolve => TransportErrorKind::Unresolved,
            Kind::ConnectTimeout => TransportErrorKind::ConnectTimeout,
            Kind::Refused => TransportErrorKind::ConnectionRefused,
            Kind::Unreachable => TransportErrorKind::Unreachable,
            Kind::Certificate => TransportErrorKind::UntrustedCertificate,
            Kind::Handshake => TransportErrorKind::TlsHandshake,
            Kind::Alert => TransportErrorKind::TlsAlert,
            Kind::ReadTimeout => TransportErrorKind::ResponseTimeout,
            Kind::Terminated => TransportErrorKind::ConnectionClosed,
            Kind::Incomplete => TransportErrorKind::Incomplete,
            Kind::TooLarge => TransportErrorKind::BodyTooLarge,
            Kind::NotHttp => TransportErrorKind::NotHttp,
            Kind::Malformed | Kind::Internal => TransportErrorKind::Other,
        },
        detail: error.visible_detail().map(str::to_owned),
        maybe_sent: !error.is_before_sending(),
    }
}

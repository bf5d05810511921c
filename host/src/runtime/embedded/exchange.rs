//! A component's request becomes an HTTP request, and the response goes back to the component.

use crate::component::steps::{
    Header, Method, Request, Response, ResponseHeader, Scheme, Timeouts, TransportError,
    TransportErrorKind,
};
use crate::network::{self, Kind, RequestError, TOKEN_HEADER};
use crate::runtime::Call;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http_body_util::{BodyExt, Either, Full};
use std::time::Duration;

/// The headers that components read (`wit/embedded.wit`).
const READ_HEADERS: [&str; 5] = [
    "content-type",
    "content-encoding",
    "location",
    "x-consul-index",
    "x-consul-results-filtered-by-acls",
];

/// A response with its whole body.
pub(super) struct Complete {
    head: http::response::Parts,
    body: Bytes,
}

impl Complete {
    /// The size of the body in bytes.
    pub(super) fn size(&self) -> usize {
        self.body.len()
    }

    /// The response as the component takes it: with the headers that it needs.
    pub(super) fn lowered(&self) -> Response<'_> {
        let headers = self.head.headers.iter().filter_map(|(name, value)| {
            let name = name.as_str();
            if !READ_HEADERS.contains(&name) {
                return None;
            }
            let value = value.to_str().ok()?;
            Some(ResponseHeader { name, value })
        });
        Response {
            status: self.head.status.as_u16(),
            headers: headers.collect(),
            body: &self.body,
        }
    }
}

impl Call {
    /// Sends a component's request and reads the whole response.
    pub(super) async fn exchange(&self, request: Request) -> Result<Complete, RequestError> {
        let writes = request.writes || !matches!(request.method, Method::Get);
        let timeouts = timeouts(request.timeouts);
        let max_body = usize::try_from(request.max_body).unwrap_or(usize::MAX);
        let outgoing = outgoing(request, self.network.injects_token())?;
        self.journal
            .begin(outgoing.method(), outgoing.uri(), writes);
        let result = async {
            let response = self.network.send(outgoing, timeouts, self.network_deadline);
            let (head, mut body) = response.await?.into_parts();
            body.limit(max_body);
            let body = body.collect().await?.to_bytes();
            Ok(Complete { head, body })
        };
        result
            .await
            .inspect_err(|error| self.journal.failed(error, writes))
    }
}

fn timeouts(timeouts: Timeouts) -> network::Timeouts {
    network::Timeouts {
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
    for Header { name, value } in request.headers {
        let name = HeaderName::try_from(name).map_err(|_| malformed("header"))?;
        let value = HeaderValue::try_from(value).map_err(|_| malformed("header"))?;
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

/// The headers that `wasi:http` forbids, too.
fn is_forbidden(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION || wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS.contains(name)
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

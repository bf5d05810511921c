//! Error responses: the status of each failure.
//!
//! Consul responds to most invalid requests with 500, the same status as to an outage; only the
//! text tells them apart.

use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue};

use crate::acl::UnknownToken;
use crate::response::Response;
use crate::state::Error;
use crate::waiters::TooManyBlockedQueries;

/// A response that ends a request early. Boxed, to keep the `Ok` path of handlers small.
#[derive(Debug)]
pub(crate) struct ErrorResponse(Box<Response>);

impl ErrorResponse {
    fn new(status: StatusCode, text: impl Into<String>) -> ErrorResponse {
        ErrorResponse(Box::new(Response::text(status, text)))
    }

    /// Creates a 400: a parameter or the body does not parse.
    pub(crate) fn bad_request(text: impl Into<String>) -> ErrorResponse {
        ErrorResponse::new(StatusCode::BAD_REQUEST, text)
    }

    /// Creates the 400 of a body that is not the JSON an endpoint expects.
    pub(crate) fn decode_failed(why: String) -> ErrorResponse {
        ErrorResponse::bad_request(format!("Request decode failed: {why}"))
    }

    /// Creates the 400 of a request whose body ended early or timed out, and closes its connection.
    pub(crate) fn incomplete_body() -> ErrorResponse {
        ErrorResponse(Box::new(Response::empty(StatusCode::BAD_REQUEST))).closing()
    }

    /// Creates a 403.
    pub(crate) fn forbidden(text: impl Into<String>) -> ErrorResponse {
        ErrorResponse::new(StatusCode::FORBIDDEN, text)
    }

    /// Creates a 404 with a text.
    pub(crate) fn not_found(text: impl Into<String>) -> ErrorResponse {
        ErrorResponse::new(StatusCode::NOT_FOUND, text)
    }

    /// Creates a 413.
    pub(crate) fn payload_too_large(text: impl Into<String>) -> ErrorResponse {
        ErrorResponse::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    /// Creates a 500: what Consul's servers say to a request they do not accept.
    pub(crate) fn internal_server_error(text: impl Into<String>) -> ErrorResponse {
        ErrorResponse::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// Closes the connection after the response.
    pub(crate) fn closing(mut self) -> ErrorResponse {
        let close = HeaderValue::from_static("close");
        self.0.headers.insert(CONNECTION, close);
        self
    }

    /// Sets the headers of a failed read, which only some of Consul's endpoints send.
    pub(crate) fn with_failed_read_headers(mut self) -> ErrorResponse {
        for (name, value) in [
            ("X-Consul-Index", "1"),
            ("X-Consul-Knownleader", "false"),
            ("X-Consul-Lastcontact", "0"),
        ] {
            self.0.headers.insert(name, HeaderValue::from_static(value));
        }
        self
    }
}

impl From<ErrorResponse> for Response {
    fn from(error: ErrorResponse) -> Response {
        *error.0
    }
}

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> ErrorResponse {
        match error {
            Error::Rejected(text) => ErrorResponse::internal_server_error(text),
            Error::LimitReached { what, limit } => {
                let text = format!("the development agent is at its limit of {limit} {what}");
                ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }
}

impl From<TooManyBlockedQueries> for ErrorResponse {
    fn from(TooManyBlockedQueries { limit }: TooManyBlockedQueries) -> ErrorResponse {
        let text = format!("the development agent is at its limit of {limit} blocked queries");
        ErrorResponse::new(StatusCode::TOO_MANY_REQUESTS, text)
    }
}

impl From<UnknownToken> for ErrorResponse {
    fn from(_: UnknownToken) -> ErrorResponse {
        ErrorResponse::forbidden("ACL not found")
    }
}

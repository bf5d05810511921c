//! Successful responses, and what all responses have in common.

use bytes::Bytes;
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::go::json;

/// What a response reports about a read in its headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryMeta {
    pub(crate) index: u64,
    /// Whether to report that results are missing because the token may not read them.
    pub(crate) filtered: bool,
}

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    /// Creates a response without a body.
    pub(crate) fn empty(status: StatusCode) -> Response {
        Response {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// Creates a plain-text response; Consul's texts have no trailing newline.
    pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response {
        let mut response = Response::empty(status);
        response.body = Bytes::from(text.into());
        response.with(CONTENT_TYPE.as_str(), "text/plain; charset=utf-8")
    }

    /// Creates a 200 with `value` as JSON.
    pub(crate) fn json(value: &impl Serialize) -> Response {
        Response::serialized(json::to_vec(value).into())
    }

    /// Creates a 200 with a body that is JSON already.
    pub(crate) fn serialized(body: Bytes) -> Response {
        let mut response = Response::empty(StatusCode::OK);
        response.body = body;
        response.with(CONTENT_TYPE.as_str(), "application/json")
    }

    /// Sets a header.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Response {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// Sets the headers of a successful read.
    pub(crate) fn with_query_meta(mut self, meta: QueryMeta) -> Response {
        self.headers.insert("X-Consul-Index", meta.index.into());
        self.with_filtered(meta.filtered).with_known_leader()
    }

    /// Sets the header that reports filtered results, if there are any.
    pub(crate) fn with_filtered(self, filtered: bool) -> Response {
        if filtered {
            self.with("X-Consul-Results-Filtered-By-Acls", "true")
        } else {
            self
        }
    }

    /// Removes the newline that ends JSON.
    pub(crate) fn remove_newline_after_json(&mut self) {
        let json = self
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == "application/json");
        if json && self.body.ends_with(b"\n") {
            self.body.truncate(self.body.len() - 1);
        }
    }

    /// Sets the headers that name the freshness of a read: the agent is its own leader.
    pub(crate) fn with_known_leader(self) -> Response {
        self.with("X-Consul-Knownleader", "true")
            .with("X-Consul-Lastcontact", "0")
    }

    /// Converts the response to hyper's type.
    pub(crate) fn into_hyper(self) -> hyper::Response<Full<Bytes>> {
        let mut response = hyper::Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // Go still uses the name that 413 had before RFC 7231.
            let name = ReasonPhrase::from_static(b"Request Entity Too Large");
            response.extensions_mut().insert(name);
        }
        response
    }
}

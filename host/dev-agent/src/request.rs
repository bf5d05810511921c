//! Requests as the endpoints see them, and what all endpoints read from one.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, EXPECT};
use hyper::{HeaderMap, Method};

use crate::error::ErrorResponse;
use crate::go::duration;
use crate::params::Params;
use crate::shared_state::BlockingOptions;
use crate::version::Differences;

/// How long a body may take to arrive; a stalled client must not hold its connection forever.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the agent waits for the rest of a body that no endpoint reads.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of such a body the agent reads, in bytes.
const DRAIN_BYTES: usize = 16 * 1024 * 1024;

/// A routed request.
pub(crate) struct Request {
    pub(crate) version: &'static Differences,
    pub(crate) method: Method,
    /// The decoded part of the path after the endpoint's own: a key, a session id, a name.
    pub(crate) suffix: String,
    pub(crate) params: Params,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
}

impl Request {
    /// Checks the parameters that most of Consul's endpoints check first.
    pub(crate) fn check_common_params(&self) -> Result<(), ErrorResponse> {
        self.blocking_options()?;
        self.reject_namespace()
    }

    /// Reads `index` and `wait`, and rejects contradictory consistency modes. The agent has only
    /// one consistency mode, so it ignores which one the request asks for.
    pub(crate) fn blocking_options(&self) -> Result<BlockingOptions, ErrorResponse> {
        for weak in ["stale", "cached"] {
            if self.params.has(weak) && self.params.has("consistent") {
                return Err(ErrorResponse::bad_request(format!(
                    "Cannot specify ?{weak} with ?consistent, conflicting semantics."
                )));
            }
        }
        let mut options = BlockingOptions::default();
        if let Some(wait) = self.params.get_non_empty("wait") {
            let invalid = |_| ErrorResponse::bad_request("Invalid wait time");
            let wait = duration::parse(wait).map_err(invalid)?;
            options.wait = Duration::from_nanos(wait.try_into().unwrap_or(0));
        }
        if let Some(index) = self.params.get_non_empty("index") {
            // Rust also accepts a plus sign.
            let unsigned = index.starts_with(|c: char| c.is_ascii_digit());
            options.index = match index.parse() {
                Ok(index) if unsigned => index,
                _ => return Err(ErrorResponse::bad_request("Invalid index")),
            };
        }
        Ok(options)
    }

    /// Returns the datacenter that the query names; empty if it names none.
    pub(crate) fn datacenter(&self) -> &str {
        self.params.get("dc").unwrap_or_default()
    }

    /// Rejects a namespace, which only Consul Enterprise has, and in newer versions a partition.
    pub(crate) fn reject_namespace(&self) -> Result<(), ErrorResponse> {
        self.reject_enterprise("ns", "X-Consul-Namespace", "Namespaces")?;
        self.reject_partition()
    }

    /// Rejects a partition, which only Consul Enterprise has; old versions ignore it.
    pub(crate) fn reject_partition(&self) -> Result<(), ErrorResponse> {
        if !self.version.rejects_partitions {
            return Ok(());
        }
        self.reject_enterprise("partition", "X-Consul-Partition", "Partitions")
    }

    fn reject_enterprise(
        &self,
        parameter: &str,
        header: &str,
        feature: &str,
    ) -> Result<(), ErrorResponse> {
        let sent = self.headers.get(header);
        let place = if self.params.get_non_empty(parameter).is_some() {
            format!("query parameter: \"{parameter}\"")
        } else if sent.is_some_and(|value| !value.is_empty()) {
            format!("header: \"{header}\"")
        } else {
            return Ok(());
        };
        let prefix = self.version.enterprise_prefix;
        Err(ErrorResponse::bad_request(format!(
            "{prefix}Invalid {place} - {feature} are a Consul Enterprise feature"
        )))
    }

    /// Returns the first non-empty token of the query, `X-Consul-Token` and `Authorization`.
    pub(crate) fn token(&self) -> Option<&str> {
        let header = |name: &str| self.headers.get(name)?.to_str().ok();
        let bearer = || {
            let (scheme, token) = header(AUTHORIZATION.as_str())?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        };
        let non_empty = |token: &&str| !token.is_empty();
        self.params
            .get_non_empty("token")
            .or_else(|| header("X-Consul-Token").filter(non_empty))
            .or_else(|| bearer().filter(non_empty))
    }

    /// Returns the declared length of the body; a chunked body declares none.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Reads the body.
    ///
    /// # Errors
    ///
    /// A body of more than `limit` bytes is a 413 that names `setting`, the option of Consul's
    /// configuration that sets the limit. A body that ends early or stalls is a 400.
    pub(crate) async fn read_body(
        &mut self,
        limit: usize,
        setting: &str,
    ) -> Result<Bytes, ErrorResponse> {
        let declared = self.content_length();
        if declared.is_none_or(|length| length <= limit as u64) {
            let most = self.version.body_limit(setting, limit, declared.is_none());
            let body = Limited::new(&mut self.body, most).collect();
            match tokio::time::timeout(BODY_TIMEOUT, body).await {
                Ok(Ok(body)) => return Ok(body.to_bytes()),
                Ok(Err(error)) if error.is::<LengthLimitError>() => {}
                Ok(Err(_)) | Err(_) => return Err(ErrorResponse::incomplete_body()),
            }
        }
        let text = self.version.body_too_large(setting, limit, declared);
        Err(ErrorResponse::payload_too_large(text).closing())
    }

    /// Reads and drops what is left of the body, within bounds; returns whether that was all of it.
    ///
    /// A client that is still writing when the connection closes may never see the response.
    pub(crate) async fn drain_body(&mut self) -> bool {
        if self.body.is_end_stream() {
            return true;
        }
        // To read is to ask a client that sent `Expect` for the body.
        if self.headers.contains_key(EXPECT) {
            return false;
        }
        let drain = async {
            let mut left = DRAIN_BYTES;
            while let Some(frame) = self.body.frame().await {
                let length = frame.ok()?.data_ref().map_or(0, Bytes::len);
                left = left.checked_sub(length)?;
            }
            Some(())
        };
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, drain).await;
        matches!(drained, Ok(Some(())))
    }
}

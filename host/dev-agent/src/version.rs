//! The versions of Consul that an agent imitates, and the differences between them.
//!
//! All differences are in the tables [`V1_8`], [`V1_21_5`] and [`V1_22`]. The rest of the crate looks
//! them up there and never compares versions.
//!
//! The behavior of 1.8.7 was recorded from a running server. The behavior of newer versions was READ
//! in Consul's source, on its main branch just after 1.22.0, and NOT RECORDED from a running server.
//! The comment of each row repeats this and names the file.
//!
//! Without a row, the agent responds as 1.8.7 does. That is right for
//! `X-Consul-Effective-Consistency`, which all versions send from `/v1/catalog/` and `/v1/health/` and
//! from nowhere else. It is wrong for small differences that are not imitated: the transaction verb
//! `get-or-empty`, the newline after `Conflicting flags`, content types of empty responses, Go's texts
//! about invalid JSON, and what newer versions check when nodes and services are registered.

use crate::acl::{Access, POWERLESS_ACCESSOR};
use crate::go::url;

/// A version of Consul that an agent can imitate.
///
/// The responses of 1.8.7 were recorded from a running server. Those of the newer versions were read
/// in Consul's source and not recorded.
///
/// The enum may gain versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Version {
    /// Consul 1.8.7.
    #[default]
    V1_8,
    /// Consul 1.21.5: like 1.22, but it accepts only keys of ASCII letters, digits and `,_./-?&=`.
    V1_21_5,
    /// Consul 1.22.
    V1_22,
}

impl Version {
    pub(crate) fn differences(self) -> &'static Differences {
        match self {
            Version::V1_8 => &V1_8,
            Version::V1_21_5 => &V1_21_5,
            Version::V1_22 => &V1_22,
        }
    }
}

/// How a session id is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SessionIds {
    /// As a UUID: any other text is an error.
    Uuid,
    /// As text, in any case: any other text is the id of no session.
    Text,
}

/// Which keys are accepted in a path of `/v1/kv/`.
#[derive(Clone, Copy, Debug)]
enum KeyRule {
    /// Every key that the router accepts.
    Any,
    /// Keys of ASCII letters, digits and [`STRICT_KEY_CHARACTERS`], without `..`.
    Strict,
    /// Keys without `..` segments and without spaces at the ends.
    Relaxed,
}

const STRICT_KEY_CHARACTERS: &[u8] = b",_./-?&=";

/// The rows in which versions differ.
#[derive(Debug)]
pub(crate) struct Differences {
    /// The version that the agent reports as its own.
    pub(crate) number: &'static str,

    /// How the id of a session is looked up.
    ///
    /// READ, NOT RECORDED: `indexFromSession` in `agent/consul/state/session.go`.
    pub(crate) session_ids: SessionIds,

    /// The prefix of an error of the state store when a session is created. An invalid TTL or behavior
    /// is found earlier and has no prefix.
    ///
    /// READ, NOT RECORDED: `Session.Apply` in `agent/consul/session_endpoint.go`.
    pub(crate) session_error_prefix: &'static str,

    /// The prefix of an error of the state store when a key is written. `Txn.Apply` has the same
    /// prefix, but only for failures of Raft: the errors of operations have none.
    ///
    /// READ, NOT RECORDED: `KVS.Apply` in `agent/consul/kvs_endpoint.go`, and
    /// `agent/consul/txn_endpoint.go`.
    pub(crate) kv_error_prefix: &'static str,

    /// Whether a denial names the token, the permission and the resource.
    ///
    /// READ, NOT RECORDED: `acl/errors.go`, and `agent/acl.go` for `/v1/agent/`.
    detailed_denials: bool,

    /// The prefix of the error for a namespace.
    ///
    /// READ, NOT RECORDED: `parseEntMeta` in `agent/http_ce.go`.
    pub(crate) enterprise_prefix: &'static str,

    /// Whether a partition is an error, like a namespace; otherwise it is ignored.
    ///
    /// READ, NOT RECORDED: `parseEntMetaPartition` in `agent/http_ce.go`.
    pub(crate) rejects_partitions: bool,

    /// Which keys are accepted. An invalid key is a 500.
    ///
    /// The relaxed rule was READ, NOT RECORDED: `validateKVKey` in `agent/kvs_endpoint.go`. The strict
    /// rule was read in the tests of that file, and in hashicorp/consul#22822 and #22835, which quote
    /// its error.
    key_rule: KeyRule,

    /// Whether the router looks for `.`, `..` and empty segments in the encoded path, so that an
    /// encoded slash or dot reaches the endpoint; otherwise it looks in the decoded path.
    ///
    /// READ, NOT RECORDED: `net/http` since Go 1.22. `KVSEndpoint` in `agent/kvs_endpoint.go` cleans
    /// the keys that get through.
    pub(crate) routes_by_encoded_path: bool,

    /// Whether `;` separates parameters, like `&`; otherwise it makes the query invalid.
    ///
    /// READ, NOT RECORDED: `net/url` since Go 1.17.
    pub(crate) semicolon_separates: bool,

    /// Whether Consul limits chunked bodies, with texts of their own. A chunked value may then be one
    /// byte longer than another. This agent limits chunked bodies in every version.
    ///
    /// READ, NOT RECORDED: `KVSPut` in `agent/kvs_endpoint.go`, `convertOps` in
    /// `agent/txn_endpoint.go`.
    limits_chunked_bodies: bool,

    /// The page about the limits of bodies, which the texts of 413s name.
    ///
    /// READ, NOT RECORDED: `KVSPut` in `agent/kvs_endpoint.go`, `convertOps` in
    /// `agent/txn_endpoint.go`.
    limits_page: &'static str,

    /// Whether all responses of the API have the header `X-Consul-Default-Acl-Policy`.
    ///
    /// READ, NOT RECORDED: `wrap` in `agent/http.go`.
    pub(crate) sends_default_policy: bool,

    /// Whether all responses with `X-Consul-Index` have the header `X-Consul-Query-Backend`.
    ///
    /// READ, NOT RECORDED: `setMeta` in `agent/http.go`.
    pub(crate) sends_query_backend: bool,

    /// Whether the header `X-Consul-Results-Filtered-By-Acls` reports hidden results. Only a request
    /// with a token gets it.
    ///
    /// READ, NOT RECORDED: `maskResultsFilteredByACLs` in `agent/consul/rpc.go`.
    pub(crate) reports_filtered_results: bool,

    /// Whether a query of a missing session or key keeps blocking while other sessions or keys change.
    ///
    /// READ, NOT RECORDED: `ErrNotFound` in `agent/blockingquery/blockingquery.go`, `Session.Get` in
    /// `agent/consul/session_endpoint.go`, `KVS.Get` in `agent/consul/kvs_endpoint.go`.
    pub(crate) missing_keeps_blocking: bool,

    /// Whether JSON ends with a newline even without `?pretty`. In `-dev` mode, newer versions print
    /// indented JSON, too.
    ///
    /// READ, NOT RECORDED: `marshalJSON` in `agent/http.go`.
    pub(crate) newline_after_json: bool,

    /// Whether the 404 of a path outside the API has a text.
    ///
    /// READ, NOT RECORDED: `Index` in `agent/http.go`.
    explains_unknown_paths: bool,

    /// The content type of a `?raw` value.
    ///
    /// READ, NOT RECORDED: `KVSGet` in `agent/kvs_endpoint.go`.
    pub(crate) raw_value_type: &'static str,

    /// Whether the response to a read-only transaction has index 1 and the newer fields of queries.
    ///
    /// READ, NOT RECORDED: `Txn.Read` in `agent/consul/txn_endpoint.go`, `QueryMeta` in
    /// `agent/structs/structs.go`.
    pub(crate) extends_read_transactions: bool,

    /// Whether a check of type `session` follows the sessions of its node with the name in its
    /// definition: it passes when one is created, and is critical when one ends.
    ///
    /// READ, NOT RECORDED: `updateSessionCheck` in `agent/consul/state/session.go`.
    pub(crate) checks_follow_sessions: bool,

    /// Whether an unknown check or service of the agent is a 404, with access control or without.
    ///
    /// READ, NOT RECORDED: `agent/acl.go`, `AgentRegisterCheck` in `agent/agent_endpoint.go`.
    pub(crate) unknown_local_ids_are_404: bool,
}

/// Consul 1.8.7, as recorded.
const V1_8: Differences = Differences {
    number: crate::VERSION,
    session_ids: SessionIds::Uuid,
    session_error_prefix: "",
    kv_error_prefix: "",
    detailed_denials: false,
    enterprise_prefix: "Bad request: ",
    rejects_partitions: false,
    key_rule: KeyRule::Any,
    routes_by_encoded_path: false,
    semicolon_separates: true,
    limits_chunked_bodies: false,
    limits_page: "https://www.consul.io/docs/agent/options.html",
    sends_default_policy: false,
    sends_query_backend: false,
    reports_filtered_results: false,
    missing_keeps_blocking: false,
    newline_after_json: true,
    explains_unknown_paths: false,
    raw_value_type: "text/plain",
    extends_read_transactions: false,
    checks_follow_sessions: false,
    unknown_local_ids_are_404: false,
};

/// Consul 1.22, as READ in its source and NOT RECORDED.
const V1_22: Differences = Differences {
    number: "1.22.0",
    session_ids: SessionIds::Text,
    session_error_prefix: "apply failed: ",
    kv_error_prefix: "raft apply failed: ",
    detailed_denials: true,
    enterprise_prefix: "",
    rejects_partitions: true,
    key_rule: KeyRule::Relaxed,
    routes_by_encoded_path: true,
    semicolon_separates: false,
    limits_chunked_bodies: true,
    limits_page: "https://developer.hashicorp.com/docs/agent/config/config-files",
    sends_default_policy: true,
    sends_query_backend: true,
    reports_filtered_results: true,
    missing_keeps_blocking: true,
    newline_after_json: false,
    explains_unknown_paths: true,
    raw_value_type: "text/plain; charset=utf-8",
    extends_read_transactions: true,
    checks_follow_sessions: true,
    unknown_local_ids_are_404: true,
};

/// Consul 1.21.5, as READ and NOT RECORDED: 1.22 without the two changes to `/v1/kv/` that the
/// changelog of 1.22.0 lists.
const V1_21_5: Differences = Differences {
    number: "1.21.5",
    key_rule: KeyRule::Strict,
    limits_chunked_bodies: false,
    ..V1_22
};

impl Differences {
    /// Returns the text of a 403. `on` names the resource; it is empty if the permission is for all.
    pub(crate) fn permission_denied(&self, access: Access, permission: &str, on: &str) -> String {
        const DENIED: &str = "Permission denied";
        if !self.detailed_denials {
            return DENIED.into();
        }
        let anonymous = access != Access::Powerless;
        let token = if anonymous {
            "anonymous token".into()
        } else {
            format!("token with AccessorID '{POWERLESS_ACCESSOR}'")
        };
        let mut text = format!("{DENIED}: {token} lacks permission '{permission}'");
        if !on.is_empty() {
            text += &format!(" on \"{on}\"");
        }
        if anonymous {
            text +=
                ". The anonymous token is used implicitly when a request does not specify a token.";
        }
        text
    }

    /// Returns the text of a 403 of `/v1/agent/`, which names the permission in every version.
    pub(crate) fn agent_permission_denied(
        &self,
        access: Access,
        permission: &str,
        on: &str,
    ) -> String {
        if self.detailed_denials {
            self.permission_denied(access, permission, on)
        } else {
            format!("Permission denied: Missing {permission} on {on}")
        }
    }

    /// Returns the key in the decoded rest of a path, or the text of a 500.
    pub(crate) fn key_of_path(&self, path: &str) -> Result<String, &'static str> {
        if path.is_empty() || matches!(self.key_rule, KeyRule::Any) {
            return Ok(path.into());
        }
        let key = url::clean_relative(path);
        match self.key_rule {
            KeyRule::Any => {}
            KeyRule::Strict => {
                let allowed = |byte: u8| {
                    byte.is_ascii_alphanumeric() || STRICT_KEY_CHARACTERS.contains(&byte)
                };
                if !key.bytes().all(allowed) || key.contains("..") {
                    return Err(
                        r#"invalid key name, keys should respect the "^[a-zA-Z0-9,_./\\-?&=]+$" format"#,
                    );
                }
            }
            KeyRule::Relaxed => {
                const SPACES: &str = "invalid key name, leading/trailing spaces are not allowed";
                const TRAVERSAL: &str = "invalid key name, path traversal is not allowed";
                if key.starts_with(' ') || key.ends_with(' ') {
                    return Err(SPACES);
                }
                if key.split('/').any(|segment| segment == "..") {
                    return Err(TRAVERSAL);
                }
                // Consul decodes the key once more, and then rejects any space and any `..`.
                if let Some(decoded) = url::decode(&key).filter(|decoded| *decoded != key) {
                    if decoded.contains("..") {
                        return Err(TRAVERSAL);
                    }
                    if decoded.contains(' ') {
                        return Err(SPACES);
                    }
                }
            }
        }
        Ok(key)
    }

    /// Returns the number of bytes after which a body is too large. `setting` is the option of Consul's
    /// configuration that sets the limit.
    pub(crate) fn body_limit(&self, setting: &str, limit: usize, chunked: bool) -> usize {
        let one_more = chunked && self.limits_chunked_bodies && setting == "kv_max_value_size";
        limit.saturating_add(one_more.into())
    }

    /// Returns the text of a 413. `declared` is the length of the body; a chunked body declares none.
    pub(crate) fn body_too_large(
        &self,
        setting: &str,
        limit: usize,
        declared: Option<u64>,
    ) -> String {
        let page = self.limits_page;
        let length = match (declared, setting) {
            (Some(length), _) => length.to_string(),
            (None, "kv_max_value_size") if self.limits_chunked_bodies => {
                return format!("Request body too large. Max allowed is {limit} bytes.");
            }
            (None, "txn_max_req_len") if self.limits_chunked_bodies => {
                return format!(
                    "Request body too large, max size: {limit} bytes. See {page}#{setting}."
                );
            }
            (None, _) => format!(">{limit}"),
        };
        format!(
            "Request body({length} bytes) too large, max size: {limit} bytes. See {page}#{setting}."
        )
    }

    /// Returns the text of the 404 of a path outside the API, if it has one.
    pub(crate) fn unknown_path(&self, path: &str) -> Option<&'static str> {
        self.explains_unknown_paths.then(|| {
            if path.contains("/v1/") {
                "Invalid URL path: not a recognized HTTP API endpoint\n"
            } else {
                "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(version: Version, path: &str) -> Result<String, &'static str> {
        version.differences().key_of_path(path)
    }

    #[test]
    fn old_versions_accept_every_key() {
        for path in [" a ", "a:b", "../a", "a%20b", "\u{e9}", ""] {
            assert_eq!(key(Version::V1_8, path), Ok(path.into()));
        }
    }

    #[test]
    fn the_strict_rule_accepts_few_characters() {
        for path in ["a", "a/b-c_d.e,f?g&h=1", "a/b/", ""] {
            assert_eq!(key(Version::V1_21_5, path), Ok(path.into()));
        }
        for path in ["a b", "a:b", "a%b", "a+b", "\u{e9}", "../a", "a..b"] {
            let error = key(Version::V1_21_5, path).unwrap_err();
            assert!(error.contains(r#""^[a-zA-Z0-9,_./\\-?&=]+$""#), "{path}");
        }
    }

    #[test]
    fn the_relaxed_rule_rejects_spaces_at_the_ends_and_parent_segments() {
        for (path, expected) in [
            ("a b:c;d+\u{e9}", "a b:c;d+\u{e9}"),
            ("con..fig", "con..fig"),
            ("a//b/./c/", "a/b/c/"),
            ("a/../b", "b"),
            ("/a", "/a"),
            ("100%", "100%"),
            ("", ""),
        ] {
            assert_eq!(key(Version::V1_22, path), Ok(expected.into()), "{path}");
        }
        for (path, why) in [
            (" a", "spaces"),
            ("a ", "spaces"),
            ("a%20b", "spaces"),
            ("../a", "traversal"),
            ("a/../../b/", "traversal"),
            ("%2e%2e%2fa", "traversal"),
        ] {
            let error = key(Version::V1_22, path).unwrap_err();
            assert!(error.contains(why), "{path}: {error}");
        }
    }
}

//! TLS errors in words. rustls prints many of its errors as the names of its enum cases.

use consul_session_core::error::shown;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use std::io;
use x509_cert::der::DateTime;

/// The TLS error in an I/O error.
pub(super) fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether a server sends this alert because it does not accept the client.
pub(super) fn rejects_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

/// An alert, and what it may mean.
pub(super) fn alert(alert: AlertDescription) -> String {
    let hint = match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::HandshakeFailure
        | AlertDescription::BadCertificate => "; it may require a client certificate",
        _ => "",
    };
    let name = alert.as_str().map_or_else(
        || format!("number {}", u8::from(alert)),
        |name| format!("\"{}\"", words(name)),
    );
    format!("the server sent the alert {name}{hint}")
}

/// Why the handshake failed, if it was neither the certificate nor an alert.
pub(super) fn handshake(error: &Error) -> String {
    match error {
        Error::InvalidMessage(_) => {
            "the server does not speak TLS; is the scheme right?".to_owned()
        }
        Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig) => {
            "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        Error::PeerIncompatible(why) => format!(
            "the server and this client cannot agree on how to speak TLS ({})",
            words(&format!("{why:?}"))
        ),
        Error::PeerMisbehaved(why) => format!(
            "the server does not follow the TLS protocol ({})",
            words(&format!("{why:?}"))
        ),
        other => words(&other.to_string()),
    }
}

/// Maximum number of a certificate's names in an error.
const MAX_NAMES: usize = 10;

const SELF_SIGNED: &str = "it is self-signed, or its signature is not by the trusted CA; trust this certificate itself, or the certificate of its CA";

/// Why a server's certificate is not trusted.
pub(super) fn certificate(reason: &CertificateError) -> String {
    use CertificateError as E;
    match reason {
        E::UnknownIssuer => {
            "it is not signed by a trusted CA; trust the certificate of its CA".to_owned()
        }
        E::NotValidForName => {
            "it is for another name; use a name that it contains, or set the server name to verify"
                .to_owned()
        }
        E::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names = if presented.is_empty() {
                "none".to_owned()
            } else {
                let names = presented.iter().take(MAX_NAMES);
                let mut names: Vec<&str> = names.map(|name| shown(bare(name))).collect();
                if presented.len() > MAX_NAMES {
                    names.push("and others");
                }
                names.join(", ")
            };
            format!(
                "it is for another name than {} (its names: {names}); use a name that it contains, or set the server name to verify",
                expected.to_str()
            )
        }
        // The certificate of a CA used as the server's own, or one signed by another key of a trusted CA's name.
        E::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            SELF_SIGNED.to_owned()
        }
        E::BadSignature => SELF_SIGNED.to_owned(),
        E::Expired => "it has expired".to_owned(),
        E::ExpiredContext { not_after, .. } => {
            format!("it has expired (valid until {})", date(not_after.as_secs()))
        }
        E::NotValidYet => "it is not valid yet".to_owned(),
        E::NotValidYetContext { not_before, .. } => format!(
            "it is not valid yet (valid from {}); is this machine's clock right?",
            date(not_before.as_secs())
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "it is not for servers: its extended key usage lacks server authentication".to_owned()
        }
        other => words(&format!("{other:?}")),
    }
}

/// The name itself, which rustls writes as `DnsName("a")` or `IpAddress(127.0.0.1)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_matches(|c| matches!(c, '(' | ')' | '"'))
}

/// A time in UTC, given in seconds since 1970.
fn date(seconds: u64) -> String {
    let time = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds));
    time.map_or_else(
        |_| format!("second {seconds} since 1970"),
        |time| time.to_string(),
    )
}

/// A name like `HandshakeFailure` as words, without what follows it in brackets.
fn words(name: &str) -> String {
    let name = name.split(['(', '{']).next().unwrap_or_default().trim();
    let mut words = String::new();
    let mut before = ' ';
    for c in name.chars() {
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push(' ');
            words.push(c.to_ascii_lowercase());
        } else if c.is_ascii_uppercase() && words.is_empty() {
            words.push(c.to_ascii_lowercase());
        } else {
            words.push(c);
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::PeerMisbehaved;
    use rustls::pki_types::{ServerName, UnixTime};
    use std::time::Duration;

    /// Nothing in a message looks like the source of a program.
    #[test]
    fn errors_are_words() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let name = |name: &'static str| ServerName::try_from(name).unwrap();
        use CertificateError as E;
        for (text, contains) in [
            (
                alert(AlertDescription::HandshakeFailure),
                "handshake failure",
            ),
            (alert(AlertDescription::Unknown(200)), "number 200"),
            (
                handshake(&Error::PeerIncompatible(
                    PeerIncompatible::NoCipherSuitesInCommon,
                )),
                "no cipher suites in common",
            ),
            (
                handshake(&Error::PeerMisbehaved(
                    PeerMisbehaved::TooMuchEarlyDataReceived,
                )),
                "too much early data received",
            ),
            (
                certificate(&E::NotValidForNameContext {
                    expected: name("a.example"),
                    presented: vec![
                        "DnsName(\"b.example\")".into(),
                        "IpAddress(127.0.0.1)".into(),
                    ],
                }),
                "than a.example (its names: b.example, 127.0.0.1)",
            ),
            (
                certificate(&E::ExpiredContext {
                    time: at(2_000_000_000),
                    not_after: at(1_577_836_800),
                }),
                "valid until 2020-01-01T00:00:00Z",
            ),
            (
                certificate(&E::UnhandledCriticalExtension),
                "unhandled critical extension",
            ),
            (certificate(&E::InvalidPurpose), "not for servers"),
        ] {
            assert!(text.contains(contains), "{text}");
            assert!(!text.contains("DnsName") && !text.contains('{'), "{text}");
        }
    }
}

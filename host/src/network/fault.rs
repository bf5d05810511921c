//! Why a request failed on the network: the code that a component sees, and the detail that only the host knows.

use rustls::AlertDescription;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use wasmtime_wasi_http::Error as WasiError;

/// A failed request.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: Kind,
    /// For people.
    pub(crate) detail: String,
}

/// What the component is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Denied,
    TooMany,
    AddressDenied,
    Resolve,
    ConnectTimeout,
    Refused,
    Unreachable,
    Certificate,
    Handshake,
    Alert,
    ReadTimeout,
    Terminated,
    Incomplete,
    TooLarge,
    NotHttp,
    Internal,
}

impl Fault {
    /// A component that sends more requests at once than it may.
    pub(crate) fn too_many() -> Fault {
        Fault::new(Kind::TooMany, "too many requests at once")
    }

    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Fault {
        Fault {
            kind,
            detail: detail.into(),
        }
    }

    /// Reads the error of the pooled client: the connector's own fault, or what hyper found.
    pub(super) fn from_client(error: hyper_util::client::legacy::Error) -> Fault {
        let mut source: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(current) = source {
            if let Some(fault) = current.downcast_ref::<Fault>() {
                return Fault::new(fault.kind, fault.detail.clone());
            }
            if let Some(error) = current.downcast_ref::<hyper::Error>() {
                return Fault::from_hyper(error);
            }
            source = current.source();
        }
        Fault::new(Kind::Internal, error.to_string())
    }

    pub(super) fn from_hyper(error: &hyper::Error) -> Fault {
        let mut source = error.source();
        while let Some(current) = source {
            if let Some(error) = current.downcast_ref::<io::Error>() {
                return Fault::from_io(error);
            }
            source = current.source();
        }
        let kind = if error.is_incomplete_message() {
            Kind::Incomplete
        } else if error.is_parse() {
            Kind::NotHttp
        } else if error.is_closed() || error.is_canceled() || error.is_body_write_aborted() {
            Kind::Terminated
        } else {
            Kind::Internal
        };
        Fault::new(kind, error.to_string())
    }

    /// Reads an error of an open connection, plain or TLS. A request may have gone out on it, so nothing is read as a
    /// failure to connect, but what a server says that does not accept the client: under TLS 1.3 it says so only after the
    /// client's side of the handshake, and before it reads a request.
    fn from_io(error: &io::Error) -> Fault {
        match tls_error(error) {
            Some(rustls::Error::AlertReceived(alert)) if rejects_client(*alert) => {
                Fault::from_alert(*alert)
            }
            None if error.kind() == io::ErrorKind::TimedOut => {
                Fault::new(Kind::ReadTimeout, error.to_string())
            }
            _ => Fault::new(Kind::Terminated, error.to_string()),
        }
    }

    /// Reads an error of the attempt to connect to an address.
    pub(super) fn from_dial(error: &io::Error) -> Fault {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::TimedOut => Kind::ConnectTimeout,
            _ => Kind::Unreachable,
        };
        Fault::new(kind, error.to_string())
    }

    /// Reads an error of a TLS handshake.
    pub(super) fn from_handshake(error: &io::Error) -> Fault {
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                Fault::new(Kind::Certificate, certificate_words(reason))
            }
            Some(rustls::Error::AlertReceived(alert)) => Fault::from_alert(*alert),
            Some(rustls::Error::InvalidMessage(_)) => Fault::new(
                Kind::Handshake,
                "the server does not speak TLS; is the scheme right?",
            ),
            Some(other) => Fault::new(Kind::Handshake, other.to_string()),
            None => Fault::new(
                Kind::Handshake,
                format!("the server closed the connection during the handshake: {error}"),
            ),
        }
    }

    fn from_alert(alert: AlertDescription) -> Fault {
        let hint = match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate => ": it may want a client certificate",
            _ => "",
        };
        Fault::new(Kind::Alert, format!("the server says {alert:?}{hint}"))
    }

    /// Whether the fault is such that the server cannot have seen the request.
    pub(crate) fn is_before_sending(&self) -> bool {
        match self.kind {
            Kind::Denied
            | Kind::TooMany
            | Kind::AddressDenied
            | Kind::Resolve
            | Kind::ConnectTimeout
            | Kind::Refused
            | Kind::Unreachable
            | Kind::Certificate
            | Kind::Handshake
            | Kind::Alert => true,
            Kind::ReadTimeout
            | Kind::Terminated
            | Kind::Incomplete
            | Kind::TooLarge
            | Kind::NotHttp
            | Kind::Internal => false,
        }
    }

    /// The error in the words of `wasi:http`.
    pub(crate) fn into_wasi(self) -> WasiError {
        match self.kind {
            Kind::Denied => WasiError::HttpRequestDenied,
            Kind::TooMany => WasiError::ConnectionLimitReached,
            Kind::AddressDenied => WasiError::DestinationIpProhibited,
            Kind::Resolve => WasiError::DnsError {
                rcode: Some(self.detail),
                info_code: None,
            },
            // Of all codes for a wait the one that nobody uses once a request is out: a component must be able to tell.
            Kind::ConnectTimeout => WasiError::DnsTimeout,
            Kind::Refused => WasiError::ConnectionRefused,
            Kind::Unreachable => WasiError::DestinationUnavailable,
            Kind::Certificate => WasiError::TlsCertificateError,
            Kind::Handshake => WasiError::TlsProtocolError,
            Kind::Alert => WasiError::TlsAlertReceived {
                alert_id: None,
                alert_message: Some(self.detail),
            },
            Kind::ReadTimeout => WasiError::ConnectionReadTimeout,
            Kind::Terminated => WasiError::ConnectionTerminated,
            Kind::Incomplete => WasiError::HttpResponseIncomplete,
            Kind::TooLarge => WasiError::HttpResponseBodySize(None),
            Kind::NotHttp => WasiError::HttpProtocolError,
            Kind::Internal => WasiError::InternalError(Some(self.detail)),
        }
    }

    /// The detail, where the code alone does not carry it.
    pub(crate) fn hidden_detail(&self) -> Option<&str> {
        match self.kind {
            Kind::Denied
            | Kind::AddressDenied
            | Kind::ConnectTimeout
            | Kind::Certificate
            | Kind::Handshake
            | Kind::NotHttp => Some(&self.detail),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl StdError for Fault {}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether a server ends the handshake with it because of who the client is.
fn rejects_client(alert: AlertDescription) -> bool {
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

const SELF_SIGNED: &str = "it is self-signed, or its signature is not by the CA that is trusted here; give the certificate itself, or its CA's (ca_path)";

fn certificate_words(reason: &rustls::CertificateError) -> String {
    use rustls::CertificateError as E;
    match reason {
        E::UnknownIssuer => {
            "it is not signed by a CA that is trusted here; give the CA's certificate (ca_path)"
                .to_owned()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            format!(
                "it is for another name ({reason}); use a name that is in it, or set the server name to verify"
            )
        }
        // A CA's certificate as the server's own, and one signed by another key of a trusted CA's name.
        E::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            SELF_SIGNED.to_owned()
        }
        E::BadSignature => SELF_SIGNED.to_owned(),
        E::Expired | E::ExpiredContext { .. } => format!("it has expired ({reason})"),
        E::NotValidYet | E::NotValidYetContext { .. } => format!("it is not valid yet ({reason})"),
        other => other.to_string(),
    }
}

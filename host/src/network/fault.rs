//! Why a request failed on the network: the code that a component sees, and the detail that only the host knows.

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
    Misconfigured,
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

    /// Whether an open connection was closed.
    pub(super) fn is_terminated(&self) -> bool {
        self.kind == Kind::Terminated
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

    /// Reads an error of an established stream, plain or TLS.
    pub(super) fn from_io(error: &io::Error) -> Fault {
        if let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Fault::from_tls(tls);
        }
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Kind::Unreachable,
            io::ErrorKind::TimedOut => Kind::ReadTimeout,
            _ => Kind::Terminated,
        };
        Fault::new(kind, error.to_string())
    }

    fn from_tls(error: &rustls::Error) -> Fault {
        match error {
            rustls::Error::InvalidCertificate(reason) => {
                Fault::new(Kind::Certificate, certificate_words(reason))
            }
            rustls::Error::AlertReceived(alert) => {
                let hint = match alert {
                    rustls::AlertDescription::CertificateRequired
                    | rustls::AlertDescription::HandshakeFailure
                    | rustls::AlertDescription::BadCertificate => {
                        ": it may want a client certificate"
                    }
                    _ => "",
                };
                Fault::new(Kind::Alert, format!("the server says {alert:?}{hint}"))
            }
            rustls::Error::InvalidMessage(_) => Fault::new(
                Kind::Handshake,
                "the server does not speak TLS; is the scheme right?",
            ),
            other => Fault::new(Kind::Handshake, other.to_string()),
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
            Kind::Misconfigured => WasiError::ConfigurationError,
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
            | Kind::NotHttp
            | Kind::Misconfigured => Some(&self.detail),
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
        E::Expired | E::ExpiredContext { .. } => format!("it has expired ({reason})"),
        E::NotValidYet | E::NotValidYetContext { .. } => format!("it is not valid yet ({reason})"),
        other => other.to_string(),
    }
}

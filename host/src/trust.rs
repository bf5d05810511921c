//! TLS: the certificates a client trusts, and its own. A component can neither see nor change these settings.

use crate::error::{Error, Result};
use crate::files;
use consul_session_core::error::shown;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

/// The TLS settings of a client: trusted certificates, and the client's own.
#[derive(Clone)]
pub struct Trust {
    system: bool,
    extra: Vec<CertificateDer<'static>>,
    verify: bool,
    server_name: Option<String>,
    identity: Option<Arc<Identity>>,
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Default for Trust {
    fn default() -> Trust {
        Trust::system()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("system", &self.system)
            .field("extra", &self.extra.len())
            .field("verify", &self.verify)
            .field("server_name", &self.server_name)
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl Trust {
    /// Trusts the roots of the operating system.
    pub fn system() -> Trust {
        Trust {
            system: true,
            extra: Vec::new(),
            verify: true,
            server_name: None,
            identity: None,
        }
    }

    /// Trusts only the certificates in this PEM text.
    ///
    /// # Errors
    ///
    /// As for [`Trust::add_pem`].
    pub fn only_pem(pem: &[u8]) -> Result<Trust> {
        Trust {
            system: false,
            ..Trust::system()
        }
        .add_pem(pem)
    }

    /// Trusts only the certificates in this PEM file.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, and as [`Trust::add_pem`] does.
    pub fn only_file(path: impl AsRef<Path>) -> Result<Trust> {
        let path = path.as_ref();
        let pem = read("ca_path", "CA", path)?;
        Trust::only_pem(&pem)
            .map_err(|error| error.context(&format!("cannot use the CA file {}", path.display())))
    }

    /// Disables certificate verification. An impostor would receive the token.
    pub fn insecure() -> Trust {
        Trust {
            verify: false,
            ..Trust::system()
        }
    }

    /// Adds the certificates in this PEM text.
    ///
    /// The certificates of CAs are roots. A server certificate that is itself among them is trusted, whoever signed it, as
    /// OpenSSL does; its name, dates and usage are still verified, and what it signs is not trusted.
    ///
    /// # Errors
    ///
    /// Fails if the text contains no certificate, or one that cannot be parsed.
    pub fn add_pem(mut self, pem: &[u8]) -> Result<Trust> {
        let before = self.extra.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| {
                invalid(
                    "ca_path",
                    format!("the certificates are not valid PEM: {error}"),
                )
            })?;
            ParsedCertificate::try_from(&certificate).map_err(|error| {
                invalid(
                    "ca_path",
                    format!("the PEM data contains a malformed certificate: {error}"),
                )
            })?;
            self.extra.push(certificate);
        }
        if self.extra.len() == before {
            return Err(invalid(
                "ca_path",
                "the PEM data contains no certificate".to_owned(),
            ));
        }
        Ok(self)
    }

    /// Sets the name to request and to verify, instead of the host in the address.
    ///
    /// # Errors
    ///
    /// Fails if the name is neither a DNS name nor an IP address.
    pub fn server_name(mut self, name: impl Into<String>) -> Result<Trust> {
        self.server_name = Some(name.into());
        self.expected_name("")
            .map_err(|why| invalid("tls_server_name", why))?;
        Ok(self)
    }

    /// Sets the client's certificate with its chain, and its key, in PEM. Both may be the same text.
    ///
    /// # Errors
    ///
    /// Fails if either is missing or malformed, or if they do not belong together.
    pub fn identity(mut self, certificates: &[u8], key: &[u8]) -> Result<Trust> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|error| {
                let why = format!("the client certificate is not valid PEM: {error}");
                invalid("client_cert", why)
            })?;
        if chain.is_empty() {
            let why = "the PEM data contains no client certificate".to_owned();
            return Err(invalid("client_cert", why));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            invalid(
                "client_key",
                format!("the PEM data contains no client key: {error}"),
            )
        })?;
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).map_err(|error| {
            let why = format!("the client certificate and key do not belong together: {error}");
            invalid("client_cert", why)
        })?;
        self.identity = Some(Arc::new(Identity { chain, key }));
        Ok(self)
    }

    /// Reads the client's certificate and key from files. Without a key file, the certificate file must contain the key.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, and as [`Trust::identity`] does.
    pub fn identity_files(
        self,
        certificates: impl AsRef<Path>,
        key: Option<&Path>,
    ) -> Result<Trust> {
        let certificates = certificates.as_ref();
        let key = key.unwrap_or(certificates);
        self.identity(
            &read("client_cert", "client certificate", certificates)?,
            &read("client_key", "client key", key)?,
        )
        .map_err(|error| {
            error.context(&format!(
                "cannot use the client certificate {} with the key {}",
                certificates.display(),
                key.display()
            ))
        })
    }

    /// Whether certificates are verified.
    pub(crate) fn verifies(&self) -> bool {
        self.verify
    }

    /// The name that the server's certificate must be for.
    pub(crate) fn expected_name(&self, host: &str) -> Result<ServerName<'static>, String> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = name.trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(name.to_owned()).map_err(|_| {
            format!(
                "`{}` is not a name that a certificate can be for",
                shown(name)
            )
        })
    }

    /// The settings as rustls takes them. Reading the system's roots takes milliseconds, so this is called for the first TLS
    /// connection only.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let rule = if self.verify {
            let mut roots = RootCertStore::empty();
            if self.system {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
            // The others are trusted only as a server's own.
            for certificate in self
                .extra
                .iter()
                .filter(|certificate| may_sign(certificate))
            {
                let _ = roots.add(certificate.clone());
            }
            if roots.is_empty() && self.extra.is_empty() {
                return Err(
                    "no certificate is trusted: the system has no roots, and none was added"
                        .to_owned(),
                );
            }
            let chains = if roots.is_empty() {
                None
            } else {
                let builder =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                Some(builder.build().map_err(|error| error.to_string())?)
            };
            Rule::Verify {
                chains,
                known: self.extra.clone(),
            }
        } else {
            Rule::TrustAny
        };
        let verifier = Arc::new(Verifier {
            rule,
            provider: provider.clone(),
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| {
                    format!("the client certificate and key do not belong together: {error}")
                }),
        }
    }
}

fn read(parameter: &str, what: &str, path: &Path) -> Result<Vec<u8>> {
    files::read(path).map_err(|error| {
        let message = format!("cannot read the {what} file {}: {error}", path.display());
        Error::invalid(parameter, message)
    })
}

fn invalid(parameter: &str, why: String) -> Error {
    Error::invalid(parameter, why)
}

/// Verifies a server's certificate. Whatever the rule, the handshake must be signed with the certificate's key.
#[derive(Debug)]
struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Rule {
    /// Trusts chains to the roots and, beyond what rustls does, a certificate that is itself in the CA file.
    Verify {
        chains: Option<Arc<WebPkiServerVerifier>>,
        known: Vec<CertificateDer<'static>>,
    },
    /// Trusts any certificate.
    TrustAny,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Rule::Verify { chains, known } = &self.rule else {
            return Ok(ServerCertVerified::assertion());
        };
        let by_chain = match chains {
            Some(chains) => chains.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        if by_chain.is_ok() || !known.iter().any(|known| known == end_entity) {
            return by_chain;
        }
        check_known(end_entity, now)?;
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Whether a certificate is that of a CA: one that may sign others.
fn may_sign(certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return false;
    };
    let certificate = certificate.tbs_certificate;
    let is_ca = matches!(certificate.get::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca);
    let signs = match certificate.get::<KeyUsage>() {
        Ok(Some((_, usage))) => usage.key_cert_sign(),
        // Without the extension, any usage is allowed.
        Ok(None) => true,
        Err(_) => false,
    };
    is_ca && signs
}

/// Checks the dates and the usage of a server certificate that is trusted itself.
fn check_known(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let encoding = |_| rustls::Error::from(CertificateError::BadEncoding);
    let certificate = Certificate::from_der(certificate).map_err(encoding)?;
    let usage = certificate.tbs_certificate.get::<ExtendedKeyUsage>();
    if let Some((_, usage)) = usage.map_err(encoding)?
        && !usage.0.contains(&ID_KP_SERVER_AUTH)
        && !usage.0.contains(&ANY_EXTENDED_KEY_USAGE)
    {
        return Err(CertificateError::InvalidPurpose.into());
    }
    let validity = certificate.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

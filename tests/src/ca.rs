//! Valid and invalid certificates, and a TLS server that presents one and responds like a Consul without sessions.

use crate::bad_server::{Request, Server, answer};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::sync::Arc;

/// A certificate authority.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both as PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
    params: CertificateParams,
}

impl Authority {
    /// Creates an authority with its own key.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// Returns the authority's certificate as PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Issues a certificate for these names and addresses, for servers and clients.
    pub fn certify(&self, names: &[&str]) -> Identity {
        self.sign(&leaf(names))
    }

    /// Issues a certificate that expired in 2020.
    pub fn certify_expired(&self, names: &[&str]) -> Identity {
        self.sign(&expired(leaf(names)))
    }

    /// Issues a certificate that is for clients only.
    pub fn certify_client(&self, names: &[&str]) -> Identity {
        self.sign(&for_clients(leaf(names)))
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
            params: params.clone(),
        }
    }
}

impl Identity {
    /// Creates a self-signed certificate.
    pub fn self_signed(names: &[&str]) -> Identity {
        Identity::self_sign(&leaf(names))
    }

    /// Creates a self-signed certificate that expired in 2020.
    pub fn self_signed_expired(names: &[&str]) -> Identity {
        Identity::self_sign(&expired(leaf(names)))
    }

    /// Creates a self-signed certificate that is for clients only.
    pub fn self_signed_client(names: &[&str]) -> Identity {
        Identity::self_sign(&for_clients(leaf(names)))
    }

    /// Issues a certificate as if this one were an authority's.
    pub fn certify(&self, names: &[&str]) -> Identity {
        let key = KeyPair::from_pem(&self.key).unwrap();
        let issuer = Issuer::new(self.params.clone(), key);
        let (key, params) = (KeyPair::generate().unwrap(), leaf(names));
        Identity {
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
            params,
        }
    }

    fn self_sign(params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
            params: params.clone(),
        }
    }

    /// Starts a server that presents this certificate and responds to every request with an empty list of sessions.
    pub fn serve(&self) -> Server {
        let config = self.server_config();
        Server::raw(move |tcp, record| {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp);
            if let Some(request) = Request::read(&mut stream)? {
                record(request);
                answer(
                    &mut stream,
                    200,
                    &[("Content-Type", "application/json")],
                    b"[]",
                )?;
                stream.conn.send_close_notify();
                stream.conn.complete_io(&mut stream.sock)?;
            }
            Ok(())
        })
    }

    /// Starts a server that reads nothing after the handshake, and keeps its connections open.
    pub fn serve_nothing(&self) -> Server {
        let config = self.server_config();
        Server::raw(move |mut tcp, _| {
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            while connection.is_handshaking() {
                connection.complete_io(&mut tcp)?;
            }
            loop {
                std::thread::park();
            }
        })
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        let certificates = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        Arc::new(config)
    }
}

fn leaf(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a test");
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn for_clients(mut params: CertificateParams) -> CertificateParams {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 1);
    params
}

//! A throw-away authority with a service's and callers' certificates, in a temporary folder.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;

/// One authority and what it issued.
pub struct Pki {
    folder: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

/// Paths of one identity.
pub struct Identity {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

impl Pki {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Distinct names: OpenSSL takes a leaf with the authority's name for self-signed.
        params.distinguished_name.push(DnType::CommonName, format!("{name} authority"));
        let key = KeyPair::generate().expect("key");
        let ca = CertifiedIssuer::self_signed(params, key).expect("authority");
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).expect("write");
        Self { folder, ca }
    }

    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A client certificate, written out.
    pub fn client(&self, name: &str) -> Identity {
        self.client_until(name, 4096)
    }

    /// A client certificate that ended long ago.
    pub fn expired_client(&self, name: &str) -> Identity {
        self.client_until(name, 2001)
    }

    fn client_until(&self, name: &str, end_year: i32) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).expect("name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(end_year, 1, 1);
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.ca).expect("certificate");
        let path = |end: &str| self.folder.path().join(format!("{name}{end}"));
        let identity = Identity { certificate: path(".pem"), private_key: path(".key") };
        std::fs::write(&identity.certificate, certificate.pem()).expect("write");
        std::fs::write(&identity.private_key, key.serialize_pem()).expect("write");
        identity
    }

    /// TLS 1.3 for "localhost", wanting a client certificate of this authority.
    pub fn server_config(&self) -> rustls::ServerConfig {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("name");
        params.distinguished_name.push(DnType::CommonName, "fake signer");
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.ca).expect("certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).expect("root");
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(clients.build().expect("verifier"))
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate");
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

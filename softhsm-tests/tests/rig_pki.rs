//! The rig's certificates, before a TLS server that has nothing to do with the signer's: good ones
//! must pass and bad ones fail, or a suite's refusals would prove nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use portcullis_softhsm_tests::pki::{Authority, Issued, Leaf};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tempfile::TempDir;

struct Pki {
    _folder: TempDir,
    authority: Authority,
    server: Issued,
}

fn pki() -> Pki {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(&folder.path().join("ca"), "Rig CA").unwrap();
    let server = authority.issue(&Leaf::loopback_server("server")).unwrap();
    Pki { _folder: folder, authority, server }
}

impl Pki {
    /// Whether both sides finish a TLS 1.3 handshake, the client with this certificate.
    fn admits(&self, client: &Issued, crl: Option<&Path>) -> Result<(), rustls::Error> {
        let roots = Arc::new(roots(&self.authority));
        let lists = crl.map(|path| CertificateRevocationListDer::from_pem_file(path).unwrap());
        let verifier =
            WebPkiClientVerifier::builder(roots.clone()).with_crls(lists).build().unwrap();
        let (certificate, key) = identity(&self.server);
        let server = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let (certificate, key) = identity(client);
        let client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        shake_hands(
            ClientConnection::new(Arc::new(client), name).unwrap(),
            ServerConnection::new(Arc::new(server)).unwrap(),
        )
    }
}

fn shake_hands(
    mut client: ClientConnection,
    mut server: ServerConnection,
) -> Result<(), rustls::Error> {
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
    roots
}

fn identity(issued: &Issued) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_file(&issued.certificate).unwrap();
    (certificate, PrivateKeyDer::from_pem_file(&issued.private_key).unwrap())
}

#[test]
fn clients_named_by_uri_or_dns_are_admitted() {
    let pki = pki();
    for leaf in [
        Leaf::client_uri("uri", "spiffe://rig/payer"),
        Leaf::client_dns("dns", "payer.rig.example"),
    ] {
        pki.admits(&pki.authority.issue(&leaf).unwrap(), None).unwrap();
    }
}

#[test]
fn certificates_out_of_their_time_are_refused() {
    let pki = pki();
    let leaf = || Leaf::client_uri("late", "spiffe://rig/late");
    for leaf in [leaf().expired(), leaf().not_yet_valid()] {
        pki.admits(&pki.authority.issue(&leaf).unwrap(), None).unwrap_err();
    }
}

#[test]
fn a_strangers_certificate_and_a_servers_own_are_refused() {
    let (pki, other) = (pki(), pki());
    let stranger = other.authority.issue(&Leaf::client_uri("x", "spiffe://rig/x")).unwrap();
    pki.admits(&stranger, None).unwrap_err();
    pki.admits(&pki.server, None).unwrap_err();
}

#[test]
fn a_revoked_certificate_is_refused_and_its_neighbour_is_not() {
    let pki = pki();
    let [bad, good] = ["bad", "good"].map(|name| {
        pki.authority.issue(&Leaf::client_uri(name, &format!("spiffe://rig/{name}"))).unwrap()
    });
    let list = pki.authority.revoke(&[]).unwrap();
    pki.admits(&bad, Some(&list)).unwrap();
    let list = pki.authority.revoke(&[&bad]).unwrap();
    pki.admits(&bad, Some(&list)).unwrap_err();
    pki.admits(&good, Some(&list)).unwrap();
}

#[test]
fn private_keys_are_readable_by_their_owner_alone() {
    let pki = pki();
    let mode = std::fs::metadata(&pki.server.private_key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

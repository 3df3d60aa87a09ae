//! Who gets in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::edge::TrustTrouble;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::AlertDescription;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{Ca, DAY, Gone, NOW, OK, World, dns, put, uri};

#[tokio::test]
async fn a_good_certificate_gets_in_and_the_service_learns_its_name() {
    let world = World::with_crl();
    let plane = world.start().await;
    let mut client = plane.connect(&world.good_client(7)).await;
    assert_eq!(client.check().await, Ok(OK));
    assert_eq!(client.call("/who").await, Ok((OK, "spiffe://bank.example/payments".to_owned())));
    assert_eq!(plane.count("connections_open"), 1);
    assert_eq!(plane.count("handshakes_open"), 0);
    assert_eq!(plane.count("requests_dispatched"), 2);
}

#[tokio::test]
async fn one_dns_name_is_an_identity_and_a_uri_goes_before_it() {
    let world = World::new();
    let plane = world.start().await;
    for (names, expected) in [
        (vec![dns("Payments.Bank.example")], "payments.bank.example"),
        (
            vec![dns("a.example"), uri("spiffe://b.example/c"), dns("d.example")],
            "spiffe://b.example/c",
        ),
    ] {
        let leaf = world.client_ca.issue("somebody", |params| {
            params.subject_alt_names = names;
            for_clients(params);
        });
        let mut client = plane.connect(&world.client(Some(&leaf))).await;
        assert_eq!(client.call("/who").await, Ok((OK, expected.to_owned())));
    }
}

#[tokio::test]
async fn without_a_client_certificate_nobody_gets_in() {
    let world = World::new();
    let plane = world.start().await;
    let alert = plane.alert(&world.client(None)).await;
    assert_eq!(alert, AlertDescription::CertificateRequired);
    plane.until("handshakes_failed", 1).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_does_not_get_in() {
    let world = World::new();
    let plane = world.start().await;
    // The same name as ours: a name is not a signature.
    let stranger = Ca::new("client CA").client("spiffe://bank.example/payments", 7);
    let alert = plane.alert(&world.client(Some(&stranger))).await;
    assert!(
        matches!(alert, AlertDescription::UnknownCA | AlertDescription::DecryptError),
        "{alert:?}"
    );
}

#[tokio::test]
async fn a_certificate_of_the_servers_own_ca_does_not_get_in() {
    let world = World::new();
    let plane = world.start().await;
    let leaf = world.server_ca.client("spiffe://bank.example/payments", 7);
    assert_eq!(plane.alert(&world.client(Some(&leaf))).await, AlertDescription::UnknownCA);
}

#[tokio::test]
async fn a_certificate_of_one_plane_is_worthless_at_the_other() {
    let (data, control) = (World::new(), World::new());
    let (data_plane, control_plane) = (data.start().await, control.start().await);
    let leaf = data.client_ca.client("spiffe://bank.example/payments", 7);
    assert_eq!(data_plane.ask_once(&data.client(Some(&leaf))).await, Ok(OK));
    let alert = control_plane.alert(&control.client(Some(&leaf))).await;
    assert!(
        matches!(alert, AlertDescription::UnknownCA | AlertDescription::DecryptError),
        "{alert:?}"
    );
}

#[tokio::test]
async fn an_expired_or_future_certificate_does_not_get_in() {
    let world = World::new();
    let plane = world.start().await;
    let expired = world.client_ca.issue("old", |params| {
        params.subject_alt_names = vec![uri("spiffe://bank.example/old")];
        params.not_after = date_time_ymd(2029, 12, 31);
        for_clients(params);
    });
    let alert = plane.alert(&world.client(Some(&expired))).await;
    assert_eq!(alert, AlertDescription::CertificateExpired);
    let future = world.client_ca.issue("new", |params| {
        params.subject_alt_names = vec![uri("spiffe://bank.example/new")];
        params.not_before = date_time_ymd(2030, 1, 2);
        for_clients(params);
    });
    assert_eq!(plane.ask_once(&world.client(Some(&future))).await, Err(Gone));
    world.clock.set(NOW + 2 * DAY);
    assert_eq!(plane.ask_once(&world.client(Some(&future))).await, Ok(OK));
}

#[tokio::test]
async fn a_revoked_certificate_does_not_get_in_and_its_neighbour_does() {
    let world = World::with_crl();
    world.revoke(&[7]);
    let plane = world.start().await;
    let alert = plane.alert(&world.good_client(7)).await;
    assert_eq!(alert, AlertDescription::CertificateRevoked);
    assert_eq!(plane.ask_once(&world.good_client(8)).await, Ok(OK));
}

#[tokio::test]
async fn a_ca_that_no_crl_covers_lets_nobody_in_once_there_are_crls() {
    let world = World::with_crl();
    let uncovered = Ca::new("uncovered CA");
    put(&world.files.client_ca, &(world.client_ca.pem.clone() + &uncovered.pem), 0o644);
    let plane = world.start().await;
    assert_eq!(plane.ask_once(&world.good_client(7)).await, Ok(OK));
    let leaf = uncovered.client("spiffe://bank.example/payments", 8);
    assert_eq!(plane.ask_once(&world.client(Some(&leaf))).await, Err(Gone));
}

#[tokio::test]
async fn an_expired_crl_lets_nobody_in_and_is_told() {
    let world = World::with_crl();
    let plane = world.start().await;
    assert!(plane.trust.troubles().is_empty());
    // 2060-01-02, a day after the CRL's end.
    world.clock.set(2_840_227_200);
    assert_eq!(plane.ask_once(&world.good_client(7)).await, Err(Gone));
    let troubles = plane.trust.troubles();
    assert!(matches!(troubles.as_slice(), [TrustTrouble::CrlExpired(_)]), "{troubles:?}");
}

#[tokio::test]
async fn a_certificate_for_servers_does_not_get_in() {
    let world = World::new();
    let plane = world.start().await;
    let leaf = world.client_ca.issue("a server", |params| {
        params.subject_alt_names = vec![uri("spiffe://bank.example/payments")];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    plane.alert(&world.client(Some(&leaf))).await;
    plane.until("handshakes_failed", 1).await;
}

#[tokio::test]
async fn a_certificate_that_names_not_exactly_one_client_does_not_get_in() {
    let world = World::new();
    let plane = world.start().await;
    let two_uris = vec![uri("spiffe://a.example/x"), uri("spiffe://a.example/y")];
    let cases = [
        ("only a CN", vec![], true),
        ("two URIs", two_uris, true),
        ("two DNS names", vec![dns("a.example"), dns("b.example")], true),
        ("a URI that is no SPIFFE id", vec![uri("https://a.example/x"), dns("a.example")], true),
        ("a wildcard", vec![dns("*.a.example")], true),
        ("no extended key usage at all", vec![uri("spiffe://a.example/x")], false),
    ];
    for (refused, (what, names, usage)) in (1..).zip(cases) {
        let leaf = world.client_ca.issue("spiffe://a.example/x", |params| {
            params.subject_alt_names = names;
            if usage {
                for_clients(params);
            }
        });
        assert_eq!(plane.ask_once(&world.client(Some(&leaf))).await, Err(Gone), "{what}");
        plane.until("identities_refused", refused).await;
    }
    assert_eq!(plane.count("requests_dispatched"), 0);
}

#[tokio::test]
async fn tls_1_2_is_refused_with_protocol_version() {
    let world = World::new();
    let plane = world.start().await;
    let mut tcp = TcpStream::connect(plane.address).await.unwrap();
    tcp.write_all(&tls_1_2_hello()).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    // One record: an alert (21), fatal (2), protocol_version (70).
    assert_eq!((answer[0], &answer[3..]), (21, [0, 2, 2, 70].as_slice()));
}

#[tokio::test]
async fn a_client_that_does_not_offer_h2_is_refused() {
    let world = World::new();
    let plane = world.start().await;
    let good = world.good_client(7);
    for (failed, protocols) in (1..).zip([vec![], vec![b"http/1.1".to_vec()]]) {
        let mut config = (*good).clone();
        config.alpn_protocols = protocols;
        assert_eq!(plane.ask_once(&Arc::new(config)).await, Err(Gone));
        plane.until("handshakes_failed", failed).await;
    }
}

#[tokio::test]
async fn no_resumption_ticket_is_ever_handed_out() {
    let world = World::new();
    let plane = world.start().await;
    let tickets = Arc::new(Tickets::default());
    let mut config = (*world.good_client(7)).clone();
    config.resumption = Resumption::store(Arc::<Tickets>::clone(&tickets));
    let config = Arc::new(config);
    for _ in 0..3 {
        assert_eq!(plane.ask_once(&config).await, Ok(OK));
    }
    assert_eq!(tickets.received.load(Ordering::SeqCst), 0);
}

fn for_clients(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

/// A ClientHello as OpenSSL 1.0 would send it: no `supported_versions`.
fn tls_1_2_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.extend([0]); // no session id
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]); // ECDHE with AES-128-GCM
    body.extend([1, 0]); // no compression
    let groups = [0, 10, 0, 4, 0, 2, 0, 23]; // secp256r1
    let points = [0, 11, 0, 2, 1, 0];
    let algorithms = [0, 13, 0, 4, 0, 2, 4, 3]; // ecdsa_secp256r1_sha256
    let extensions = [&groups[..], &points[..], &algorithms[..]].concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![1, 0];
    handshake.extend((body.len() as u16).to_be_bytes());
    handshake.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}

/// A client's session store that counts the tickets it gets, and keeps them as usual.
#[derive(Debug)]
struct Tickets {
    received: AtomicUsize,
    kept: ClientSessionMemoryCache,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { received: AtomicUsize::new(0), kept: ClientSessionMemoryCache::new(8) }
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: rustls_pki_types::ServerName<'static>, group: rustls::NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &rustls_pki_types::ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.kept.kx_hint(name)
    }

    fn set_tls12_session(
        &self,
        name: rustls_pki_types::ServerName<'static>,
        value: rustls::client::Tls12ClientSessionValue,
    ) {
        self.kept.set_tls12_session(name, value);
    }

    fn tls12_session(
        &self,
        name: &rustls_pki_types::ServerName<'_>,
    ) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.kept.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &rustls_pki_types::ServerName<'static>) {
        self.kept.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(
        &self,
        name: rustls_pki_types::ServerName<'static>,
        value: rustls::client::Tls13ClientSessionValue,
    ) {
        self.received.fetch_add(1, Ordering::SeqCst);
        self.kept.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(
        &self,
        name: &rustls_pki_types::ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.kept.take_tls13_ticket(name)
    }
}

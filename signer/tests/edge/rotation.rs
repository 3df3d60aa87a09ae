//! Files that change under a running plane, well and badly.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::edge::{Reloaded, Trust, TrustError, TrustTrouble};
use rcgen::date_time_ymd;

use super::world::{Ca, NOW, OK, World, dns, eventually, put};

#[tokio::test]
async fn a_new_server_certificate_is_shown_without_failing_anybody() {
    let world = World::new();
    let plane = Arc::new(world.start().await);
    let config = world.good_client(7);
    let mut old = plane.connect(&config).await;
    assert_eq!(old.check().await, Ok(OK));

    let done = Arc::new(AtomicBool::new(false));
    let traffic = tokio::spawn({
        let (plane, config, done) = (Arc::clone(&plane), Arc::clone(&config), Arc::clone(&done));
        async move {
            let mut connections = 0_u32;
            while !done.load(Ordering::SeqCst) || connections < 20 {
                assert_eq!(plane.ask_once(&config).await, Ok(OK), "connection {connections}");
                connections += 1;
            }
        }
    });
    for generation in 2..6 {
        let next = world.server_ca.server(generation);
        world.install(&next);
        let trust = Arc::clone(&plane.trust);
        let reloaded = tokio::task::spawn_blocking(move || trust.reload()).await.unwrap();
        assert_eq!(reloaded.unwrap(), Reloaded::Swapped(generation));
        assert_eq!(plane.connect(&config).await.server_leaf, next.chain[0]);
    }
    done.store(true, Ordering::SeqCst);
    traffic.await.unwrap();
    assert_eq!(old.check().await, Ok(OK), "the connection of the first certificate lives on");
    assert_eq!(plane.count("handshakes_failed"), 0);
}

#[tokio::test]
async fn changed_files_are_found_without_being_asked() {
    let world = World::with_crl();
    let plane = world.start().await;
    let following = tokio::spawn(Arc::clone(&plane.trust).follow());
    let mut client = plane.connect(&world.good_client(7)).await;
    assert_eq!(client.check().await, Ok(OK));
    world.revoke(&[7]);
    client.closed().await;
    assert_eq!(plane.trust.status().generation, 2);
    following.abort();
}

#[tokio::test]
async fn a_half_written_file_leaves_the_last_good_one_in_force_and_is_told() {
    let world = World::with_crl();
    let plane = world.start().await;
    let following = tokio::spawn(Arc::clone(&plane.trust).follow());
    let config = world.good_client(7);
    let before = plane.connect(&config).await.server_leaf;
    let next = world.server_ca.server(2);

    let cut = &next.pem[..next.pem.len() / 2];
    put(&world.files.certificate, cut, 0o644);
    eventually("the trouble is told", || !plane.trust.troubles().is_empty()).await;
    let troubles = plane.trust.troubles();
    let [TrustTrouble::Reload(error)] = troubles.as_slice() else { panic!("{troubles:?}") };
    assert!(matches!(**error, TrustError::Pem { .. }), "{error}");
    assert_eq!(plane.connect(&config).await.server_leaf, before);

    // Whole now, but its key has not come yet.
    put(&world.files.certificate, &next.pem, 0o644);
    let error = plane.trust.reload().unwrap_err();
    assert!(matches!(*error, TrustError::KeyPair { .. }), "{error}");
    assert_eq!(plane.connect(&config).await.server_leaf, before);

    put(&world.files.private_key, &next.key.serialize_pem(), 0o600);
    eventually("it is taken over", || plane.trust.status().generation == 2).await;
    assert!(plane.trust.troubles().is_empty());
    assert_eq!(plane.connect(&config).await.server_leaf, next.chain[0]);
    following.abort();
}

#[test]
fn every_kind_of_bad_file_keeps_the_old_generation() {
    let world = World::with_crl();
    let trust = world.trust();
    let leaf = world.client_ca.client("spiffe://bank.example/payments", 7);
    let expired = world.server_ca.issue("the server", |params| {
        params.subject_alt_names = vec![dns("localhost")];
        params.not_after = date_time_ymd(2029, 12, 31);
    });
    let files = &world.files;
    let stranger = world.server_ca.server(9).key.serialize_pem();
    let crl = world.client_ca.crl(&[]);
    let junk = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let cases = [
        (&files.certificate, String::new(), "holds no certificate"),
        (&files.certificate, expired.pem, "has expired or is not valid yet"),
        (&files.private_key, stranger, "do not belong together"),
        (&files.private_key, "-----BEGIN PRIVATE KEY-----".to_owned(), "holds no PEM private key"),
        (&files.client_ca, String::new(), "holds no certificate"),
        (&files.client_ca, leaf.pem, "is not a CA"),
        (&files.crl[0], String::new(), "holds no CRL"),
        (&files.crl[0], junk.to_owned(), "cannot be parsed"),
        (&files.crl[0], crl[..crl.len() / 2].to_owned(), "is not well-formed PEM"),
        (&files.crl[0], "x".repeat(17 * 1024 * 1024), "is larger than"),
    ];
    for (path, content, expected) in cases {
        let good = std::fs::read_to_string(path).unwrap();
        put(path, &content, 0o600);
        let error = trust.reload().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(trust.troubles().len(), 1);
        assert_eq!(trust.status().generation, 1);
        put(path, &good, 0o600);
        assert_eq!(trust.reload().unwrap(), Reloaded::Unchanged);
        assert!(trust.troubles().is_empty());
    }
    std::fs::remove_file(&files.crl[0]).unwrap();
    assert!(matches!(*trust.reload().unwrap_err(), TrustError::Read { .. }));
    assert_eq!(trust.status().generation, 1);
}

/// Each leaves one part of the trust files unusable, after `load` found all of them good.
type Spoil = fn(&World);

#[tokio::test]
async fn a_revocation_is_taken_over_whatever_is_wrong_with_the_other_files() {
    let cases: [(&str, Spoil); 6] = [
        ("the server's certificate has expired", |world| world.clock.set(EXPIRED)),
        ("others can read the private key", |world| {
            let key = std::fs::read_to_string(&world.files.private_key).unwrap();
            put(&world.files.private_key, &key, 0o644);
        }),
        ("the certificate is cut short", |world| {
            put(&world.files.certificate, "-----BEGIN CERTIFICATE-----", 0o644);
        }),
        ("the private key is gone", |world| {
            std::fs::remove_file(&world.files.private_key).unwrap();
        }),
        ("one CA is none", |world| {
            let leaf = world.client_ca.client("spiffe://bank.example/payments", 9);
            put(&world.files.client_ca, &(world.client_ca.pem.clone() + &leaf.pem), 0o644);
        }),
        ("another CRL is empty", |world| put(&world.files.crl[1], "", 0o644)),
    ];
    for (what, spoil) in cases {
        let mut world = World::with_crl();
        world.files.crl.push(world.path("others.crl"));
        put(&world.files.crl[1], &Ca::new("another CA").crl(&[]), 0o644);
        let server = world.server_ca.issue("the server", |params| {
            params.subject_alt_names = vec![dns("localhost")];
            params.not_after = date_time_ymd(2030, 1, 2);
        });
        world.install(&server);
        let plane = world.start().await;
        let mut revoked = plane.connect(&world.good_client(7)).await;
        let mut spared = plane.connect(&world.good_client(8)).await;
        assert_eq!((revoked.check().await, spared.check().await), (Ok(OK), Ok(OK)), "{what}");
        spoil(&world);
        plane.trust.reload().ok();
        assert_eq!(plane.trust.status().generation, 1, "{what}");
        assert_eq!(plane.trust.troubles().len(), 1, "{what}");
        world.revoke(&[7]);
        plane.trust.reload().ok();
        revoked.closed().await;
        assert_eq!(spared.check().await, Ok(OK), "{what}");
        assert_eq!(plane.trust.troubles().len(), 1, "{what}: still told");
        assert_eq!(plane.trust.status().generation, 2, "{what}");
    }
}

#[tokio::test]
async fn a_new_server_certificate_is_shown_whatever_is_wrong_with_cas_and_crls() {
    let world = World::with_crl();
    let plane = world.start().await;
    let config = world.good_client(7);
    put(&world.files.client_ca, "", 0o644);
    std::fs::remove_file(&world.files.crl[0]).unwrap();
    let next = world.server_ca.server(2);
    world.install(&next);
    assert!(plane.trust.reload().is_err());
    assert_eq!(plane.connect(&config).await.server_leaf, next.chain[0]);
    assert_eq!(plane.trust.troubles().len(), 2, "{:?}", plane.trust.troubles());
}

#[tokio::test]
async fn a_ca_that_has_expired_is_told_and_lets_nobody_in_and_nobody_stay() {
    let mut world = World::new();
    world.limits.recheck_interval = std::time::Duration::from_millis(20);
    let brief = Ca::until("the brief CA", 2031);
    put(&world.files.client_ca, &(world.client_ca.pem.clone() + &brief.pem), 0o644);
    let plane = world.start().await;
    // The certificate itself outlives its CA by decades.
    let leaf = brief.client("spiffe://bank.example/payments", 8);
    let (orphan, good) = (world.client(Some(&leaf)), world.good_client(7));
    let (mut orphaned, mut other) = (plane.connect(&orphan).await, plane.connect(&good).await);
    assert_eq!((orphaned.check().await, other.check().await), (Ok(OK), Ok(OK)));
    assert!(plane.trust.troubles().is_empty());

    world.clock.set(EXPIRED + 365 * super::world::DAY);
    orphaned.closed().await;
    assert_eq!(other.check().await, Ok(OK));
    assert!(plane.ask_once(&orphan).await.is_err());
    assert_eq!(plane.ask_once(&good).await, Ok(OK));
    let troubles = plane.trust.troubles();
    let [TrustTrouble::CaNotCurrent { subject, .. }] = troubles.as_slice() else {
        panic!("{troubles:?}")
    };
    assert!(subject.contains("the brief CA"), "{subject}");

    // Also after a start, and also when it is the only one.
    let fresh = world.start().await;
    assert!(fresh.ask_once(&orphan).await.is_err());
    assert_eq!(fresh.ask_once(&good).await, Ok(OK));
    assert_eq!(fresh.trust.troubles().len(), 1);
    put(&world.files.client_ca, &brief.pem, 0o644);
    let last = world.start().await;
    assert!(last.ask_once(&orphan).await.is_err());
    assert_eq!(last.trust.troubles().len(), 1);
}

/// 2030-01-03.
const EXPIRED: u64 = NOW + 2 * super::world::DAY;

#[test]
fn a_private_key_that_others_can_reach_is_refused_with_the_remedy() {
    let world = World::new();
    let key = std::fs::read_to_string(&world.files.private_key).unwrap();
    for mode in [0o640, 0o604, 0o644, 0o620, 0o602] {
        put(&world.files.private_key, &key, mode);
        let error = Trust::load(world.files.clone(), world.clock.wall()).err().unwrap();
        assert!(matches!(error, TrustError::KeyExposed { .. }), "{mode:o}: {error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    for mode in [0o600, 0o400] {
        put(&world.files.private_key, &key, mode);
        assert!(Trust::load(world.files.clone(), world.clock.wall()).is_ok(), "{mode:o}");
    }
}

#[test]
fn a_broken_private_key_file_is_not_quoted_in_the_error() {
    let world = World::new();
    let key = std::fs::read_to_string(&world.files.private_key).unwrap();
    // All on one line: a parser would complain about "the line", which is the key.
    let one_line = key.replace('\n', "");
    let secret = key.lines().nth(1).unwrap();
    put(&world.files.private_key, &one_line, 0o600);
    let error = Trust::load(world.files.clone(), world.clock.wall()).err().unwrap();
    assert!(matches!(error, TrustError::Key { .. }), "{error}");
    assert!(error.source().is_none());
    let numbers = format!("{:?}", secret.as_bytes());
    for shown in [format!("{error}"), format!("{error:?}")] {
        assert!(!shown.contains(secret) && !shown.contains(numbers.trim_matches(['[', ']'])));
    }
}

#[test]
fn our_own_expired_certificate_is_told_while_running_and_refused_at_start() {
    let world = World::new();
    world.install(&world.server_ca.issue("the server", |params| {
        params.subject_alt_names = vec![dns("localhost")];
        params.not_after = date_time_ymd(2030, 1, 2);
    }));
    let trust = world.trust();
    assert!(trust.troubles().is_empty());
    world.clock.set(NOW + 2 * super::world::DAY);
    assert!(matches!(trust.troubles().as_slice(), [TrustTrouble::ServerExpired]));
    let error = Trust::load(world.files.clone(), world.clock.wall()).err().unwrap();
    assert!(matches!(error, TrustError::ServerNotCurrent { .. }));
}

#[test]
fn the_dates_of_what_is_in_force_are_known() {
    let world = World::with_crl();
    let status = world.trust().status();
    let [crl] = status.crls.as_slice() else { panic!("{status:?}") };
    let seconds = |time: std::time::SystemTime| {
        time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
    };
    assert_eq!(crl.next_update.map(seconds), Some(2_840_140_800)); // 2060-01-01
    assert_eq!(seconds(status.server_not_after), 4_102_444_800); // 2100-01-01
    assert_eq!(status.generation, 1);
}

#[test]
fn a_bundle_may_hold_several_cas() {
    let world = World::new();
    put(&world.files.client_ca, &(world.client_ca.pem.clone() + &Ca::new("two").pem), 0o644);
    assert!(world.trust().troubles().is_empty());
}

#[test]
fn a_runtime_without_a_free_blocking_thread_still_revokes() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        let blocked = tokio::task::spawn_blocking(move || held.recv());
        let world = World::with_crl();
        let plane = world.start().await;
        let following = tokio::spawn(Arc::clone(&plane.trust).follow());
        let mut client = plane.connect(&world.good_client(7)).await;
        assert_eq!(client.check().await, Ok(OK));
        world.revoke(&[7]);
        client.closed().await;
        following.abort();
        release.send(()).unwrap();
        blocked.await.unwrap().unwrap();
    });
}

//! Who stays in: certificates that stop being good while a connection lives, and connections that
//! are asked to go away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portcullis::edge::Reloaded;
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use tokio::time::timeout;

use super::world::{
    Ca, DAY, Gone, NOW, OK, PATIENCE, UNAUTHENTICATED, World, eventually, put, uri,
};

#[tokio::test]
async fn a_certificate_revoked_while_connected_loses_its_connection_and_its_next_request() {
    let world = World::with_crl();
    let plane = world.start().await;
    let (revoked, spared) = (world.good_client(7), world.good_client(8));
    let (mut victim, mut neighbour) = (plane.connect(&revoked).await, plane.connect(&spared).await);
    assert_eq!((victim.check().await, neighbour.check().await), (Ok(OK), Ok(OK)));

    world.revoke(&[7]);
    assert_eq!(plane.trust.reload().unwrap(), Reloaded::Swapped(2));
    let dispatched = plane.calls.load(Ordering::SeqCst);
    // Whether the request or the cut-off is faster, the service must not see it.
    let answer = victim.check().await;
    assert!(matches!(answer, Err(Gone) | Ok(UNAUTHENTICATED)), "{answer:?}");
    assert_eq!(plane.calls.load(Ordering::SeqCst), dispatched);

    victim.closed().await;
    plane.until("connections_cut", 1).await;
    assert_eq!(neighbour.check().await, Ok(OK));
    assert_eq!(plane.ask_once(&revoked).await, Err(Gone));
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_its_certificate_is_revoked() {
    let world = World::with_crl();
    let plane = world.start().await;
    let mut client = plane.connect(&world.good_client(7)).await;
    assert_eq!(client.check().await, Ok(OK));
    world.revoke(&[7]);
    plane.trust.reload().unwrap();
    client.closed().await;
    plane.until("connections_open", 0).await;
}

#[tokio::test]
async fn a_reply_to_a_peer_whose_certificate_ran_out_meanwhile_is_withheld() {
    let world = World::new();
    let plane = world.start().await;
    let mut client = plane.connect(&expires_2030_01_02(&world)).await;
    let reply = tokio::spawn(client.send("/slow"));
    eventually("the request arrives", || plane.calls.load(Ordering::SeqCst) == 1).await;
    // Nothing wakes the connection for this: the reply itself is looked at.
    world.clock.set(NOW + DAY + 1);
    plane.gate.add_permits(1);
    assert_eq!(reply.await.unwrap(), Ok((UNAUTHENTICATED, String::new())));
}

#[tokio::test]
async fn a_removed_ca_cuts_off_its_clients() {
    let world = World::new();
    let other = Ca::new("the next CA");
    put(&world.files.client_ca, &(world.client_ca.pem.clone() + &other.pem), 0o644);
    let plane = world.start().await;
    let mut old = plane.connect(&world.good_client(7)).await;
    let leaf = other.client("spiffe://bank.example/payments", 8);
    let mut new = plane.connect(&world.client(Some(&leaf))).await;
    assert_eq!((old.check().await, new.check().await), (Ok(OK), Ok(OK)));

    put(&world.files.client_ca, &other.pem, 0o644);
    plane.trust.reload().unwrap();
    old.closed().await;
    assert_eq!(new.check().await, Ok(OK));
}

#[tokio::test]
async fn a_request_after_the_certificates_last_second_is_refused_by_name() {
    let world = World::new();
    let plane = world.start().await;
    let mut client = plane.connect(&expires_2030_01_02(&world)).await;
    assert_eq!(client.check().await, Ok(OK));
    world.clock.set(NOW + DAY);
    assert_eq!(client.check().await, Ok(OK), "the last second is valid");
    world.clock.set(NOW + DAY + 1);
    assert_eq!(client.check().await, Ok(UNAUTHENTICATED));
    assert_eq!(plane.count("requests_refused"), 1);
    // Once refused, a clock set back does not bring it back.
    world.clock.set(NOW);
    assert_eq!(client.check().await, Ok(UNAUTHENTICATED));
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_its_certificate_expires() {
    let mut world = World::new();
    world.limits.recheck_interval = Duration::from_millis(20);
    let plane = world.start().await;
    let mut client = plane.connect(&expires_2030_01_02(&world)).await;
    assert_eq!(client.check().await, Ok(OK));
    world.clock.set(NOW + DAY + 1);
    client.closed().await;
    plane.until("connections_cut", 1).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_the_crl_expires() {
    let mut world = World::with_crl();
    world.limits.recheck_interval = Duration::from_millis(20);
    let plane = world.start().await;
    let mut client = plane.connect(&world.good_client(7)).await;
    assert_eq!(client.check().await, Ok(OK));
    world.clock.set(2_840_227_200); // 2060-01-02
    client.closed().await;
    plane.until("connections_cut", 1).await;
}

#[tokio::test]
async fn an_aged_connection_goes_away_after_its_requests_are_answered() {
    let mut world = World::new();
    world.limits.connection_age_max = Duration::from_secs(2);
    let plane = world.start().await;
    let mut client = plane.connect(&world.good_client(7)).await;
    let reply = tokio::spawn(client.send("/slow"));
    plane.until("connections_aged", 1).await;
    plane.gate.add_permits(1);
    assert!(matches!(reply.await.unwrap(), Ok((OK, _))));
    client.closed().await;
    assert_eq!(plane.count("connections_overran"), 0);
}

#[tokio::test]
async fn shutdown_finishes_what_is_in_flight_and_takes_nothing_new() {
    let world = World::new();
    let plane = world.start().await;
    let config = world.good_client(7);
    let mut busy = plane.connect(&config).await;
    let mut idle = plane.connect(&config).await;
    assert_eq!(idle.check().await, Ok(OK));
    let reply = tokio::spawn(busy.send("/slow"));
    eventually("the request arrives", || plane.calls.load(Ordering::SeqCst) == 2).await;

    plane.stop.send(()).unwrap();
    idle.closed().await;
    assert!(tokio::net::TcpStream::connect(plane.address).await.is_err());
    assert!(!plane.task.is_finished(), "it waits for the request in flight");
    plane.gate.add_permits(1);
    assert!(matches!(reply.await.unwrap(), Ok((OK, _))));
    busy.closed().await;
    timeout(PATIENCE, plane.task).await.expect("the plane returns").unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let mut world = World::new();
    world.limits.drain_timeout = Duration::from_millis(100);
    let plane = world.start().await;
    let mut client = plane.connect(&world.good_client(7)).await;
    let reply = tokio::spawn(client.send("/slow"));
    eventually("the request arrives", || plane.calls.load(Ordering::SeqCst) == 1).await;
    // And somebody who never finishes a handshake.
    let silent = tokio::net::TcpStream::connect(plane.address).await.unwrap();
    plane.until("handshakes_open", 1).await;
    plane.stop.send(()).unwrap();
    timeout(PATIENCE, plane.task).await.expect("the plane returns").unwrap();
    assert_eq!(reply.await.unwrap(), Err(Gone));
    assert_eq!(plane.counters.connections_overran.load(Ordering::SeqCst), 1);
    drop(silent);
}

fn expires_2030_01_02(world: &World) -> Arc<rustls::ClientConfig> {
    let leaf = world.client_ca.issue("short", |params| {
        params.subject_alt_names = vec![uri("spiffe://bank.example/short")];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(2030, 1, 2);
    });
    world.client(Some(&leaf))
}

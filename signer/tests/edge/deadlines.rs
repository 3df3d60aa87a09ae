//! How long a caller waits.

use std::sync::atomic::Ordering;

use super::world::{DEADLINE_EXCEEDED, INVALID_ARGUMENT, OK, World};

#[tokio::test]
async fn a_call_that_takes_too_long_is_answered_at_its_deadline() {
    let world = World::new();
    let plane = world.start().await;
    let mut client = plane.connect(&world.good_client(7)).await;
    let late = client.send_within("/slow", Some("50m")).await;
    assert_eq!(late, Ok((DEADLINE_EXCEEDED, String::new())));
    let passed = client.send_within("/slow", Some("0n")).await;
    assert_eq!(passed, Ok((DEADLINE_EXCEEDED, String::new())));
    plane.gate.add_permits(1);
    let in_time = client.send_within("/slow", Some("99999999H")).await;
    assert!(matches!(in_time, Ok((OK, _))), "{in_time:?}");
}

#[tokio::test]
async fn a_reply_that_has_begun_ends_at_the_deadline() {
    let world = World::new();
    let plane = world.start().await;
    let mut client = plane.connect(&world.good_client(7)).await;
    let late = client.send_within("/endless", Some("50m")).await;
    assert_eq!(late, Ok((DEADLINE_EXCEEDED, String::new())));
}

#[tokio::test]
async fn a_timeout_that_is_none_is_refused_before_the_service_sees_it() {
    let world = World::new();
    let plane = world.start().await;
    let mut client = plane.connect(&world.good_client(7)).await;
    for bad in ["", "5", "S", "1.5S", "999999999S", "5 S"] {
        let refused = client.send_within("/who", Some(bad)).await;
        assert_eq!(refused, Ok((INVALID_ARGUMENT, String::new())), "{bad:?}");
    }
    assert_eq!(plane.calls.load(Ordering::SeqCst), 0);
    assert!(matches!(client.send_within("/who", Some("5S")).await, Ok((OK, _))));
}

//! The token behind its pool, with a SoftHSM token of its own for each test.

#![allow(clippy::arithmetic_side_effects, reason = "test")]

use alloy_primitives::{Address, B256, keccak256};
use cryptoki::context::Pkcs11;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

use super::testing::{PIN, SOFTHSM, SPY, Tokens, in_own_process, raw_session, sessions};
mod late;

use super::*;
use crate::pin::PinSource;

fn config(tokens: &Tokens, module: &str) -> HsmConfig {
    let label = TokenSelector::Label("vault".to_owned());
    let pin = PinSource::File(tokens.pin_file(PIN));
    HsmConfig { sessions: sessions(3), ..HsmConfig::new(module.into(), label, pin) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

async fn key(hsm: &Hsm, id: u8) -> (KeyId, Arc<PublicPoint>) {
    let id = KeyId::from_bytes([id; 16]);
    let point = hsm.create_key(&id, &"payouts".parse().unwrap()).await.unwrap();
    (id, Arc::new(point))
}

/// Who signed, found without any of our own arithmetic.
fn signer(signed: &Signed) -> Address {
    let signature = signed.signature();
    let bytes = [*signature.r(), *signature.s()].concat();
    let parsed = Signature::from_slice(&bytes).unwrap();
    assert!(parsed.normalize_s().is_none(), "s is low");
    let id = RecoveryId::new(signature.y_parity(), false);
    let digest = signed.reserved().digest();
    let key = VerifyingKey::recover_from_prehash(digest.as_slice(), &parsed, id).unwrap();
    let encoded = key.to_encoded_point(false);
    Address::from_word(keccak256(&encoded.as_bytes()[1..]))
}

#[test]
fn many_tasks_get_the_right_signature_each_from_few_sessions() {
    in_own_process(
        module_path!(),
        "many_tasks_get_the_right_signature_each_from_few_sessions",
        |tokens| {
            tokens.make("vault");
            block_on(async {
                let hsm = Arc::new(Hsm::open(&config(tokens, SOFTHSM)).unwrap());
                let keys = [key(&hsm, 1).await, key(&hsm, 2).await];
                let tasks: Vec<_> = (0..400_usize)
                    .map(|n| {
                        let (hsm, (id, point)) = (Arc::clone(&hsm), keys[n % 2].clone());
                        let digest = keccak256(n.to_be_bytes());
                        let permit = Reserved::for_test(id, digest, Arc::clone(&point));
                        tokio::spawn(async move {
                            (digest, point.address(), hsm.sign(permit).await.unwrap())
                        })
                    })
                    .collect();
                for task in tasks {
                    let (digest, address, signed) = task.await.unwrap();
                    assert_eq!(signed.reserved().digest(), &digest);
                    assert_eq!(signer(&signed), address);
                }
                assert_eq!(hsm.health(), Vec::<String>::new());
                let counters = hsm.counters();
                assert_eq!((counters.late, counters.bad_signatures, counters.stuck), (0, 0, 0));
                hsm.close().await;
            });
        },
    );
}

#[test]
fn a_caller_with_everything_waiting_gives_way_to_one_with_a_single_request() {
    in_own_process(
        module_path!(),
        "a_caller_with_everything_waiting_gives_way_to_one_with_a_single_request",
        |tokens| {
            tokens.make("vault");
            block_on(async {
                let config =
                    HsmConfig { sessions: sessions(1), queue_max: 2, ..config(tokens, SOFTHSM) };
                let hsm = Arc::new(Hsm::open(&config).unwrap());
                let (id, point) = key(&hsm, 1).await;
                let (begin, begun) = std::sync::mpsc::channel();
                let (release, released) = std::sync::mpsc::channel::<()>();
                let busy = Arc::clone(&hsm);
                let busy = tokio::spawn(async move {
                    let hold = move |_: &mut SigningSession| {
                        begin.send(()).unwrap();
                        (released.recv().unwrap(), After::Keep)
                    };
                    busy.signing.run(hold).await
                });
                begun.recv().unwrap();
                let ask = |caller: &str| {
                    let (hsm, caller) = (Arc::clone(&hsm), caller.parse().unwrap());
                    let digest = B256::repeat_byte(7);
                    let permit = Reserved::for_caller(caller, id, digest, Arc::clone(&point));
                    tokio::spawn(async move { hsm.sign(permit).await })
                };
                let waiting = async |count| {
                    while hsm.counters().queued < count {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                let first = ask("flooder");
                waiting(1).await;
                let second = ask("flooder");
                waiting(2).await;
                let polite = ask("polite");
                assert_eq!(second.await.unwrap().err(), Some(SignFault::Overloaded));
                release.send(()).unwrap();
                assert!(first.await.unwrap().is_ok() && polite.await.unwrap().is_ok());
                assert_eq!(hsm.counters().shed, 1);
                busy.await.unwrap().unwrap();
                hsm.close().await;
            });
        },
    );
}

#[test]
fn a_signature_by_another_key_than_pinned_is_refused_and_the_second_quarantines_the_key() {
    in_own_process(
        module_path!(),
        "a_signature_by_another_key_than_pinned_is_refused_and_the_second_quarantines_the_key",
        |tokens| {
            tokens.make("vault");
            block_on(async {
                let hsm = Hsm::open(&config(tokens, SOFTHSM)).unwrap();
                let ((one, pinned), (two, other)) = (key(&hsm, 1).await, key(&hsm, 2).await);
                let permit = |id, point: &Arc<PublicPoint>| {
                    Reserved::for_test(id, B256::repeat_byte(7), Arc::clone(point))
                };
                for _ in 0..2 {
                    let wrong = hsm.sign(permit(one, &other)).await;
                    assert_eq!(wrong.err(), Some(SignFault::BadSignature { key: one }));
                }
                let now = hsm.sign(permit(one, &pinned)).await;
                assert_eq!(now.err(), Some(SignFault::KeyQuarantined { key: one }));
                assert!(hsm.sign(permit(two, &other)).await.is_ok());
                let alarms = hsm.alarms().join("\n");
                assert!(alarms.contains(&one.to_string()) && alarms.contains("quarantined"));
                // Other keys sign as before, once the sessions are open again.
                while !hsm.health().is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert_eq!(hsm.counters().bad_signatures, 2);
                hsm.close().await;
            });
        },
    );
}

#[test]
fn a_lost_login_is_renewed_but_a_pin_refused_then_is_never_tried_again() {
    in_own_process(
        module_path!(),
        "a_lost_login_is_renewed_but_a_pin_refused_then_is_never_tried_again",
        |tokens| {
            tokens.make("vault");
            block_on(async {
                let hsm = Hsm::open(&config(tokens, SPY)).unwrap();
                let (id, point) = key(&hsm, 1).await;
                assert_eq!(tokens.calls("C_Login"), 1, "one login serves all sessions");

                let module = Pkcs11::new(SPY).unwrap();
                raw_session(&module, "vault").logout().unwrap();
                let mut renewed = hsm.self_test(&id, &point).await;
                while renewed == Err(SignFault::Unavailable) {
                    renewed = hsm.self_test(&id, &point).await;
                }
                assert_eq!(renewed, Ok(()));
                assert_eq!(tokens.calls("C_Login"), 2);

                raw_session(&module, "vault").logout().unwrap();
                let mut listed = hsm.inspect().await;
                while listed.is_err() {
                    listed = hsm.inspect().await;
                }
                assert_eq!(listed.unwrap().len(), 1, "a token without login is not an empty one");
                assert_eq!(tokens.calls("C_Login"), 3);

                tokens.pin_file("000000");
                raw_session(&module, "vault").logout().unwrap();
                for _ in 0..50 {
                    assert_eq!(hsm.self_test(&id, &point).await, Err(SignFault::Unavailable));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert_eq!(tokens.calls("C_Login"), 4, "one attempt, by one thread of four");
                let health = hsm.health().join("\n");
                assert!(health.contains("refused the PIN"), "{health}");
                assert!(!health.contains(PIN) && !health.contains("000000"), "{health}");

                tokens.pin_file(PIN);
                while hsm.self_test(&id, &point).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert_eq!(tokens.calls("C_Login"), 5, "the right one, once");
                assert_eq!(tokens.calls("C_CloseSession"), 0, "SoftHSM may crash on it");
                hsm.close().await;
            });
        },
    );
}

#[test]
fn a_copy_is_refused_of_a_key_of_ours_and_found_out_where_it_is_not() {
    use super::quirks::{CopyVerdict, try_copy};
    use super::session::find_private;
    use cryptoki::mechanism::Mechanism;
    use cryptoki::object::Attribute;

    in_own_process(
        module_path!(),
        "a_copy_is_refused_of_a_key_of_ours_and_found_out_where_it_is_not",
        |tokens| {
            tokens.make("vault");
            block_on(async {
                let hsm = Hsm::open(&config(tokens, SOFTHSM)).unwrap();
                let (id, _) = key(&hsm, 1).await;
                let session = raw_session(&Pkcs11::new(SOFTHSM).unwrap(), "vault");
                let ours = find_private(&session, &id).unwrap()[0];
                assert!(matches!(try_copy(&session, ours), CopyVerdict::Refused));

                let curve = Attribute::EcParams(drift::SECP256K1.to_vec());
                let public = [curve, Attribute::Token(true)];
                let weak = KeyId::from_bytes([9; 16]);
                let private = [
                    Attribute::Token(true),
                    Attribute::Sensitive(true),
                    Attribute::Id(weak.bytes().to_vec()),
                ];
                let mechanism = Mechanism::EccKeyPairGen;
                let (_, handle) = session.generate_key_pair(&mechanism, &public, &private).unwrap();
                assert!(matches!(try_copy(&session, handle), CopyVerdict::Allowed));
                assert_eq!(find_private(&session, &weak).unwrap().len(), 1, "the copy is gone");
                hsm.close().await;
            });
        },
    );
}

#[test]
fn the_pool_is_no_larger_than_the_token_allows() {
    let pin = PinSource::Credential("pin".to_owned());
    let config = HsmConfig::new(SOFTHSM.into(), TokenSelector::Slot(0), pin);
    let config = HsmConfig { sessions: sessions(8), ..config };
    let clamped = [None, Some(100), Some(11), Some(10), Some(4), Some(3), Some(1)]
        .map(|allowed| super::sessions(&config, allowed));
    assert_eq!(clamped, [8, 8, 7, 6, 1, 1, 1]);
}

#[test]
fn the_self_test_signs_no_transaction_and_no_message() {
    // A type byte of EIP-2718 is at most 0x7f, a legacy transaction begins at 0xc0 and ends before
    // 0xff, and a message of EIP-191 begins with 0x19.
    assert_eq!(self_test_digest(), keccak256([&[0xff], &b"portcullis self-test v1"[..]].concat()));
}

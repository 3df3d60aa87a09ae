//! The token seen from outside: what we make is what we say, what is weaker is found out, and
//! whatever is missing or refused has a name of its own.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test"
)]

#[path = "../src/hsm/testing.rs"]
mod testing;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use portcullis::hsm::{Doomed, Drift, Hsm, HsmConfig, HsmError, Removal, SignFault, TokenSelector};
use portcullis::pin::{PinError, PinSource};
use portcullis_policy::id::{KeyId, KeyLabel};
use testing::{PIN, SOFTHSM, SPY, Tokens, in_own_process, raw_session, sessions};

const ID_HEX: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

fn id() -> KeyId {
    ID_HEX.parse().unwrap()
}

fn label() -> KeyLabel {
    "payouts-hot".parse().unwrap()
}

fn config(tokens: &Tokens, module: &str) -> HsmConfig {
    let pin = PinSource::File(tokens.pin_file(PIN));
    let token = TokenSelector::Label("vault".to_owned());
    HsmConfig { sessions: sessions(2), ..HsmConfig::new(module.into(), token, pin) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

/// A vault token, opened.
fn opened(test: &str, body: impl AsyncFnOnce(&Tokens, &Hsm)) {
    in_own_process(module_path!(), test, |tokens| {
        tokens.make("vault");
        let hsm = Hsm::open(&config(tokens, SOFTHSM)).unwrap();
        block_on(async {
            body(tokens, &hsm).await;
            hsm.close().await;
        });
    });
}

fn refused(tokens: &Tokens, change: impl FnOnce(&mut HsmConfig)) -> HsmError {
    let mut config = config(tokens, SOFTHSM);
    change(&mut config);
    Hsm::open(&config).err().expect("refused")
}

fn raw() -> Session {
    raw_session(&Pkcs11::new(SOFTHSM).unwrap(), "vault")
}

fn private_handle(session: &Session, id: KeyId) -> ObjectHandle {
    let id = Attribute::Id(id.bytes().to_vec());
    session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), id]).unwrap()[0]
}

#[test]
fn a_created_key_is_read_back_without_drift_and_passes_its_self_test() {
    opened("a_created_key_is_read_back_without_drift_and_passes_its_self_test", async |_, hsm| {
        let point = hsm.create_key(&id(), &label()).await.unwrap();
        let [key] = &hsm.inspect().await.unwrap()[..] else { panic!("one key") };
        assert_eq!(key.drift, []);
        assert_eq!((key.id, key.label.as_str()), (Some(id()), "payouts-hot"));
        assert_eq!(key.point.as_deref(), Some(&point));
        assert_eq!(hsm.self_test(&id(), &Arc::new(point)).await, Ok(()));
        assert_eq!(hsm.facts().label, "vault");
        assert_eq!(hsm.health(), Vec::<String>::new());
    });
}

#[test]
fn an_id_that_is_taken_is_refused_and_the_first_key_stays() {
    opened("an_id_that_is_taken_is_refused_and_the_first_key_stays", async |_, hsm| {
        let point = Arc::new(hsm.create_key(&id(), &label()).await.unwrap());
        let again = hsm.create_key(&id(), &label()).await;
        assert!(matches!(again, Err(HsmError::KeyExists { key }) if key == id()));
        assert_eq!(hsm.self_test(&id(), &point).await, Ok(()));
        assert_eq!(hsm.inspect().await.unwrap().len(), 1);
    });
}

const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What a key of ours is made with, as far as it can be made otherwise.
fn template(id: &[u8]) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Id(id.to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Copyable(false),
        Attribute::Sign(true),
        Attribute::SignRecover(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

fn weaker(id: u8, change: Attribute) -> Vec<Attribute> {
    let mut template = template(&[id; 16]);
    template.retain(|given| std::mem::discriminant(given) != std::mem::discriminant(&change));
    template.push(change);
    template
}

fn generate(session: &Session, curve: &[u8], private: &[Attribute]) -> ObjectHandle {
    let public = [Attribute::Token(true), Attribute::EcParams(curve.to_vec())];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, private).unwrap().1
}

#[test]
fn a_key_that_was_made_weaker_is_reported_with_exactly_its_weakness() {
    opened("a_key_that_was_made_weaker_is_reported_with_exactly_its_weakness", async |_, hsm| {
        let session = raw();
        let cases: [(Attribute, &[Drift]); 9] = [
            (Attribute::Copyable(true), &[Drift::Copyable]),
            (Attribute::Extractable(true), &[Drift::Extractable, Drift::OnceExtractable]),
            (Attribute::Sensitive(false), &[Drift::NotSensitive, Drift::NotAlwaysSensitive]),
            (Attribute::Derive(true), &[Drift::MayDerive]),
            (Attribute::Decrypt(true), &[Drift::MayDecrypt]),
            (Attribute::Unwrap(true), &[Drift::MayUnwrap]),
            (Attribute::SignRecover(true), &[Drift::MaySignRecover]),
            (Attribute::Modifiable(false), &[Drift::NotModifiable]),
            (Attribute::Private(false), &[Drift::NotPrivate]),
        ];
        for (id, (change, _)) in (1..).zip(&cases) {
            generate(&session, &SECP256K1, &weaker(id, change.clone()));
        }
        generate(&session, &SECP256K1, &weaker(10, Attribute::Sign(false)));
        generate(&session, &P256, &template(&[11; 16]));
        generate(&session, &SECP256K1, &template(b"short"));
        let mut expected: Vec<(Vec<u8>, Vec<Drift>)> =
            (1..).zip(&cases).map(|(id, (_, drift))| (vec![id; 16], drift.to_vec())).collect();
        expected.push((vec![10; 16], vec![Drift::Fenced]));
        expected.push((vec![11; 16], vec![Drift::NotSecp256k1]));
        expected.push((b"short".to_vec(), vec![Drift::ForeignId]));
        let mut found: Vec<_> =
            hsm.inspect().await.unwrap().into_iter().map(|key| (key.raw_id, key.drift)).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    });
}

#[test]
fn an_imported_key_and_two_of_one_id_are_reported() {
    opened("an_imported_key_and_two_of_one_id_are_reported", async |_, hsm| {
        let session = raw();
        let mut import = template(&[1; 16]);
        import.extend([
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(SECP256K1.to_vec()),
            Attribute::Value(vec![7; 32]),
        ]);
        session.create_object(&import).unwrap();
        let imported = [Drift::NotAlwaysSensitive, Drift::OnceExtractable, Drift::NotLocal];
        assert_eq!(hsm.inspect().await.unwrap()[0].drift, imported);

        let point = Arc::new(hsm.create_key(&id(), &label()).await.unwrap());
        generate(&session, &SECP256K1, &template(id().bytes()));
        let keys = hsm.inspect().await.unwrap();
        let twice: Vec<_> = keys.iter().filter(|key| key.id == Some(id())).collect();
        assert_eq!(twice.len(), 2);
        assert!(twice.iter().all(|key| key.drift == [Drift::Duplicate]));
        let ambiguous = hsm.self_test(&id(), &point).await;
        assert_eq!(ambiguous, Err(SignFault::KeyAmbiguous { key: id() }));
    });
}

#[test]
fn a_flag_turned_on_later_is_found_and_a_fence_stops_signing_until_it_is_lifted() {
    opened(
        "a_flag_turned_on_later_is_found_and_a_fence_stops_signing_until_it_is_lifted",
        async |_, hsm| {
            let point = Arc::new(hsm.create_key(&id(), &label()).await.unwrap());
            let session = raw();
            let handle = private_handle(&session, id());
            assert_eq!(hsm.self_test(&id(), &point).await, Ok(()));
            #[expect(clippy::disallowed_methods, reason = "what somebody with the PIN can do")]
            let set = |attribute| session.update_attributes(handle, &[attribute]);

            set(Attribute::Derive(true)).unwrap();
            assert_eq!(hsm.inspect().await.unwrap()[0].drift, [Drift::MayDerive]);
            set(Attribute::Derive(false)).unwrap();

            // The sessions hold the key's handle by now.
            set(Attribute::Sign(false)).unwrap();
            assert_eq!(hsm.inspect().await.unwrap()[0].drift, [Drift::Fenced]);
            for _ in 0..20 {
                let fenced = hsm.self_test(&id(), &point).await;
                assert_eq!(fenced, Err(SignFault::KeyFenced { key: id() }));
            }
            assert_eq!(hsm.health(), Vec::<String>::new(), "a fence costs no session");
            set(Attribute::Sign(true)).unwrap();
            assert_eq!(hsm.self_test(&id(), &point).await, Ok(()));

            // What matters most, the PIN's holder cannot weaken.
            for weaken in [
                Attribute::Extractable(true),
                Attribute::Sensitive(false),
                Attribute::Copyable(true),
            ] {
                assert!(matches!(
                    set(weaken),
                    Err(Error::Pkcs11(
                        RvError::AttributeReadOnly | RvError::TemplateInconsistent,
                        _
                    ))
                ));
            }
            let copied = session.copy_object(handle, &[Attribute::Sign(true)]);
            assert!(matches!(copied, Err(Error::Pkcs11(RvError::ActionProhibited, _))));
        },
    );
}

/// What the documentation tells operators of clones.
#[test]
fn a_fence_stops_no_clone_of_the_token_until_the_clone_is_told_too() {
    let test = "a_fence_stops_no_clone_of_the_token_until_the_clone_is_told_too";
    in_own_process(module_path!(), test, |tokens| {
        tokens.make("vault");
        let made = ["--keypairgen", "--key-type", "EC:secp256k1", "--id", ID_HEX];
        assert!(tokens.pkcs11_tool("vault", &made).status.success());
        tokens.make_clone("vault", "clone");
        let first = Hsm::open(&config(tokens, SOFTHSM)).unwrap();
        let token = TokenSelector::Label("clone".to_owned());
        let clone = Hsm::open(&HsmConfig { token, ..config(tokens, SOFTHSM) }).unwrap();
        assert_ne!(first.facts().serial, clone.facts().serial);
        block_on(async {
            let point = first.inspect().await.unwrap()[0].point.clone().unwrap();
            let (keys, fenced) = (BTreeSet::from([id()]), SignFault::KeyFenced { key: id() });
            first.fence(keys.clone(), true).await.unwrap();
            assert_eq!(first.self_test(&id(), &point).await, Err(fenced.clone()));
            assert_eq!(clone.self_test(&id(), &point).await, Ok(()), "it is the same key");
            let told = clone.fence(keys.clone(), true).await.unwrap();
            assert_eq!((told.done, told.refused.len()), (keys, 0));
            assert_eq!(clone.self_test(&id(), &point).await, Err(fenced));
            first.close().await;
            clone.close().await;
        });
    });
}

/// A key made open on purpose shows each time that the attempt itself is right.
#[test]
fn the_private_key_can_be_neither_read_nor_wrapped_out_nor_copied() {
    opened("the_private_key_can_be_neither_read_nor_wrapped_out_nor_copied", async |_, hsm| {
        hsm.create_key(&id(), &label()).await.unwrap();
        let session = raw();
        let ours = private_handle(&session, id());
        let open = [
            Attribute::Token(true),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::Copyable(true),
        ];
        let open = generate(&session, &SECP256K1, &open);
        let code = |error| match error {
            Some(Error::Pkcs11(code, _)) => Some(code),
            _ => None,
        };

        let value = |key| session.get_attributes(key, &[AttributeType::Value]).unwrap();
        assert_eq!(value(ours), []);
        assert!(matches!(&value(open)[..], [Attribute::Value(bytes)] if !bytes.is_empty()));

        let aes = [Attribute::Wrap(true), Attribute::ValueLen(32.into())];
        let aes = session.generate_key(&Mechanism::AesKeyGen, &aes).unwrap();
        let wrap = |key| session.wrap_key(&Mechanism::AesKeyWrapPad, aes, key);
        assert_eq!(code(wrap(ours).err()), Some(RvError::KeyUnextractable));
        assert!(wrap(open).unwrap().len() > 32);

        let copy = |key| session.copy_object(key, &[Attribute::Sign(true)]);
        assert_eq!(code(copy(ours).err()), Some(RvError::ActionProhibited));
        assert!(copy(open).is_ok());
    });
}

#[test]
fn a_key_that_is_not_or_no_longer_there_is_missing() {
    opened("a_key_that_is_not_or_no_longer_there_is_missing", async |_, hsm| {
        let point = Arc::new(hsm.create_key(&id(), &label()).await.unwrap());
        let other = KeyId::from_bytes([1; 16]);
        let missing = |key| Err(SignFault::KeyMissing { key });
        assert_eq!(hsm.self_test(&other, &point).await, missing(other));
        for _ in 0..4 {
            assert_eq!(hsm.self_test(&id(), &point).await, Ok(()));
        }
        let session = raw();
        session.destroy_object(private_handle(&session, id())).unwrap();
        for _ in 0..4 {
            assert_eq!(hsm.self_test(&id(), &point).await, missing(id()));
        }
        assert_eq!(hsm.health(), Vec::<String>::new(), "a missing key costs no session");
    });
}

#[test]
fn a_removed_key_is_gone_by_id_label_and_point_and_removing_it_again_finds_nothing() {
    opened(
        "a_removed_key_is_gone_by_id_label_and_point_and_removing_it_again_finds_nothing",
        async |_, hsm| {
            let point = Arc::new(hsm.create_key(&id(), &label()).await.unwrap());
            let other = KeyId::from_bytes([7; 16]);
            hsm.create_key(&other, &"other".parse().unwrap()).await.unwrap();
            let doomed = Doomed { id: id(), label: label().to_string(), point: Some(point) };
            assert_eq!(hsm.destroy(doomed.clone()).await.unwrap(), Removal::Gone(2));
            assert_eq!(hsm.destroy(doomed.clone()).await.unwrap(), Removal::Gone(0));
            let left = hsm.inspect().await.unwrap();
            assert_eq!(left.iter().map(|key| key.id).collect::<Vec<_>>(), [Some(other)]);
            // Something that bears its name is not nothing.
            let mut named = template(&[9; 16]);
            named.push(Attribute::Label(label().as_str().as_bytes().to_vec()));
            generate(&raw(), &SECP256K1, &named);
            let Removal::Refused(why) = hsm.destroy(doomed).await.unwrap() else { panic!("gone") };
            assert!(why.contains("by its label"), "{why}");
        },
    );
}

#[test]
fn a_key_whose_public_object_was_changed_is_not_removed() {
    opened("a_key_whose_public_object_was_changed_is_not_removed", async |_, hsm| {
        hsm.create_key(&id(), &label()).await.unwrap();
        let (other, name) = (KeyId::from_bytes([7; 16]), "other".parse().unwrap());
        let point = Arc::new(hsm.create_key(&other, &name).await.unwrap());
        let doomed = Doomed { id: id(), label: label().to_string(), point: Some(point) };
        let Removal::Refused(why) = hsm.destroy(doomed).await.unwrap() else { panic!("removed") };
        assert!(why.contains("another point"), "{why}");
        assert_eq!(hsm.inspect().await.unwrap().len(), 2);
    });
}

#[test]
fn a_wrong_pin_is_tried_exactly_once() {
    in_own_process(module_path!(), "a_wrong_pin_is_tried_exactly_once", |tokens| {
        tokens.make("vault");
        let mut config = config(tokens, SPY);
        config.pin = PinSource::File(tokens.pin_file("000000"));
        assert!(matches!(Hsm::open(&config).err(), Some(HsmError::WrongPin)));
        assert_eq!(tokens.calls("C_Login"), 1);
    });
}

#[test]
fn whatever_is_missing_has_a_name_of_its_own() {
    in_own_process(module_path!(), "whatever_is_missing_has_a_name_of_its_own", |tokens| {
        let no_module = refused(tokens, |config| config.module = "/nonexistent.so".into());
        assert!(matches!(no_module, HsmError::Module { .. }), "{no_module:?}");
        // Loadable, but no PKCS#11 module.
        let other = refused(tokens, |config| {
            config.module = "/lib/x86_64-linux-gnu/libm.so.6".into();
        });
        assert!(matches!(other, HsmError::Module { .. }), "{other:?}");

        let no_token = refused(tokens, |_| {});
        assert!(matches!(no_token, HsmError::TokenMissing { .. }), "{no_token:?}");
        let second = refused(tokens, |config| config.module = SPY.into());
        assert!(matches!(second, HsmError::SecondModule { .. }), "{second:?}");
    });
}

#[test]
fn two_tokens_of_one_label_must_be_told_apart_by_serial_number() {
    in_own_process(
        module_path!(),
        "two_tokens_of_one_label_must_be_told_apart_by_serial_number",
        |tokens| {
            tokens.make("vault");
            tokens.make("vault");
            tokens.make("other");
            let ambiguous = refused(tokens, |_| {});
            assert!(matches!(ambiguous, HsmError::TokenAmbiguous { count: 2, .. }));
            let module = Pkcs11::new(SOFTHSM).unwrap();
            let slots = module.get_slots_with_initialized_token().unwrap();
            for slot in slots {
                let serial = module.get_token_info(slot).unwrap().serial_number().to_owned();
                let mut config = config(tokens, SOFTHSM);
                config.token = TokenSelector::Serial(serial.clone());
                let hsm = Hsm::open(&config).unwrap();
                assert_eq!(hsm.facts().serial, serial);
                block_on(hsm.close());
            }
        },
    );
}

#[test]
fn a_pin_that_is_missing_or_exposed_is_never_sent() {
    in_own_process(module_path!(), "a_pin_that_is_missing_or_exposed_is_never_sent", |tokens| {
        tokens.make("vault");
        let path = tokens.pin_file(PIN);
        let refused = || {
            Hsm::open(&HsmConfig { pin: PinSource::File(path.clone()), ..config_without_pin(SPY) })
        };
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let exposed = refused().err();
        assert!(matches!(exposed, Some(HsmError::Pin(PinError::Exposed { mode: 0o640, .. }))));
        fs::remove_file(&path).unwrap();
        let missing = refused().err();
        assert!(matches!(missing, Some(HsmError::Pin(PinError::Unreadable { .. }))));
        let none = PinSource::Credential("pin".to_owned());
        let none = Hsm::open(&HsmConfig { pin: none, ..config_without_pin(SPY) }).err();
        assert!(matches!(none, Some(HsmError::Pin(PinError::NoCredentials))), "{none:?}");
        assert_eq!(tokens.calls("C_Login"), 0);
    });
}

fn config_without_pin(module: &str) -> HsmConfig {
    let token = TokenSelector::Label("vault".to_owned());
    HsmConfig::new(module.into(), token, PinSource::Credential(String::new()))
}

/// OpenSC's tool can neither ask for a private key's value nor wrap one, so what it can witness is
/// what the token says of the key; the attempts are above.
#[test]
fn an_independent_tool_sees_a_key_that_was_born_sealed_and_may_only_sign() {
    opened(
        "an_independent_tool_sees_a_key_that_was_born_sealed_and_may_only_sign",
        async |tokens, hsm| {
            hsm.create_key(&id(), &label()).await.unwrap();
            let with = ["--list-objects", "--type", "privkey", "--id", ID_HEX];
            let output = tokens.pkcs11_tool("vault", &with);
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains(ID_HEX), "{text}");
            let has = |wanted: &str| text.lines().any(|line| line.trim() == wanted);
            assert!(
                has("Access:     sensitive, always sensitive, never extractable, local"),
                "{text}"
            );
            assert!(has("Usage:      sign"), "{text}");
        },
    );
}

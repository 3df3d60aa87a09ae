//! Stops that somebody signed beforehand: what one can do, once, and who cannot make one.

use alloy_primitives::B128;
use portcullis_policy::credential::Purpose;
use portcullis_policy::record::{Actor, Entry, Frozen, Order, Record, Suspended};
use portcullis_policy::state::Unfoldable;
use portcullis_policy::statement;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Millis;

use crate::acts::{explains_itself, pass};
use crate::requests::ask;
use crate::rig::{HOUR, id, pens, vault};
use crate::support::people::Pen;
use crate::support::{Said, Vault, key};

fn vault_id(vault: &Vault) -> String {
    hex::encode(vault.state.vault().0)
}

/// An order as this person signs it with this pen, for an hour.
fn order(vault: &Vault, by: &str, pen: &Pen, scope: Scope, number: u8) -> Frozen {
    order_in(&vault_id(vault), vault.now.possible.plus_hour(), (by, pen), scope, number)
}

trait PlusHour {
    fn plus_hour(self) -> Millis;
}

impl PlusHour for Millis {
    fn plus_hour(self) -> Millis {
        Millis(self.0 + HOUR)
    }
}

fn order_in(
    vault: &str,
    expires: Millis,
    (by, pen): (&str, &Pen),
    scope: Scope,
    number: u8,
) -> Frozen {
    let order = Order {
        by: id(by),
        credential: pen.credential().id(),
        evidence: pen.sign(Purpose::Stop, ""),
        expires,
        order: B128::repeat_byte(number),
    };
    let reason = "if the laptop is lost".to_owned();
    let stop = Frozen { by: Actor::Signer, reason, scope };
    let text = statement::stop_order(vault, &order, &stop);
    let order = Order { evidence: pen.sign(Purpose::Stop, &text), ..order };
    Frozen { by: Actor::Order(Box::new(order)), ..stop }
}

/// What is wrong with it now; "" if nothing is.
fn fault(vault: &Vault, stop: &Frozen) -> &'static str {
    let live = vault.state.signatories().check(stop, vault.now);
    let seq = vault.state.head().next();
    let record = Record::Frozen(stop.clone());
    let folded = vault.state.clone().apply(&Entry { at: vault.now, record, seq });
    match (live, folded) {
        (Ok(()), Ok(())) => "",
        (Err(fault), Err(Unfoldable::Order(at, again))) if fault == again && at == seq => {
            fault.code()
        }
        other => panic!("live and folded differ: {other:?}"),
    }
}

#[test]
fn an_order_stops_once_what_it_names_and_nothing_starts_again_by_it() {
    let mut vault = vault();
    let stop = order(&vault, "sam", &pens("sam")[0], Scope::Key(key(1)), 1);
    assert_eq!(fault(&vault, &stop), "");
    vault.write(Record::Frozen(stop.clone()));
    assert_eq!(vault.ask(&ask(0, 900)), Said::Denied(vec!["FROZEN".into()]));
    assert_eq!(fault(&vault, &stop), "ORDER_USED");
    vault.restart();
    assert_eq!(fault(&vault, &stop), "ORDER_USED");
    let thaw = portcullis_policy::act::Act::Thaw(portcullis_policy::act::Thaw {
        scope: Scope::Key(key(1)),
    });
    // Whoever signed it did not stop it: somebody else used the paper.
    pass(&mut vault, "olga", thaw, &["sam", "sue"]).unwrap();
    assert_eq!(fault(&vault, &stop), "ORDER_USED", "the paper is worth nothing after the thaw");
    assert!(matches!(vault.ask(&ask(0, 900)), Said::Reserved(_)));
    // Another one is another one.
    let other = order(&vault, "sam", &pens("sam")[0], Scope::Key(key(1)), 2);
    assert_eq!(fault(&vault, &other), "");
    explains_itself(&vault);
}

#[test]
fn an_order_is_good_until_its_end_in_its_vault_as_it_was_signed_and_by_security_alone() {
    let mut vault = vault();
    let sam = &pens("sam")[0];
    let all = || Scope::All;
    let good = order(&vault, "sam", sam, all(), 1);
    let changed = |change: &dyn Fn(&mut Frozen, &mut Order)| {
        let mut stop = good.clone();
        let Actor::Order(order) = stop.by.clone() else { panic!() };
        let mut order = *order;
        change(&mut stop, &mut order);
        stop.by = Actor::Order(Box::new(order));
        stop
    };
    let elsewhere =
        order_in(&"ab".repeat(32), vault.now.possible.plus_hour(), ("sam", sam), all(), 1);
    let vote = {
        let Actor::Order(order) = good.by.clone() else { panic!() };
        let text = statement::stop_order(&vault_id(&vault), &order, &good);
        changed(&|_, order| order.evidence = sam.sign(Purpose::Vote, &text))
    };
    for (what, stop, code) in [
        ("as it is", good.clone(), ""),
        ("of another vault", elsewhere, "EVIDENCE_WRONG_SIGNATURE"),
        (
            "of more",
            changed(&|stop, _| stop.scope = Scope::Tag("tag-hot".parse().unwrap())),
            "EVIDENCE_WRONG_SIGNATURE",
        ),
        (
            "for longer",
            changed(&|_, order| order.expires = order.expires.plus_hour()),
            "EVIDENCE_WRONG_SIGNATURE",
        ),
        ("for ever", changed(&|_, order| order.expires = Millis(1 << 53)), "BAD_TIME"),
        (
            "for another reason",
            changed(&|stop, _| stop.reason = "no".into()),
            "EVIDENCE_WRONG_SIGNATURE",
        ),
        ("for no reason", changed(&|stop, _| stop.reason = String::new()), "BAD_REASON"),
        (
            "another one",
            changed(&|_, order| order.order = B128::repeat_byte(9)),
            "EVIDENCE_WRONG_SIGNATURE",
        ),
        (
            "in somebody else's name",
            changed(&|_, order| order.by = id("sue")),
            "CREDENTIAL_UNKNOWN",
        ),
        ("a vote", vote, "SSHSIG_NAMESPACE"),
        ("by an operator", order(&vault, "olga", &pens("olga")[0], all(), 1), "ROLE_MISSING"),
        ("by nobody", order(&vault, "zed", &pens("zed")[0], all(), 1), "ROLE_MISSING"),
    ] {
        assert_eq!(fault(&vault, &stop), code, "{what}");
    }
    // Who is suspended still stops things; a key that was lost does not.
    let own = |credential| Suspended {
        by: id("sam"),
        credential,
        person: id("sam"),
        reason: "lost".into(),
    };
    let mut suspended = vault.clone();
    suspended.write(Record::Suspended(own(None)));
    assert_eq!(fault(&suspended, &good), "");
    let mut silenced = vault.clone();
    silenced.write(Record::Suspended(own(Some(sam.credential().id()))));
    assert_eq!(fault(&silenced, &good), "CREDENTIAL_UNKNOWN");
    // By the clock that may be ahead: an order is never good for longer than it says.
    vault.now.possible = vault.now.possible.plus_hour();
    assert_eq!(fault(&vault, &good), "ORDER_EXPIRED");
}

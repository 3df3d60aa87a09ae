//! Notes of what was done straight on the token: whose they can be, and that each is taken in once.

use alloy_primitives::B128;
use portcullis_policy::act::{Act, Thaw};
use portcullis_policy::credential::Purpose;
use portcullis_policy::record::{
    Actor, Entry, Frozen, Record, RescueDeed, RescueNote, SignedNote, Suspended,
};
use portcullis_policy::state::Unfoldable;
use portcullis_policy::statement;
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Millis;

use crate::acts::{explains_itself, pass};
use crate::requests::ask;
use crate::rig::{id, pens, vault};
use crate::support::people::Pen;
use crate::support::{Said, Vault, key};

fn note(by: &str, number: u8) -> RescueNote {
    RescueNote {
        answer: "it may not sign: read back".into(),
        by: id(by),
        deed: RescueDeed::Fence,
        id: B128::repeat_byte(number),
        label: "hot".into(),
        token: "SoftHSM project, SoftHSM v2, 1234".into(),
        written: Millis(1_900_000_000_000),
    }
}

fn signed(note: RescueNote, pen: &Pen, number: u8) -> Frozen {
    let reason = "the host was not ours any more".to_owned();
    let evidence = pen.sign(Purpose::Rescue, &statement::rescue(&note, &key(number), &reason));
    let by = SignedNote { credential: pen.credential().id(), evidence, note };
    Frozen { by: Actor::Rescue(Box::new(by)), reason, scope: Scope::Key(key(number)) }
}

/// What is wrong with it now; "" if nothing is.
fn fault(vault: &Vault, stop: &Frozen) -> &'static str {
    let live = vault.state.signatories().check(stop, vault.now);
    let seq = vault.state.head().next();
    let entry = Entry { at: vault.now, record: Record::Frozen(stop.clone()), seq };
    match (live, vault.state.clone().apply(&entry)) {
        (Ok(()), Ok(())) => "",
        (Err(fault), Err(Unfoldable::Order(at, again))) if fault == again && at == seq => {
            fault.code()
        }
        other => panic!("live and folded differ: {other:?}"),
    }
}

#[test]
fn a_note_freezes_its_key_once_and_a_thaw_is_not_undone_by_it() {
    let mut vault = vault();
    let stop = signed(note("sam", 1), &pens("sam")[0], 1);
    assert!(matches!(vault.ask(&ask(0, 900)), Said::Reserved(_)));
    assert_eq!(fault(&vault, &stop), "");
    vault.write(Record::Frozen(stop.clone()));
    assert_eq!(vault.ask(&ask(0, 900)), Said::Denied(vec!["FROZEN".into()]));
    assert_eq!(fault(&vault, &stop), "NOTE_TAKEN");
    let thaw = Act::Thaw(Thaw { scope: Scope::Key(key(1)) });
    pass(&mut vault, "olga", thaw, &["sam", "sue"]).unwrap();
    vault.restart();
    assert_eq!(fault(&vault, &stop), "NOTE_TAKEN", "it still lies in the data folder");
    assert!(matches!(vault.ask(&ask(0, 900)), Said::Reserved(_)));
    assert_eq!(fault(&vault, &signed(note("sam", 2), &pens("sam")[0], 1)), "");
    explains_itself(&vault);
}

#[test]
fn a_note_is_somebodys_of_security_as_it_was_signed_and_about_one_key() {
    let vault = vault();
    let sam = &pens("sam")[0];
    let good = signed(note("sam", 1), sam, 1);
    let changed = |change: &dyn Fn(&mut Frozen, &mut SignedNote)| {
        let mut stop = good.clone();
        let Actor::Rescue(by) = stop.by.clone() else { panic!() };
        let mut by = *by;
        change(&mut stop, &mut by);
        stop.by = Actor::Rescue(Box::new(by));
        stop
    };
    let vote = {
        let text = statement::rescue(&note("sam", 1), &key(1), &good.reason);
        changed(&|_, by| by.evidence = sam.sign(Purpose::Stop, &text))
    };
    let wrong = "EVIDENCE_WRONG_SIGNATURE";
    for (what, stop, code) in [
        ("as it is", good.clone(), ""),
        ("of another key", changed(&|stop, _| stop.scope = Scope::Key(key(2))), wrong),
        ("of everything", changed(&|stop, _| stop.scope = Scope::All), "NOTE_SCOPE"),
        ("for another reason", changed(&|stop, _| stop.reason = "no".into()), wrong),
        ("for no reason", changed(&|stop, _| stop.reason = String::new()), "BAD_REASON"),
        ("without an answer", changed(&|_, by| by.note.answer = String::new()), "BAD_REASON"),
        ("another answer", changed(&|_, by| by.note.answer = "gone".into()), wrong),
        ("another deed", changed(&|_, by| by.note.deed = RescueDeed::Destroy), wrong),
        ("another one", changed(&|_, by| by.note.id = B128::repeat_byte(9)), wrong),
        ("of another token", changed(&|_, by| by.note.token = "other".into()), wrong),
        ("at no time", changed(&|_, by| by.note.written = Millis(1 << 53)), "BAD_TIME"),
        ("at another time", changed(&|_, by| by.note.written = Millis(1)), wrong),
        ("under another name", changed(&|_, by| by.note.label = "cold".into()), wrong),
        ("in somebody else's name", changed(&|_, by| by.note.by = id("sue")), "CREDENTIAL_UNKNOWN"),
        ("a stop order's signature", vote, "SSHSIG_NAMESPACE"),
        ("by an operator", signed(note("olga", 1), &pens("olga")[0], 1), "ROLE_MISSING"),
        ("by nobody", signed(note("zed", 1), &pens("zed")[0], 1), "ROLE_MISSING"),
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
}

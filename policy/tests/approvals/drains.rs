//! A drain: what a quorum permits a key instead of its rules, and nothing else.

use alloy_primitives::{Address, U256};
use portcullis_policy::act::{Act, ActFault, Drain, Revoke, Thaw};
use portcullis_policy::drain::{DrainChain, DrainPlan, DrainTo, PlanFault};
use portcullis_policy::fences::Told;
use portcullis_policy::governance::Deed;
use portcullis_policy::id::{ChainId, KeyId};
use portcullis_policy::money::{Account, Amount, Asset};
use portcullis_policy::record::{DrainEnded, Entry, FenceAnswered, FenceCause, Matter, Record};
use portcullis_policy::state::{ExecutionFault, ProposalFault, Unfoldable};
use portcullis_policy::stops::Scope;
use portcullis_policy::time::Millis;

use crate::acts::{begun, explains_itself, pass, renewal};
use crate::requests::{ask, pay, pay_to};
use crate::rig::{
    BOOK, HOUR, approve, execute, genesis_with, governance, pens, propose, requirement,
};
use crate::support::tx::{Tx, call};
use crate::support::{Ask, Said, Vault, address, at, key};

const SAFE: &str = "0x5afe00000000000000000000000000000000005a";
const USDC: &str = "0xc000000000000000000000000000000000000001";
const DAI: &str = "0xc000000000000000000000000000000000000002";
const SWEEPER: &str = "spiffe://acme/sweeper";

fn book() -> String {
    let asset = |name: &str, address: &str, decimals: u8| {
        format!(
            "[asset.{name}]\nkind = \"erc20\"\nchain = \"ethereum\"\naddress = \"{address}\"\n\
             decimals = {decimals}\n"
        )
    };
    let (usdc, dai) = (asset("USDC", USDC, 6), asset("DAI", DAI, 18));
    let side = "[chain.side]\nid = 77\nnative = \"SIDE\"\n";
    let more = format!("safe = \"{SAFE}\"\n{usdc}{dai}{side}[group]");
    let caller = format!("[caller.\"{SWEEPER}\"]\nowners = [\"sid\"]\n[key.hot]");
    BOOK.replacen("[group]", &more, 1).replacen("[key.hot]", &caller, 1)
}

fn vault() -> Vault {
    let mut governance = governance();
    governance.quorums.insert(Deed::Drain, requirement("2 of security"));
    Vault::begin(genesis_with(&book(), governance, pens))
}

fn ether(milli: u64) -> Amount {
    Amount::from(u128::from(milli) * 10_u128.pow(15))
}

/// Native coin and USDC to the safe, within two hours, for a thousandth of an ether in fees.
fn plan(vault: &Vault) -> DrainPlan {
    DrainPlan {
        callers: vec![SWEEPER.parse().unwrap()],
        chains: vec![DrainChain {
            chain: ChainId(1),
            fees: ether(1),
            native: true,
            tokens: vec![USDC.parse().unwrap()],
        }],
        expires: Millis(vault.now.possible.0 + 2 * HOUR),
        to: DrainTo::Address(SAFE.parse().unwrap()),
    }
}

fn drain(plan: DrainPlan) -> Act {
    Act::Drain(Drain { key: key(1), plan })
}

fn begin(vault: &mut Vault, plan: DrainPlan) {
    pass(vault, "olga", drain(plan), &["sam", "sue"]).unwrap();
}

/// What the sweeper asks for.
fn sweep(tx: &Tx) -> Ask {
    Ask { caller: SWEEPER.into(), ..Ask::of(tx) }
}

/// A call that costs as much as a payment does: 0.00021 ETH.
fn calls(nonce: u64, to: &str, data: Vec<u8>) -> Tx {
    Tx { data, ..pay_to(nonce, to, 0) }
}

fn word(address: &str) -> U256 {
    U256::from_be_slice(address.parse::<Address>().unwrap().as_slice())
}

fn transfer(to: &str, units: u64) -> Vec<u8> {
    call("a9059cbb", &[word(to), U256::from(units)])
}

fn approve_call(units: u64) -> Vec<u8> {
    call("095ea7b3", &[word(SAFE), U256::from(units)])
}

fn codes(vault: &mut Vault, ask: &Ask) -> Vec<String> {
    match vault.ask(ask) {
        Said::Denied(codes) => codes,
        Said::Reserved(number) => {
            vault.record(number).unwrap();
            vec![]
        }
        Said::Parked => vec!["PARKED".into()],
    }
}

fn fault_of(vault: &mut Vault, plan: DrainPlan) -> PlanFault {
    let refused = propose(vault, "olga", drain(plan)).unwrap_err();
    let ProposalFault::Act(ActFault::Plan(fault)) = refused else { panic!("{refused:?}") };
    fault
}

#[test]
fn a_draining_key_signs_what_its_plan_permits_for_whom_it_names_and_nothing_else() {
    let mut vault = vault();
    let plan = plan(&vault);
    begin(&mut vault, plan);
    let own = address(key(1)).to_checksum(None);
    let other = "0x2000000000000000000000000000000000000002";
    let permitted = [
        ("coin to the safe, beyond every limit of the book", pay_to(0, SAFE, 900_000)),
        ("a token to the safe", calls(1, USDC, transfer(SAFE, 5))),
        ("a nonce cancelled", pay_to(2, &own, 0)),
        ("an allowance taken back", calls(3, DAI, approve_call(0))),
    ];
    for (what, tx) in &permitted {
        assert_eq!(codes(&mut vault, &sweep(tx)), [""; 0], "{what}");
    }
    let draining = ["KEY_DRAINING", "NOT_IN_DRAIN_PLAN"];
    let refused = [
        ("coin to somebody the key's own rules allow", pay(5, 1)),
        ("coin to itself", pay_to(5, &own, 1)),
        ("coin to the safe on another chain", Tx { chain: 10, ..pay_to(5, SAFE, 1) }),
        ("a token to somebody else", calls(5, USDC, transfer(other, 5))),
        ("a token that is not in the plan", calls(5, DAI, transfer(SAFE, 5))),
        ("coin and an unknown call to the safe", Tx { data: vec![1; 4], ..pay_to(5, SAFE, 1) }),
        ("an allowance", calls(5, USDC, approve_call(1))),
        ("a delegation", Tx { kind: 4, ..pay_to(5, SAFE, 1) }),
        ("a deployment", Tx { to: None, ..calls(5, SAFE, vec![0]) }),
    ];
    for (what, tx) in &refused {
        let codes = codes(&mut vault, &sweep(tx));
        assert_eq!(codes.first().map(String::as_str), Some(draining[0]), "{what}: {codes:?}");
        assert!(codes.iter().skip(1).all(|code| code == draining[1]), "{what}: {codes:?}");
    }
    // Whoever pays with the key else, and whoever owns it.
    for tx in [&permitted[0].1, &refused[0].1] {
        assert_eq!(codes(&mut vault, &Ask::of(tx)), ["KEY_DRAINING"]);
    }
    explains_itself(&vault);
}

#[test]
fn fees_of_a_drain_are_summed_from_its_beginning_each_nonce_at_its_dearest() {
    let mut vault = vault();
    // Paid before: none of the drain's.
    vault.sign(&ask(0, 10)).unwrap();
    let plan = plan(&vault);
    begin(&mut vault, plan.clone());
    let at_gwei = |nonce, gwei: u64| {
        let max_fee = U256::from(gwei) * U256::from(1_000_000_000_u64);
        sweep(&Tx { max_fee, ..pay_to(nonce, SAFE, 1) })
    };
    // 21,000 gas: 0.00042 ETH, and then the same nonce at twice that.
    assert_eq!(codes(&mut vault, &at_gwei(1, 20)), [""; 0]);
    assert_eq!(codes(&mut vault, &at_gwei(1, 40)), [""; 0]);
    assert_eq!(
        vault.state.drain_of(key(1)).unwrap().paid(ChainId(1)),
        Amount::from(840_000_000_000_000).to_total()
    );
    assert_eq!(codes(&mut vault, &at_gwei(1, 30)), [""; 0], "cheaper than what is counted");
    let Said::Reserved(open) = vault.ask(&at_gwei(2, 7)) else { panic!() };
    assert_eq!(codes(&mut vault, &at_gwei(3, 1)), ["OVER_DRAIN_FEES"], "what is in flight counts");
    assert_eq!(codes(&mut vault, &at_gwei(2, 7)), [""; 0], "asked for twice, counted once");
    vault.record(open).unwrap();
    assert_eq!(codes(&mut vault, &at_gwei(4, 1)), ["OVER_DRAIN_FEES"]);
    vault.restart();
    assert_eq!(codes(&mut vault, &at_gwei(4, 1)), ["OVER_DRAIN_FEES"]);
    // Only another quorum gives more.
    let more = DrainPlan { expires: Millis(vault.now.possible.0 + HOUR), ..plan };
    begin(&mut vault, more);
    assert_eq!(codes(&mut vault, &at_gwei(4, 1)), [""; 0]);
    explains_itself(&vault);
}

#[test]
fn a_drain_begins_from_a_stop_which_goes_on_and_ends_with_its_time() {
    let mut vault = vault();
    vault.freeze("sam", Scope::All);
    vault.freeze("sam", Scope::Tag("tag-hot".parse().unwrap()));
    fence(&mut vault);
    let plan = plan(&vault);
    begin(&mut vault, plan.clone());
    // Let sign again in the token, by that quorum; others stay stopped.
    assert!(!vault.state.must_be_fenced(key(1)) && vault.state.must_be_fenced(key(2)));
    fence(&mut vault);
    assert!(!vault.state.fences().is_up(&key(1)) && vault.state.fences().is_up(&key(2)));
    assert_eq!(codes(&mut vault, &sweep(&pay_to(0, SAFE, 1))), [""; 0]);
    let ended = Record::DrainEnded(DrainEnded { key: key(1) });
    assert!(vault.state.drains_over(vault.now).is_empty());
    let early = vault.try_write(ended.clone()).unwrap_err();
    assert!(matches!(early, Unfoldable::Drain(_)), "{early}");
    vault.now = at(plan.expires.0);
    // At once, whether anybody wrote it down or not.
    assert_eq!(codes(&mut vault, &sweep(&pay_to(1, SAFE, 1))).first().unwrap(), "FROZEN");
    assert_eq!(vault.state.drains_over(vault.now), [DrainEnded { key: key(1) }]);
    vault.try_write(ended.clone()).unwrap();
    assert!(vault.state.drains_over(vault.now).is_empty());
    assert!(vault.try_write(ended).is_err(), "it is over already");
    assert!(vault.state.must_be_fenced(key(1)));
    // A key that was never stopped is so when its drain is over.
    pass(&mut vault, "olga", Act::Thaw(Thaw { scope: Scope::All }), &["sam", "sue"]).unwrap();
    let tag = Scope::Tag("tag-hot".parse().unwrap());
    pass(&mut vault, "olga", Act::Thaw(Thaw { scope: tag }), &["sam", "sue"]).unwrap();
    assert_eq!(codes(&mut vault, &ask(2, 10)), ["FROZEN"]);
    let own = Scope::Key(key(1));
    pass(&mut vault, "olga", Act::Thaw(Thaw { scope: own }), &["sam", "sue"]).unwrap();
    assert_eq!(codes(&mut vault, &ask(2, 10)), [""; 0]);
    explains_itself(&vault);
}

/// Does what the signer does about fences.
fn fence(vault: &mut Vault) {
    for intended in vault.state.fences_due(&std::collections::BTreeSet::new()) {
        let up = intended.cause != FenceCause::Thawed;
        let done = intended.keys.clone();
        let intent = vault.write(Record::FenceIntended(intended));
        let answered = FenceAnswered { done: done.clone(), intent, refused: Default::default() };
        vault.write(Record::FenceAnswered(answered));
        let told = |key: &KeyId| vault.state.fences().of(key).map(|one| (one.up, one.told.clone()));
        assert!(done.iter().all(|key| told(key) == Some((up, Told::Done))));
    }
}

#[test]
fn every_stop_that_covers_a_key_ends_its_drain_agreed_or_under_way() {
    let scopes = [Scope::All, Scope::Key(key(1)), Scope::Tag("tag-hot".parse().unwrap())];
    for scope in scopes {
        let mut vault = vault();
        let plan = plan(&vault);
        begin(&mut vault, plan.clone());
        let Said::Reserved(open) = vault.ask(&sweep(&pay_to(0, SAFE, 1))) else { panic!() };
        let agreed = propose(&mut vault, "olga", drain(plan)).unwrap();
        for name in ["sam", "sue"] {
            approve(&mut vault, &agreed, name);
        }
        vault.freeze("sid", scope.clone());
        assert!(vault.state.drain_of(key(1)).is_none(), "{scope}");
        let withheld = vault.record(open).unwrap_err();
        assert_eq!(withheld.first().unwrap().code, "FROZEN", "{scope}");
        assert_eq!(codes(&mut vault, &sweep(&pay_to(0, SAFE, 1))).first().unwrap(), "FROZEN");
        let gone = execute(&mut vault, "olga", &agreed).unwrap_err();
        assert_eq!(gone, ExecutionFault::NoMatter, "{scope}");
        assert!(vault.state.must_be_fenced(key(1)), "{scope}");
        explains_itself(&vault);
    }
    // Stops of something else end nothing; one of whoever asks stops what they ask for.
    let mut vault = vault();
    let plan = plan(&vault);
    begin(&mut vault, plan);
    vault.freeze("sid", Scope::Key(key(2)));
    vault.freeze("sid", Scope::Tag("tag-cold".parse().unwrap()));
    assert_eq!(codes(&mut vault, &sweep(&pay_to(0, SAFE, 1))), [""; 0]);
    vault.freeze("sid", Scope::Caller(SWEEPER.parse().unwrap()));
    assert_eq!(codes(&mut vault, &sweep(&pay_to(1, SAFE, 1))), ["FROZEN"]);
    explains_itself(&vault);
}

#[test]
fn what_was_allowed_by_the_keys_own_rules_is_withheld_once_it_is_drained() {
    let mut vault = vault();
    let Said::Reserved(open) = vault.ask(&ask(0, 10)) else { panic!() };
    let plan = plan(&vault);
    begin(&mut vault, plan);
    let withheld = vault.record(open).unwrap_err();
    assert_eq!(withheld.first().unwrap().code, "KEY_DRAINING");
    explains_itself(&vault);
}

#[test]
fn a_drain_to_a_successor_tells_whoever_asks_for_the_old_key_its_label() {
    let mut vault = vault();
    let old = plan(&vault);
    begin(&mut vault, DrainPlan { to: DrainTo::Key(key(2)), ..old });
    let cold = address(key(2)).to_checksum(None);
    assert_eq!(codes(&mut vault, &sweep(&pay_to(0, &cold, 1))), [""; 0]);
    let Said::Denied(_) = vault.ask(&ask(1, 10)) else { panic!("it signs") };
    let Record::Denied(denied) = &vault.entries.last().unwrap().record else { panic!() };
    let reason = denied.reasons.first().unwrap();
    assert_eq!((reason.code.as_str(), reason.saw.as_str()), ("KEY_DRAINING", "cold"));
    explains_itself(&vault);
}

/// What the last record charged, in wei: for everything in coin, and for fees.
fn charged(vault: &Vault) -> [Amount; 2] {
    let Record::Signed(signed) = &vault.entries.last().unwrap().record else { panic!() };
    [Asset::Native, Asset::Fee].map(|asset| signed.charge.of(Account { chain: ChainId(1), asset }))
}

#[test]
fn what_goes_to_a_successor_stays_in_the_vault_and_uses_up_no_limit_that_it_is_under() {
    let mut vault = vault();
    let away = plan(&vault);
    begin(&mut vault, away.clone());
    assert_eq!(codes(&mut vault, &sweep(&pay_to(0, SAFE, 900_000))), [""; 0]);
    let [coin, fee] = charged(&vault);
    assert_eq!(coin, fee.checked_add(ether(900_000)).unwrap(), "it leaves the vault");
    begin(&mut vault, DrainPlan { to: DrainTo::Key(key(2)), ..away });
    let cold = address(key(2)).to_checksum(None);
    assert_eq!(codes(&mut vault, &sweep(&pay_to(1, &cold, 900_000))), [""; 0]);
    let [coin, fee] = charged(&vault);
    assert!(coin == fee && fee > Amount::ZERO, "{coin} and {fee}");
    explains_itself(&vault);
}

#[test]
fn a_successor_stays_one_after_the_drain_and_after_the_old_keys_end_and_not_after_a_thaw_or_a_stop()
{
    let led = |vault: &Vault| vault.state.successors().get(&key(1)).copied();
    let begun = |vault: &mut Vault| {
        let old = plan(vault);
        begin(vault, DrainPlan { to: DrainTo::Key(key(2)), ..old });
        assert_eq!(led(vault), Some(key(2)));
    };
    let mut vault = vault();
    begun(&mut vault);
    // Its time is over.
    let expires = vault.state.drain_of(key(1)).unwrap().plan.expires;
    vault.now = at(expires.0);
    vault.write(Record::DrainEnded(DrainEnded { key: key(1) }));
    assert_eq!(led(&vault), Some(key(2)));
    let thaw = Act::Thaw(Thaw { scope: Scope::Key(key(1)) });
    pass(&mut vault, "olga", thaw, &["sam", "sue"]).unwrap();
    assert_eq!(led(&vault), None, "it has its place back");
    // One person says stop: of the key, or of what it goes to.
    for stop in [key(1), key(2)] {
        begun(&mut vault);
        vault.freeze("sid", Scope::Key(stop));
        assert_eq!(led(&vault), None, "{stop}");
        let thaw = Act::Thaw(Thaw { scope: Scope::Key(stop) });
        pass(&mut vault, "olga", thaw, &["sam", "sue"]).unwrap();
    }
    // Another plan brings it to no key.
    begun(&mut vault);
    let elsewhere = plan(&vault);
    begin(&mut vault, elsewhere);
    assert_eq!(led(&vault), None);
    begun(&mut vault);
    pass(&mut vault, "olga", Act::Revoke(Revoke { key: key(1) }), &["sam", "sue"]).unwrap();
    vault.freeze("sid", Scope::Key(key(1)));
    vault.restart();
    assert_eq!(led(&vault), Some(key(2)), "whoever still asks for it is told");
    explains_itself(&vault);
}

#[test]
fn a_revocation_and_a_thaw_end_a_drain_and_no_recovery_is_undone_by_one() {
    let mut vault = vault();
    let begun = |vault: &mut Vault| {
        let plan = plan(vault);
        begin(vault, plan);
    };
    begun(&mut vault);
    let thaw = Act::Thaw(Thaw { scope: Scope::Key(key(1)) });
    pass(&mut vault, "olga", thaw, &["sam", "sue"]).unwrap();
    assert_eq!(codes(&mut vault, &ask(0, 10)), [""; 0], "its own rules hold again");
    begun(&mut vault);
    pass(&mut vault, "olga", Act::Revoke(Revoke { key: key(1) }), &["sam", "sue"]).unwrap();
    assert!(vault.state.drain_of(key(1)).is_none() && vault.state.must_be_fenced(key(1)));
    assert_eq!(codes(&mut vault, &sweep(&pay_to(1, SAFE, 1))).first().unwrap(), "KEY_REVOKED");
    let plan = plan(&vault);
    let again = propose(&mut vault, "olga", drain(plan)).unwrap_err();
    assert_eq!(again, ProposalFault::Act(ActFault::Revoked(key(1))));
    explains_itself(&vault);
}

#[test]
fn what_was_agreed_before_a_drain_neither_starts_nor_ends_nor_moves_the_key() {
    let mut vault = vault();
    vault.freeze("sam", Scope::Key(key(1)));
    let first = plan(&vault);
    let other = DrainPlan { to: DrainTo::Key(key(2)), ..first.clone() };
    let acts = [
        Act::Thaw(Thaw { scope: Scope::Key(key(1)) }),
        Act::Revoke(Revoke { key: key(1) }),
        drain(other),
    ];
    let agreed = acts.map(|act| {
        let matter = propose(&mut vault, "olga", act).unwrap();
        for name in ["sam", "sue"] {
            approve(&mut vault, &matter, name);
        }
        matter
    });
    vault.wait(60_000);
    begin(&mut vault, first);
    for matter in &agreed {
        assert_eq!(execute(&mut vault, "olga", matter), Err(ExecutionFault::NoMatter));
    }
    assert_eq!(codes(&mut vault, &sweep(&pay_to(0, SAFE, 1))), [""; 0], "the plan holds");
    explains_itself(&vault);
}

#[test]
fn a_drain_agreed_while_the_key_was_stopped_ends_with_its_thaw() {
    let mut vault = vault();
    vault.freeze("sam", Scope::Key(key(1)));
    let plan = plan(&vault);
    let agreed = propose(&mut vault, "olga", drain(plan)).unwrap();
    for name in ["sam", "sue"] {
        approve(&mut vault, &agreed, name);
    }
    let thaw = Act::Thaw(Thaw { scope: Scope::Key(key(1)) });
    pass(&mut vault, "olga", thaw, &["sam", "sue"]).unwrap();
    assert_eq!(execute(&mut vault, "olga", &agreed), Err(ExecutionFault::NoMatter));
}

#[test]
fn nothing_is_brought_to_a_key_that_was_ended_meanwhile() {
    let mut vault = vault();
    let old = plan(&vault);
    begin(&mut vault, DrainPlan { to: DrainTo::Key(key(2)), ..old });
    let cold = address(key(2)).to_checksum(None);
    // Stopped with everything that has its tag: it can be started again, and goes on receiving.
    vault.freeze("sam", Scope::Tag("tag-cold".parse().unwrap()));
    assert_eq!(codes(&mut vault, &sweep(&pay_to(0, &cold, 1))), [""; 0]);
    let Said::Reserved(open) = vault.ask(&sweep(&pay_to(1, &cold, 1))) else { panic!() };
    pass(&mut vault, "olga", Act::Revoke(Revoke { key: key(2) }), &["sam", "sue"]).unwrap();
    assert_eq!(vault.record(open).unwrap_err().first().unwrap().code, "FROZEN");
    assert_eq!(codes(&mut vault, &sweep(&pay_to(1, &cold, 1))).first().unwrap(), "FROZEN");
    assert!(vault.state.drain_of(key(1)).is_none() && vault.state.must_be_fenced(key(1)));
    explains_itself(&vault);
    // Stopped by itself: perhaps it is out.
    let mut vault = self::vault();
    let old = plan(&vault);
    begin(&mut vault, DrainPlan { to: DrainTo::Key(key(2)), ..old });
    vault.freeze("sam", Scope::Key(key(2)));
    assert_eq!(codes(&mut vault, &sweep(&pay_to(0, &cold, 1))).first().unwrap(), "FROZEN");
    explains_itself(&vault);
}

#[test]
fn a_plan_that_could_not_be_carried_out_is_refused_before_anybody_votes() {
    let mut vault = vault();
    let good = plan(&vault);
    let part = |change: &dyn Fn(&mut DrainChain)| {
        let mut plan = good.clone();
        change(&mut plan.chains[0]);
        plan
    };
    let token: Address = "0xc000000000000000000000000000000000000009".parse().unwrap();
    let (own, now) = (address(key(1)), vault.now.possible);
    let cases = [
        (DrainPlan { callers: vec![], ..good.clone() }, PlanFault::NoCaller),
        (
            DrainPlan { callers: vec!["spiffe://acme/other".parse().unwrap()], ..good.clone() },
            PlanFault::Caller("spiffe://acme/other".parse().unwrap()),
        ),
        (DrainPlan { chains: vec![], ..good.clone() }, PlanFault::Chains),
        (
            DrainPlan { chains: [&good.chains[..], &good.chains[..]].concat(), ..good.clone() },
            PlanFault::Chains,
        ),
        (part(&|part| part.chain = ChainId(5)), PlanFault::Chain(ChainId(5))),
        (part(&|part| part.fees = Amount::ZERO), PlanFault::Fees(ChainId(1))),
        (part(&|part| part.tokens = vec![token]), PlanFault::Token(ChainId(1), token)),
        (part(&|part| part.tokens.push(part.tokens[0])), PlanFault::Order(ChainId(1))),
        (
            part(&|part| (part.native, part.tokens) = (false, vec![])),
            PlanFault::Nothing(ChainId(1)),
        ),
        (
            DrainPlan { to: DrainTo::Address(token), ..good.clone() },
            PlanFault::Unnamed(ChainId(1), token),
        ),
        (DrainPlan { to: DrainTo::Address(own), ..good.clone() }, PlanFault::OwnKey(own)),
        (
            DrainPlan { to: DrainTo::Address(address(key(2))), ..good.clone() },
            PlanFault::OwnKey(address(key(2))),
        ),
        (DrainPlan { to: DrainTo::Key(key(1)), ..good.clone() }, PlanFault::Itself),
        (DrainPlan { to: DrainTo::Key(key(9)), ..good.clone() }, PlanFault::Successor(key(9))),
        (
            part(&|part| (part.chain, part.tokens) = (ChainId(77), vec![])),
            PlanFault::NotOfKey(key(1), ChainId(77)),
        ),
        (DrainPlan { expires: now, ..good.clone() }, PlanFault::Expires),
        (DrainPlan { expires: Millis(now.0 + 31 * 24 * HOUR), ..good.clone() }, PlanFault::Expires),
    ];
    for (plan, fault) in cases {
        assert_eq!(fault_of(&mut vault, plan), fault);
    }
    // One that the next drill destroys; unless it is the place of a canary.
    vault.make_key_for(key(4), "canary-1", "canary");
    vault.make_key_for(key(5), "canary-2", "canary");
    let spent = DrainPlan { to: DrainTo::Key(key(4)), ..good.clone() };
    assert_eq!(fault_of(&mut vault, spent.clone()), PlanFault::Canary(key(4)));
    propose(&mut vault, "olga", Act::Drain(Drain { key: key(5), plan: spent })).unwrap();
    vault.freeze("sam", Scope::Key(key(2)));
    let stopped = DrainPlan { to: DrainTo::Key(key(2)), ..good.clone() };
    assert_eq!(fault_of(&mut vault, stopped), PlanFault::Successor(key(2)));
    // Agreed to, and over before it was done.
    let short = DrainPlan { expires: Millis(now.0 + 60_000), ..good };
    let matter = propose(&mut vault, "olga", drain(short)).unwrap();
    for name in ["sam", "sue"] {
        approve(&mut vault, &matter, name);
    }
    vault.wait(60_000);
    let late = execute(&mut vault, "olga", &matter).unwrap_err();
    assert_eq!(late, ExecutionFault::Act(ActFault::Plan(PlanFault::Expires)));
}

#[test]
fn whoever_votes_reads_where_everything_goes_and_what_it_may_cost() {
    let mut vault = vault();
    let text = |vault: &mut Vault, plan: DrainPlan| {
        let matter: Matter = propose(vault, "olga", drain(plan)).unwrap();
        vault.state.pending().get(&matter).unwrap().statement.to_string()
    };
    let first = plan(&vault);
    let said = text(&mut vault, first.clone());
    let own = address(key(1)).to_checksum(None);
    for line in [
        &format!("act: drain key hot {own} ({}) until 2023-11-15T00:13:20.000Z", key(1)),
        "  on ethereum (1): safe (0x5aFE00000000000000000000000000000000005a): NEVER PAID BEFORE",
        "  on ethereum (1): fees of at most 0.001 ETH\n    all ETH\n    all USDC (0xC0000000000000",
        "asked for by:\n  spiffe://acme/sweeper\n",
        "it may cancel nonces and take back allowances",
        "meanwhile the token signs with it again",
    ] {
        assert!(said.to_lowercase().contains(&line.to_lowercase()), "{line}\n{said}");
    }
    assert!(!said.contains("takes the place"), "{said}");
    begin(&mut vault, first.clone());
    assert_eq!(codes(&mut vault, &sweep(&pay_to(0, SAFE, 1))), [""; 0]);
    let said = text(&mut vault, DrainPlan { to: DrainTo::Key(key(2)), ..first });
    for line in [
        "its successor key cold 0x",
        "NO RULES in the book yet",
        "this plan takes the place of that one",
        "fees of at most 0.001 ETH, after 0.00021 ETH under the plan before",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}

#[test]
fn an_announced_recovery_ends_every_drain() {
    let mut vault = vault();
    let plan = plan(&vault);
    begin(&mut vault, plan.clone());
    let (renewal, pens) = renewal(&vault);
    let begun = begun(&vault, renewal, &pens, 2);
    vault.write(Record::RecoveryBegun(Box::new(begun)));
    assert!(vault.state.drain_of(key(1)).is_none() && vault.state.must_be_fenced(key(1)));
    let again = propose(&mut vault, "olga", drain(plan)).unwrap_err();
    assert_eq!(again, ProposalFault::Act(ActFault::Recovering));
    let seq = vault.state.head().next();
    let ended = Record::DrainEnded(DrainEnded { key: key(1) });
    let folded = vault.state.clone().apply(&Entry { at: vault.now, record: ended, seq });
    assert!(matches!(folded, Err(Unfoldable::Drain(_))), "{folded:?}");
}

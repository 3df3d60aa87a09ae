//! What is told of a key's use, from the journal's records alone.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect, and its numbers are small"
)]

mod support;

use alloy_primitives::{Address, U256};
use portcullis_policy::id::ChainId;
use portcullis_policy::impact::{DAYS, Survey};
use portcullis_policy::money::{Account, Amount, Asset, Total};
use support::parts::{FEES, HEAD, key_head, token};
use support::tx::{Tx, approve};
use support::{Ask, Said, Vault, key};

const ONE: Address = Address::repeat_byte(0x11);
const USDC: Address = Address::repeat_byte(0xaa);
const POOL: Address = Address::repeat_byte(0xb1);
const DAY: u64 = 86_400_000;

fn vault() -> Vault {
    Vault::new(&format!(
        "{HEAD}{}{}native = {{ to = \"{ONE:#x}\", per_tx = \"1 ETH\", window = \"2 ETH / 24h\" }}\n\
         {FEES}token.USDC = {{ to = \"{ONE:#x}\", per_tx = \"unlimited\", window = \"unlimited\", \
         allowance = {{ spender = \"{POOL:#x}\", per_tx = \"100 USDC\" }} }}\n",
        token("USDC", USDC, "erc20"),
        key_head(),
    ))
}

fn pay(nonce: u64) -> Ask {
    Ask::of(&Tx { nonce, to: Some(ONE), value: U256::from(1_000), ..Tx::default() })
}

fn allow(nonce: u64, amount: u64) -> Ask {
    let data = approve(POOL, amount);
    Ask::of(&Tx { nonce, to: Some(USDC), data, ..Tx::default() })
}

fn survey(vault: &Vault) -> Survey {
    let mut survey = Survey::new(key(1));
    for entry in &vault.entries {
        survey.take(entry, vault.state.book().registry(), |signed| {
            signed.asked.input.resolve(|_| None)
        });
    }
    survey
}

#[test]
fn what_was_signed_is_counted_by_caller_recipient_and_contract_and_forgotten_after_a_month() {
    let mut vault = vault();
    for nonce in 0..3 {
        vault.sign(&pay(nonce)).unwrap();
    }
    vault.sign(&pay(0)).unwrap();
    vault.sign(&allow(3, 70)).unwrap();
    assert!(matches!(
        vault.ask(&Ask::of(&Tx { to: Some(POOL), ..Tx::default() })),
        Said::Denied(_)
    ));
    let told = survey(&vault);
    let usage = told.usage();
    assert_eq!((usage.signed, usage.refused, usage.busiest_hour), (5, 1, 5));
    assert_eq!(usage.callers.values().sum::<u64>(), 5);
    let account = |asset| Account { chain: ChainId(1), asset };
    // What is signed again is a signature more, and no more money.
    let paid = usage.recipients[&(account(Asset::Native), ONE)];
    assert_eq!(paid, (4, Total::ZERO.plus(Amount::from(4_000))));
    let charged = usage.charged[&account(Asset::Token(USDC))];
    assert_eq!(charged, Total::ZERO.plus(Amount::from(70)));
    assert_eq!(usage.contracts[&(ChainId(1), USDC)], 1);
    let place = (account(Asset::Token(USDC)), POOL);
    assert_eq!(told.allowances()[&place].amount, Amount::from(70));
    assert_eq!(told.unread(), 0);

    // A month later there is the allowance, and what was signed last.
    vault.wait((DAYS + 1) * DAY);
    vault.sign(&pay(4)).unwrap();
    let told = survey(&vault);
    assert_eq!((told.usage().signed, told.usage().contracts.len()), (1, 0));
    assert!(told.allowances().contains_key(&place));
    assert_eq!(told.last_signed().unwrap().0, vault.entries.last().unwrap().seq);
    // Taken back is gone.
    vault.sign(&allow(5, 0)).unwrap();
    assert!(survey(&vault).allowances().is_empty());
    // And of another key nothing is told.
    let mut other = Survey::new(key(2));
    for entry in &vault.entries {
        other.take(entry, vault.state.book().registry(), |_| None);
    }
    assert_eq!((other.usage().signed, other.last_signed()), (0, None));
}

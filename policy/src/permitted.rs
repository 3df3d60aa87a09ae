//! Whether one effect is permitted at all, whatever it costs: recipients, contracts, functions,
//! arguments. Amounts come later, all together.

use alloy_primitives::{Address, B256};

use crate::abi;
use crate::book::{DenyWord, KeyRules, TypedRule};
use crate::bounds::{self, Moment};
use crate::effect::Effect;
use crate::finding::{Findings, Rule, Seen};
use crate::id::ChainId;
use crate::limits;
use crate::money::{Account, Amount, Asset};
use crate::request::{Request, Signable};
use crate::typed::TypedData;

/// What effects are held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) rules: &'a KeyRules,
    pub(crate) request: &'a Request,
    pub(crate) chain: ChainId,
    pub(crate) moment: Moment,
}

/// Notes what the rules say of one effect.
pub(crate) fn check(ground: &Ground<'_>, effect: &Effect, out: &mut Findings) {
    let Ground { rules, chain, .. } = *ground;
    if let Some(word) = denied_word(rules, effect) {
        out.note(Rule::NotDenied, Seen::Words(word.into()), false);
    }
    match effect {
        Effect::Fee { most: _, priority } => limits::check_priority(rules, chain, *priority, out),
        Effect::PayNative { to, amount: _ } => {
            let allowed = rules.native.as_ref().is_some_and(|rule| rule.to.include(*to));
            out.note(Rule::NativeTo, Seen::Address(*to), allowed);
        }
        Effect::TransferToken { .. }
        | Effect::GrantAllowance { .. }
        | Effect::GrantOperator { .. }
        | Effect::RevokeOperator { .. }
        | Effect::Wrap { .. }
        | Effect::Unwrap { .. } => token(ground, effect, out),
        Effect::Call { contract, selector, arguments } => {
            call(ground, (*contract, *selector), arguments, out);
        }
        Effect::Via { contract } => {
            let named = rules.via.contains(&(chain, *contract));
            out.note(Rule::ViaAllowed, Seen::Address(*contract), named);
        }
        Effect::DelegateCall { account: _, target } => {
            let named = rules.delegatecall.contains(&(chain, *target));
            out.note(Rule::DelegateCallAllowed, Seen::Address(*target), named);
        }
        Effect::Typed { contract, name, type_hash } => {
            typed(ground, *contract, name, *type_hash, out);
        }
        Effect::SignIn { domain, address } => sign_in(ground, domain, *address, out),
        Effect::Authorize { to } => {
            let rule = rules.authorize.as_ref();
            // Whoever may delegate may end it.
            let known =
                rule.is_some_and(|rule| *to == Address::ZERO || rule.to.contains(&(chain, *to)));
            out.note(Rule::AuthorizeAllowed, Seen::Address(*to), known);
        }
        Effect::Deploy { init_code, value } => {
            let known = rules.deploy.contains(init_code) && value.units().is_zero();
            out.note(Rule::DeployAllowed, Seen::Words(init_code.to_string().into()), known);
        }
        Effect::Delegate { chain: on, to } => {
            let known = rules.delegate.contains(to) && *on == chain;
            out.note(Rule::DelegateAllowed, Seen::Address(*to), known);
        }
        Effect::Unknown { contract: _, why } => {
            out.note(Rule::Understood, Seen::Words(why.as_str().into()), false);
        }
    }
}

fn token(ground: &Ground<'_>, effect: &Effect, out: &mut Findings) {
    let (Effect::TransferToken { token, .. }
    | Effect::GrantAllowance { token, .. }
    | Effect::GrantOperator { token, .. }
    | Effect::RevokeOperator { token, .. }
    | Effect::Wrap { token, .. }
    | Effect::Unwrap { token, .. }) = effect
    else {
        return;
    };
    let rule = ground.rules.tokens.get(&(ground.chain, *token));
    out.note(Rule::TokenAllowed, Seen::Address(*token), rule.is_some());
    let Some(rule) = rule else { return };
    match effect {
        Effect::TransferToken { from, to, .. } => {
            out.note(Rule::TokenTo, Seen::Address(*to), rule.to.include(*to));
            if let Some(holder) = from.filter(|holder| *holder != ground.moment.own) {
                let allowed = rule.from.contains(&holder);
                out.note(Rule::TokenFrom, Seen::Address(holder), allowed);
            }
        }
        Effect::GrantAllowance { token, spender, amount } => {
            limits::check_allowance(rule, (ground.chain, *token), *spender, *amount, out);
        }
        Effect::GrantOperator { operator, .. } => {
            let known = rule.operator.contains(operator);
            out.note(Rule::OperatorAllowed, Seen::Address(*operator), known);
        }
        Effect::Wrap { token, amount } => {
            out.note(Rule::ConvertAllowed, Seen::Address(*token), rule.convert);
            // What is absent permits nothing: without a native rule nothing bounds the amount.
            if ground.rules.native.is_none() {
                let account = Account { chain: ground.chain, asset: Asset::Native };
                limits::absent(account, *amount, Rule::NativePerTx, out);
            }
        }
        Effect::Unwrap { token, .. } => {
            out.note(Rule::ConvertAllowed, Seen::Address(*token), rule.convert);
        }
        // Taking back what was granted is always within the rules; the rest is none of a token's.
        Effect::RevokeOperator { .. }
        | Effect::Fee { .. }
        | Effect::PayNative { .. }
        | Effect::Call { .. }
        | Effect::Via { .. }
        | Effect::DelegateCall { .. }
        | Effect::Typed { .. }
        | Effect::SignIn { .. }
        | Effect::Authorize { .. }
        | Effect::Deploy { .. }
        | Effect::Delegate { .. }
        | Effect::Unknown { .. } => {}
    }
}

fn call(
    ground: &Ground<'_>,
    (contract, selector): (Address, [u8; 4]),
    arguments: &[u8],
    out: &mut Findings,
) {
    let rule = ground.rules.calls.get(&(ground.chain, contract, selector));
    let words = rule.map_or_else(
        || format!("0x{} of {}", hex::encode(selector), contract.to_checksum(None)).into(),
        |rule| rule.function.canonical().into(),
    );
    out.note(Rule::CallAllowed, Seen::Words(words), rule.is_some());
    let Some(rule) = rule else { return };
    let members = rule.function.parameters();
    let values = match abi::decode(members, arguments) {
        Ok(values) => values,
        Err(fault) => {
            return out.note(Rule::Understood, Seen::Words(fault.to_string().into()), false);
        }
    };
    let broken = bounds::broken(&rule.bounds, members, &values, ground.moment);
    note_arguments(broken, out);
}

fn typed(
    ground: &Ground<'_>,
    contract: Option<Address>,
    name: &str,
    type_hash: B256,
    out: &mut Findings,
) {
    let Signable::Typed(data) = ground.request.signable() else { return };
    let rule = contract
        .and_then(|contract| ground.rules.typed.get(&(ground.chain, contract, type_hash)))
        .filter(|rule| is_of(data, rule));
    out.note(Rule::TypedAllowed, Seen::Words(name.into()), rule.is_some());
    let Some(rule) = rule else { return };
    let members = rule.kind.members();
    note_arguments(bounds::broken(&rule.bounds, members, data.fields(), ground.moment), out);
}

/// Every field of the domain, those that are absent too, and the full type.
fn is_of(data: &TypedData, rule: &TypedRule) -> bool {
    *data.domain() == rule.domain && *data.primary() == rule.kind
}

fn note_arguments(broken: Option<(&str, &crate::value::Value)>, out: &mut Findings) {
    match broken {
        None => out.note(Rule::Arguments, Seen::Nothing, true),
        Some((name, value)) => {
            out.note(Rule::Arguments, Seen::Words(format!("{name} is {value}").into()), false);
        }
    }
}

fn sign_in(ground: &Ground<'_>, domain: &str, address: Address, out: &mut Findings) {
    let Signable::Message(message) = ground.request.signable() else { return };
    let own = address == ground.moment.own;
    out.note(Rule::SignInAs, Seen::Address(address), own);
    let rule = ground.rules.messages.iter().find(|rule| rule.domains.contains(domain));
    out.note(Rule::SignInAllowed, Seen::Words(domain.into()), rule.is_some());
    let Some(rule) = rule else { return };
    let latest = ground.moment.now.plus(rule.expires);
    let ends = message.expires().is_some_and(|expires| expires <= latest);
    let seen = message.expires().map_or_else(
        || "no expiration time".to_owned(),
        |expires| format!("until {} ms, at most {} ms", expires.0, latest.0),
    );
    out.note(Rule::SignInExpires, Seen::Words(seen.into()), ends);
}

/// The word of `deny` that covers an effect, if one does.
fn denied_word(rules: &KeyRules, effect: &Effect) -> Option<&'static str> {
    let words = DenyWord::ALL.iter().filter(|(word, _)| rules.deny.contains(word));
    let covers = |word: &DenyWord| match word {
        DenyWord::ContractCreation => matches!(effect, Effect::Deploy { .. }),
        DenyWord::Eip7702 => {
            matches!(effect, Effect::Delegate { .. } | Effect::Authorize { .. })
        }
        DenyWord::UnlimitedAllowance => {
            matches!(effect, Effect::GrantAllowance { amount, .. } if *amount >= unlimited())
                || matches!(effect, Effect::GrantOperator { .. })
        }
        DenyWord::DelegateCall => matches!(effect, Effect::DelegateCall { .. }),
    };
    words.filter(|(word, _)| covers(word)).map(|(_, spelling)| *spelling).next()
}

/// 2^96 - 1: the smallest of the amounts that tokens and wallets take for "no limit".
fn unlimited() -> Amount {
    Amount::from((1u128 << 96).saturating_sub(1))
}

//! Reads what a key may sign besides transactions: typed data, messages, authorizations of code.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};

use super::arguments::bounds;
use super::check::{chain_named, closed_word};
use super::file::{Field, Fields};
use super::limits::span_of;
use super::names::refuse_repeats;
use super::rules::Scope;
use super::words::{Vocabulary, quoted};
use super::{AuthorizeRule, ContractKind, MessageRule, TypedRule, tiers};
use crate::bounds::Bound;
use crate::effect::permit_deadline;
use crate::id::{CallerId, ChainId};
use crate::message::is_authority;
use crate::typed::{Domain, StructType};
use crate::value::{Kind, Member};

/// By chain, contract and `typeHash`.
pub(super) type TypedRules = BTreeMap<(ChainId, Address, B256), TypedRule>;

/// `[[key.LABEL.typed]]`.
pub(super) fn typed(field: &Field<'_>, scope: &Scope<'_>) -> TypedRules {
    let mut rules = TypedRules::new();
    for field in field.elements(TYPED_MAX) {
        let Some((place, rule)) = field.fields(TYPED).and_then(|fields| one(&fields, scope)) else {
            continue;
        };
        if rules.insert(place, rule).is_some() {
            field.fault("is a second rule for this type and contract", "keep one of them");
        }
    }
    rules
}

fn one(fields: &Fields<'_>, scope: &Scope<'_>) -> Option<((ChainId, Address, B256), TypedRule)> {
    let domain = fields.required("domain", DOMAIN_HINT);
    let domain = domain.and_then(|field| domain_of(&field.fields(DOMAIN)?, scope));
    let hint = "write type = \"Name(type name,..)\": the full type string, with all structs in it";
    let given = fields.required("type", hint);
    let kind = given.as_ref().and_then(|field| {
        let word = field.word()?;
        match StructType::parse(word.text) {
            Ok(kind) => Some(kind),
            Err(bad) => {
                field.fault(format!("{} {bad}", quoted(word.text)), hint);
                None
            }
        }
    });
    let hint = "write where = { name = \"BOUND\", .. } with every field of the type";
    let within = fields.required("where", hint);
    let (domain, chain, contract) = domain?;
    let kind = kind?;
    let within = within?;
    let bounds = bounds(&within, kind.members(), scope, chain)?;
    understood(&given?, &kind, (chain, contract), scope)?;
    bounded_in_time(fields, &within, &kind, &bounds)?;
    Some(((chain, contract, kind.hash()), TypedRule { domain, kind, bounds }))
}

/// Typed data for a token, Permit2 or a Safe moves what they hold: only such types as are charged.
fn understood(
    field: &Field<'_>,
    kind: &StructType,
    (chain, contract): (ChainId, Address),
    scope: &Scope<'_>,
) -> Option<()> {
    let registry = &scope.names.registry;
    let holds = registry.token(chain, contract).is_some()
        || matches!(
            registry.contract_kind(chain, contract),
            ContractKind::Permit2 | ContractKind::Safe
        );
    if holds && permit_deadline(kind.text()).is_none() {
        let hint = "leave it out: only Permit, TransferWithAuthorization, Permit2's and SafeTx are \
                    understood here, and charged";
        field.fault("a type that moves what the contract holds, and is not understood", hint);
        return None;
    }
    Some(())
}

/// A promise without an end is a cheque that somebody can keep. A type that is known says where its
/// end stands, or has none; of any other, some number must be bounded in time, or a word say that
/// it is meant.
fn bounded_in_time(
    fields: &Fields<'_>,
    within: &Field<'_>,
    kind: &StructType,
    bounds: &[Bound],
) -> Option<()> {
    let endless = fields.optional("endless");
    let known = permit_deadline(kind.text());
    if let Some(field) = &endless
        && (known.is_some() || ends(kind.members(), bounds))
    {
        let message = "the type itself says when it ends, or a bound does";
        field.fault(message, "leave it out: it is for orders that never end");
        return None;
    }
    let bounded = match known {
        Some(Some(deadline)) => {
            let named = |member: &Member| member.name.as_deref() == Some(deadline);
            let mut pairs = kind.members().iter().zip(bounds);
            let bounded =
                pairs.any(|(member, bound)| named(member) && matches!(bound, Bound::Within(_)));
            if !bounded {
                let hint = format!("write where = {{ {deadline} = \"<= now + 15m\", .. }}");
                within.fault(format!("{deadline} has no bound in time"), hint);
            }
            bounded
        }
        Some(None) => true,
        None => {
            let word = Vocabulary { known: &["allowed"], later: &[] };
            let said = endless.is_some_and(|field| closed_word(&field, "word", word));
            let bounded = said || ends(kind.members(), bounds);
            if !bounded {
                let hint = "write where = { FIELD = \"<= now + 15m\", .. } for its deadline, or \
                            endless = \"allowed\" if it has none";
                within.fault("has no end: no number in it has a bound in time", hint);
            }
            bounded
        }
    };
    bounded.then_some(())
}

/// Whether some number of it is bounded in time.
pub(super) fn ends(members: &[Member], bounds: &[Bound]) -> bool {
    let mut pairs = members.iter().zip(bounds);
    pairs.any(|(member, bound)| matches!((&member.kind, bound), (Kind::Uint(_), Bound::Within(_))))
}

fn domain_of(fields: &Fields<'_>, scope: &Scope<'_>) -> Option<(Domain, ChainId, Address)> {
    let text = |name| fields.optional(name).map(|field| field.word().map(|w| w.text.to_owned()));
    let (name, version) = (text("name"), text("version"));
    let salt = fields.optional("salt").map(|field| {
        let mut bytes = [0; 32];
        let digits = field.word()?.text.strip_prefix("0x")?;
        let read = hex::decode_to_slice(digits, &mut bytes);
        if read.is_err() {
            field.fault("is not 32 bytes", "write 0x and 64 hexadecimal digits");
        }
        read.ok().map(|()| B256::from(bytes))
    });
    let chain_field = fields.required("chain", "write chain = \"NAME\"")?;
    let chain = chain_named(&chain_field, chain_field.word()?, scope.names)?;
    if !scope.chains.is_empty() && !scope.chains.contains(&chain) {
        let hint = "add the chain to the key's chains, or leave the rule out";
        chain_field.fault("a chain this key may not use", hint);
        return None;
    }
    let contract = fields.required("contract", "write contract = \"@NAME\"")?;
    let (on, address) = scope.names.contract(&contract, &BTreeSet::from([chain]))?;
    let domain = Domain {
        name: optional(name)?,
        version: optional(version)?,
        chain: Some(on),
        contract: Some(address),
        salt: optional(salt)?,
    };
    Some((domain, on, address))
}

/// Absent, or read. `None` if it is there and has a fault.
#[allow(clippy::option_option, reason = "the outer one is a fault, the inner one is absence")]
fn optional<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// `[[key.LABEL.message]]`.
pub(super) fn messages(field: &Field<'_>) -> Vec<MessageRule> {
    let elements = field.elements(MESSAGES_MAX);
    elements.iter().filter_map(|field| message(&field.fields(MESSAGE)?)).collect()
}

fn message(fields: &Fields<'_>) -> Option<MessageRule> {
    let template = fields.required("template", "write template = \"eip4361\"");
    let known = template.is_some_and(|field| closed_word(&field, "template", TEMPLATES));
    let hint = "write domains = [\"app.example.com\"]: the sites that may be signed in to";
    let domains = fields.required("domains", hint).and_then(|field| {
        let words = field.words(DOMAINS_MAX)?;
        refuse_repeats(&field, &words);
        if words.is_empty() {
            field.fault("is empty", hint);
        }
        let sound = |text: &str| is_authority(text);
        for word in words.iter().filter(|word| !sound(word.text)) {
            let message = format!("{} is not a host name in lower case", quoted(word.text));
            field.fault_at(word.at, message, hint);
        }
        Some(words.iter().map(|word| word.text.to_owned()).collect::<BTreeSet<String>>())
    });
    let hint = "write expires = \"1h\": how long from now it may be good";
    let expires = fields.required("expires", hint);
    let expires = expires.and_then(|field| span_of(&field, field.word()?));
    let (domains, expires) = (domains?, expires?);
    known.then_some(MessageRule { domains, expires })
}

/// `authorize = { to, need, expires }`.
pub(super) fn authorize(
    field: &Field<'_>,
    scope: &Scope<'_>,
    callers: &BTreeSet<CallerId>,
) -> Option<AuthorizeRule> {
    let fields = field.fields(AUTHORIZE)?;
    let to = fields.required("to", "write to = \"@NAME\": whose code the account may run");
    let to = to.map(|field| scope.names.contracts(&field, &scope.chains));
    let terms = tiers::people(&fields, scope, callers)?;
    Some(AuthorizeRule { to: to?, terms })
}

const TYPED: Vocabulary = Vocabulary { known: &["domain", "type", "where", "endless"], later: &[] };
const DOMAIN: Vocabulary =
    Vocabulary { known: &["name", "version", "chain", "contract", "salt"], later: &[] };
const MESSAGE: Vocabulary = Vocabulary { known: &["template", "domains", "expires"], later: &[] };
const TEMPLATES: Vocabulary = Vocabulary { known: &["eip4361"], later: &[] };
const AUTHORIZE: Vocabulary = Vocabulary {
    known: &["to", "need", "expires", "execute", "delay", "credentials", "channels"],
    later: &[],
};

const DOMAIN_HINT: &str = "write domain = { name = \"..\", version = \"..\", chain = \"NAME\", \
                           contract = \"@NAME\" }: what is left out must be absent";

/// Types of one key that people have read.
const TYPED_MAX: usize = 1_000;

const MESSAGES_MAX: usize = 100;

const DOMAINS_MAX: usize = 1_000;

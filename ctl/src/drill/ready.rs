//! What a drill needs before anything is made, and what of it is missing.

use alloy_primitives::Address;
use portcullis_client::ControlClient;
use portcullis_client::wire::{GetStatusResponse, Key, KeyState};
use portcullis_policy::book::{Book, KeyRules, Recipients};
use portcullis_policy::governance::Deed;
use portcullis_policy::id::{ChainId, KeyLabel};
use portcullis_policy::people::Role;
use portcullis_policy::state::CANARY;

use super::council::Council;
use super::plan::{LABEL_STEM, Plan};
use super::{DrillFault, book_lines};
use crate::failure::Failure;
use crate::key::state as state_of;

/// How things stand.
pub(super) struct Ground {
    pub(super) status: GetStatusResponse,
    pub(super) council: Council,
    pub(super) keys: Vec<Key>,
    pub(super) book: Book,
    pub(super) label: KeyLabel,
    /// The canary that takes its place.
    pub(super) next: Option<KeyLabel>,
}

/// Where the transaction is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whither {
    pub(super) chain: ChainId,
    pub(super) to: Address,
}

impl Ground {
    pub(super) async fn look(control: &ControlClient, plan: &Plan) -> Result<Self, Failure> {
        let status = control.status().await?;
        let council = Council::of(control).await?;
        let keys = control.list_keys().await?;
        let book = Book::parse(&control.book().await?.book).map_err(|_| DrillFault::Book)?;
        let label = match &plan.label {
            Some(label) => label.clone(),
            None => next_label(&keys, &book, None).ok_or(DrillFault::NoLabel)?,
        };
        let next = next_label(&keys, &book, Some(&label));
        Ok(Self { status, council, keys, book, label, next })
    }

    /// A canary of this label that a drill may take: made beforehand, or the successor of another.
    pub(super) fn prepared(&self, label: &KeyLabel) -> Option<&Key> {
        self.keys.iter().find(|key| key.label == label.as_str() && is_fresh(key))
    }

    /// Everything that is missing, a line each; none: the drill can begin.
    pub(super) fn missing(&self, plan: &Plan) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.status.serving {
            lines.push("the signer cannot sign now: portctl status says why".to_owned());
        }
        lines.extend(self.roles());
        let deeds = [Deed::Thaw, Deed::Drain, Deed::Revoke, Deed::Destroy];
        lines.extend(deeds.into_iter().filter_map(|deed| self.quorum(deed)));
        let taken = self.keys.iter().find(|key| key.label == self.label.as_str());
        if let Some(key) = taken.filter(|key| !is_fresh(key)) {
            lines.push(format!(
                "the label {} was used by a key that is {} now: choose another in the plan",
                self.label,
                state_of(key)
            ));
        }
        if let Err(line) = self.whither(plan) {
            lines.push(line);
        }
        let next = self.next.as_ref().ok_or_else(|| DrillFault::NoLabel.to_string());
        if let Err(line) = next.and_then(|next| self.takes_over(next, plan)) {
            lines.push(format!("the drill rotates {} onto the next canary: {line}", self.label));
        }
        lines
    }

    /// Whether a canary can take the place of ours, for those who may use it.
    fn takes_over(&self, next: &KeyLabel, plan: &Plan) -> Result<(), String> {
        self.whither_of(next, plan)?;
        let [own, theirs] = [&self.label, next].map(|label| self.book.rules(label));
        let (Some(own), Some(theirs)) = (own, theirs) else { return Ok(()) };
        if own.chains.iter().any(|chain| !theirs.chains.contains(chain)) {
            return Err(format!("the rules of {next} do not name the chains of {}", self.label));
        }
        if own.callers.iter().any(|caller| !theirs.callers.contains(caller)) {
            return Err(format!("the rules of {next} do not name the callers of {}", self.label));
        }
        let chain = own
            .chains
            .iter()
            .find(|chain| self.prepared(next).is_some_and(|key| !key.chains.contains(&chain.0)));
        match chain {
            Some(chain) => Err(format!("{next} was not made for chain {chain}")),
            None => Ok(()),
        }
    }

    fn roles(&self) -> Vec<String> {
        let me = &self.status.person;
        let (security, operators) =
            (self.council.with(Role::Security), self.council.with(Role::Operator));
        let mut lines = Vec::new();
        if !security.contains(me) {
            lines.push(format!(
                "you are {me}, without the role security, which freezes and reports: it is {} who \
                 can run a drill",
                security.join(", ")
            ));
        }
        let next = self.next.as_ref().and_then(|next| self.prepared(next));
        if operators.is_empty() && (self.prepared(&self.label).is_none() || next.is_none()) {
            lines.push("nobody has the role operator, which makes keys".to_owned());
        }
        lines
    }

    fn quorum(&self, deed: Deed) -> Option<String> {
        let me = &self.status.person;
        let Some(terms) = self.council.terms(deed) else {
            return Some(format!(
                "the vault has no quorum for {deed}, so nobody can: portctl people govern FILE"
            ));
        };
        if self.council.is_enough(deed, me) {
            return None;
        }
        let asked = self.council.asked(deed, me);
        let asked = if asked.is_empty() { "nobody".to_owned() } else { asked.join(", ") };
        Some(format!(
            "{deed} takes {}, and besides you, who propose it, only {asked} can vote",
            terms.need
        ))
    }

    /// What the canary's rules let it sign; or what to do about it if they do not.
    pub(super) fn whither(&self, plan: &Plan) -> Result<Whither, String> {
        self.whither_of(&self.label, plan)
    }

    /// The same of another canary.
    pub(super) fn whither_of(&self, label: &KeyLabel, plan: &Plan) -> Result<Whither, String> {
        let registry = self.book.registry();
        let Some(rules) = self.book.rules(label) else {
            return Err(book_lines::advice(&self.book, label, plan.chain.as_deref()));
        };
        let chain = match &plan.chain {
            Some(name) => registry.chain_named(name).filter(|id| rules.chains.contains(id)),
            None => rules.chains.first().copied(),
        };
        let named = plan.chain.as_deref().unwrap_or("any chain");
        let chain = chain.ok_or_else(|| format!("the rules of {label} do not permit {named}"))?;
        let to = match plan.to.as_deref() {
            Some(text) => match text.strip_prefix('@') {
                Some(name) => registry.address_named(name),
                None => text.parse().ok(),
            },
            None => payee(rules),
        };
        let permitted =
            |to: &Address| rules.native.as_ref().is_some_and(|native| native.to.include(*to));
        let to = to.filter(permitted).ok_or_else(|| {
            let to = plan.to.as_deref().unwrap_or("any address");
            format!("the rules of {label} let it pay the coin to nobody, or not to {to}")
        })?;
        Ok(Whither { chain, to })
    }

    /// Canaries of earlier drills that are still there, a line each.
    pub(super) fn left(&self) -> Vec<String> {
        let old = self.keys.iter().filter(|key| {
            key.purpose == CANARY
                && key.label != self.label.as_str()
                && key.state() != KeyState::Destroyed
        });
        old.map(left_line).collect()
    }
}

/// How to end a canary that a drill left behind.
pub(super) fn left_line(key: &Key) -> String {
    let label = &key.label;
    let next = match key.state() {
        KeyState::Active | KeyState::Unspecified | KeyState::Draining if is_fresh(key) => {
            return format!("{label} is still there, and active: the next drill takes it");
        }
        KeyState::Active | KeyState::Unspecified | KeyState::Draining => format!(
            "portctl freeze {label} --reason TEXT, then portctl revoke {label} --reason TEXT and \
             portctl destroy {label} --reason TEXT"
        ),
        KeyState::Frozen => format!(
            "portctl revoke {label} --reason TEXT, then portctl destroy {label} --reason TEXT"
        ),
        KeyState::Revoked => format!("portctl destroy {label} --reason TEXT"),
        KeyState::Destroyed => return format!("{label} is destroyed"),
    };
    format!("{label} is still there, and {}: {next}", state_of(key))
}

/// Whether a drill may take it: no drill has begun on it, or it would be stopped or ended.
pub(super) fn is_fresh(key: &Key) -> bool {
    key.purpose == CANARY && key.state() == KeyState::Active
}

/// The first `canary-N`, except one, that no key had; or whose key waits for a drill.
fn next_label(keys: &[Key], book: &Book, except: Option<&KeyLabel>) -> Option<KeyLabel> {
    let labels =
        (1..LABELS_MAX).filter_map(|n| format!("{LABEL_STEM}{n}").parse::<KeyLabel>().ok());
    let mut labels = labels.filter(|label| Some(label) != except).filter(|label| {
        let key = keys.iter().find(|key| key.label == label.as_str());
        key.is_none_or(|key| is_fresh(key) && book.rules(label).is_some())
    });
    labels.next()
}

fn payee(rules: &KeyRules) -> Option<Address> {
    match &rules.native.as_ref()?.to {
        Recipients::Anyone => Some(SINK),
        Recipients::Only(these) => these.iter().next().copied(),
    }
}

/// Nobody's. It is paid nothing.
const SINK: Address = Address::repeat_byte(0xdd);

/// A drill a day for 27 years.
const LABELS_MAX: u32 = 10_000;

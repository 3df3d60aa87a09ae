//! What the book asks people about, of what one request would do.

use alloy_primitives::Address;

use crate::book::{KeyRules, Registry, Tier, format_amount};
use crate::decide::Missing;
use crate::effect::Effect;
use crate::limits;
use crate::money::Charges;
use crate::quorum::Terms;

/// Something for which the book asks people.
pub(crate) struct Ask<'a> {
    pub(crate) terms: &'a Terms,
    /// `None`: it always asks.
    tier: Option<&'a Tier>,
}

impl Ask<'_> {
    pub(crate) fn missing(&self, registry: &Registry, charge: &Charges) -> Missing {
        Missing { rule: self.why(registry, charge), terms: self.terms.clone() }
    }

    /// Why, in the words of the book.
    fn why(&self, registry: &Registry, charge: &Charges) -> String {
        let Some(tier) = self.tier else { return "authorize".into() };
        let above = limits::reached(tier, charge).map(|(account, amount)| {
            format!("approve above {}", format_amount(registry, account, amount))
        });
        above.unwrap_or_else(|| "approve a first payment".into())
    }
}

/// Everything for which the book asks people, of what this request would do.
pub(crate) fn asks<'a>(
    rules: &'a KeyRules,
    charge: &Charges,
    first: &[Address],
    effects: &[Effect],
) -> Vec<Ask<'a>> {
    let reached = |tier: &&Tier| {
        limits::reached(tier, charge).is_some() || (tier.first_payment && !first.is_empty())
    };
    let tiers = rules.approve.iter().filter(reached);
    let always = rules
        .authorize
        .as_ref()
        .filter(|_| effects.iter().any(|effect| matches!(effect, Effect::Authorize { .. })));
    let tiers = tiers.map(|tier| Ask { terms: &tier.terms, tier: Some(tier) });
    tiers.chain(always.map(|rule| Ask { terms: &rule.terms, tier: None })).collect()
}

//! The step in which the canary hands over to the next one: a successor, a drain that people agree
//! to, callers who are led there. There is nothing to move, so no node is asked.

use alloy_primitives::U256;
use portcullis_client::wire::{FenceState, Key, KeyState};
use portcullis_client::{Answer, Client, ListedKey};
use portcullis_policy::act::{Act, Drain};
use portcullis_policy::drain::{CALLERS_MAX, DrainChain, DrainPlan, DrainTo};
use portcullis_policy::id::{CallerId, KeyId, KeyLabel};
use portcullis_policy::money::Amount;
use portcullis_policy::state::CANARY;
use portcullis_policy::time::Millis;

use super::load::{Payment, shown};
use super::ready::Whither;
use super::stage::{Found, Stage};
use super::steps::{TOKEN, id_of};
use super::{DrillFault, until};
use crate::failure::Failure;
use crate::key::state as state_of;
use crate::output::address;

impl Stage<'_> {
    pub(super) async fn rotate(&mut self) -> Result<Found, Failure> {
        let next = self.ground.next.as_ref().ok_or(DrillFault::NoLabel)?;
        let (next, whither) = self.ground.whither_of(next, self.plan).map_or_else(
            |line| Err(DrillFault::Wrong(vec![line])),
            |whither| Ok((next.clone(), whither)),
        )?;
        let (successor, how) = self.prepared_or_made(&next).await?;
        let mut lines = vec![format!("{next} {} {how}", address(&successor.address))];
        let key = self.key_id()?;
        let plan = self.drained_to(id_of(&successor)?);
        self.successor = Some(successor);
        lines.push(self.agree(Act::Drain(Drain { key, plan })).await?);
        self.until_it_signs().await?;
        let client = self.connection.data().await?;
        lines.push(self.led(&client, whither).await?);
        lines.push(self.cancelled(&client).await?);
        Ok(Found::lines(lines))
    }

    /// The coin of the canary's one chain, of which it has none, for whoever may use it.
    fn drained_to(&self, successor: KeyId) -> DrainPlan {
        let rules = self.ground.book.rules(&self.ground.label);
        let callers: Vec<CallerId> =
            rules.iter().flat_map(|rules| &rules.callers).take(CALLERS_MAX).cloned().collect();
        let fees = Amount::from_units(U256::from(FEES));
        let chain =
            DrainChain { chain: self.whither.chain, fees, native: true, tokens: Vec::new() };
        DrainPlan {
            callers,
            chains: vec![chain],
            expires: Millis(self.ground.status.sure_time_ms.saturating_add(LASTS_MS)),
            to: DrainTo::Key(successor),
        }
    }

    /// The token lets it sign its plan.
    async fn until_it_signs(&self) -> Result<(), Failure> {
        let open = until(TOKEN, async || {
            let key = self.control.key(self.label()).await?;
            Ok((key.fence() == FenceState::Open).then_some(()))
        });
        let line = "the token has not let the canary sign its plan";
        open.await?.ok_or_else(|| DrillFault::Wrong(vec![line.to_owned()]).into())
    }

    /// Whoever asks as before is told of the successor, and served by it.
    async fn led(&self, client: &Client, whither: Whither) -> Result<String, Failure> {
        let payment = self.payment.as_ref().ok_or(DrillFault::Order)?;
        let wrong = |line: String| Failure::from(DrillFault::Wrong(vec![line]));
        let label = self.successor.as_ref().map(|key| key.label.clone()).unwrap_or_default();
        let told = match payment.ask(client, &client.new_request_id(), NONCE).await? {
            Ok(_) => return Err(wrong("a payment of the drained canary was not refused".into())),
            Err(error) => error,
        };
        if told.successor() != Some(label.as_str()) {
            return Err(wrong(format!("whoever asks the canary is not led to {label}: {told}")));
        }
        let listed = client.list_keys().await?;
        let own = listed.into_iter().find(|one| one.label == self.label());
        let mut asked: ListedKey =
            own.ok_or_else(|| DrillFault::NotOurs(self.label().to_owned()))?;
        let canary = payment.key.address;
        let build = async |account| {
            let to = if account == canary { payment.to } else { whither.to };
            Payment { to, ..payment.clone() }.preimage(NONCE)
        };
        match client.sign_transaction_following(&mut asked, build).await? {
            Answer::Signed(signed) if asked.label == label => Ok(format!(
                "whoever asks the canary is led to {label}, which signs: {}",
                shown(&signed)
            )),
            Answer::Signed(_) => Err(wrong(format!("{} signed, and not {label}", asked.label))),
            Answer::Parked(parked) => Err(DrillFault::Parked(parked.missing.join(", ")).into()),
        }
    }

    /// What the plan permits is signed: nothing to itself, which uses up a nonce.
    async fn cancelled(&self, client: &Client) -> Result<String, Failure> {
        let payment = self.payment.as_ref().ok_or(DrillFault::Order)?;
        let to_itself = Payment { to: payment.key.address, ..payment.clone() };
        let signed = to_itself.sign(client, &client.new_request_id(), NONCE).await?;
        Ok(format!("the canary signs what its plan permits: {}", shown(&signed)))
    }

    /// A canary of this label that is there, or one that is made.
    pub(super) async fn prepared_or_made(
        &self,
        label: &KeyLabel,
    ) -> Result<(Key, &'static str), Failure> {
        let (key, how) = match self.ground.prepared(label) {
            Some(key) => (key.clone(), "was made beforehand"),
            None => self.make(label.as_str()).await?,
        };
        if key.purpose != CANARY || key.state() != KeyState::Active {
            return Err(DrillFault::Wrong(vec![format!(
                "{} is {} and of purpose {:?}: a drill takes an active key of purpose {CANARY:?}",
                key.label,
                state_of(&key),
                key.purpose
            )])
            .into());
        }
        Ok((key, how))
    }
}

/// Of the cancellation: a gas price of 1 wei.
const FEES: u64 = 1_000_000;

/// The votes come within it.
const LASTS_MS: u64 = 7 * 86_400_000;

/// Of the first payment, which was never sent.
const NONCE: u64 = 0;

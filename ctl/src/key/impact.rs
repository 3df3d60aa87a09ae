//! `key impact KEY`: what the key is used for and what stops with it, from the journal alone: read
//! from the signer, or from an export when there is no signer to ask.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256};
use clap::Args;
use portcullis_client::wire::ReadJournalRequest;
use portcullis_policy::book::{Registry, format_amount};
use portcullis_policy::id::{ChainId, KeyId};
use portcullis_policy::impact::{Allowance, DAYS, Grant, Survey, Usage, Way};
use portcullis_policy::money::Asset;
use portcullis_policy::record::{Entry, Record};
use portcullis_policy::request::{Input, sha256};
use portcullis_policy::state::{State, Unfoldable};
use portcullis_policy::utc::rfc3339;
use serde_json::{Value, json};

use crate::audit::verify::attachment;
use crate::connection::ConnectionArgs;
use crate::failure::{Exit, Failure};
use crate::output::{Output, fields, table};

#[derive(Args, Debug)]
pub(crate) struct ImpactArgs {
    /// Its id or label.
    key: String,
    /// Read this export instead of asking the signer: needs no signer.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

/// Nothing could be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImpactFault {
    /// The export is missing or unreadable.
    #[error("{path} cannot be read", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A line is neither a record nor an attachment.
    #[error("line {line} is no record of a journal: portctl audit verify says what is wrong")]
    Line { line: u64 },
    /// The records do not fit together.
    #[error("the records do not fit together: portctl audit verify says what is wrong")]
    Fold(#[from] Unfoldable),
    /// There is no genesis record.
    #[error("there is no journal in it: it holds no record")]
    Empty,
    /// No such key.
    #[error("no key is called {0:?}: portctl key list says which there are")]
    NoKey(String),
}

pub(crate) async fn run(
    args: &ImpactArgs,
    connection: &ConnectionArgs,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut fold = Fold::default();
    match &args.export {
        Some(path) => fold.read_export(path)?,
        None => fold.read_signer(connection, output).await?,
    }
    let state = fold.state.as_ref().ok_or(ImpactFault::Empty)?;
    let named = state.key_named(&args.key).ok_or_else(|| ImpactFault::NoKey(args.key.clone()))?;
    let nothing = Survey::new(named.0);
    let survey = fold.surveys.get(&named.0).unwrap_or(&nothing);
    // Nothing that comes after its own last record makes a key look used.
    let usage = survey.usage(state.at().sure);
    let impact = Impact { state, id: named.0, survey, usage };
    output.result(&impact.human(), &impact.json())?;
    Ok(Exit::Done)
}

/// Chain, token and spender of allowances of a key's own account that may stand in tokens, as far
/// as its signatures tell.
pub(crate) async fn standing_allowances(
    connection: &ConnectionArgs,
    output: &Output,
    key: KeyId,
) -> Result<Vec<(ChainId, Address, Address)>, Failure> {
    let mut fold = Fold::default();
    fold.read_signer(connection, output).await?;
    let survey = fold.surveys.get(&key).map(Survey::allowances).unwrap_or_default();
    let own = survey.into_keys().filter_map(|grant| {
        let Asset::Token(token) = grant.account.asset else { return None };
        let in_token = matches!(grant.way, Way::Token | Way::Told) && grant.safe.is_none();
        in_token.then_some((grant.account.chain, token, grant.spender))
    });
    Ok(own.collect())
}

/// The journal, folded, with every key's use counted on the way.
#[derive(Default)]
pub(crate) struct Fold {
    pub(crate) state: Option<State>,
    pub(crate) surveys: BTreeMap<KeyId, Survey>,
    /// Inputs too large for a record come just before it.
    attachments: BTreeMap<B256, Vec<u8>>,
    lines: u64,
}

impl Fold {
    fn read_export(&mut self, path: &Path) -> Result<(), ImpactFault> {
        let unreadable = |source| ImpactFault::Read { path: path.to_owned(), source };
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                return Ok(());
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            match attachment(line) {
                None => self.record(line)?,
                Some(Ok(bytes)) => self.attach(bytes),
                Some(Err(_)) => {
                    return Err(ImpactFault::Line { line: self.lines.saturating_add(1) });
                }
            }
        }
    }

    pub(crate) async fn read_signer(
        &mut self,
        connection: &ConnectionArgs,
        output: &Output,
    ) -> Result<(), Failure> {
        let control = connection.control().await?;
        let all = control.status().await?.sequence;
        let request = ReadJournalRequest { from_sequence: 1, follow: false, limit: 0 };
        let mut journal = control.read_journal(request).await?;
        let mut said = 0;
        while let Some(batch) = journal.next().await? {
            for line in batch.lines {
                if line.sequence == 0 {
                    self.attach(line.content);
                } else {
                    self.record(&line.content)?;
                }
            }
            if self.lines.saturating_sub(said) >= SAY_EVERY {
                output.note(&format!("{} of {all} records read", self.lines));
                said = self.lines;
            }
        }
        Ok(())
    }

    fn attach(&mut self, bytes: Vec<u8>) {
        self.attachments.insert(sha256(&bytes), bytes);
    }

    fn record(&mut self, line: &[u8]) -> Result<(), ImpactFault> {
        self.lines = self.lines.saturating_add(1);
        let at = self.lines;
        let entry = Entry::decode(line).map_err(|_| ImpactFault::Line { line: at })?;
        match &mut self.state {
            None => self.state = Some(State::genesis(&entry)?),
            Some(state) => state.apply(&entry)?,
        }
        let asked = entry.record.asked().map(|asked| asked.by.key);
        let told =
            if let Record::Settled(settled) = &entry.record { Some(settled.key) } else { None };
        if let (Some(key), Some(state)) = (asked.or(told), &self.state) {
            let survey = self.surveys.entry(key).or_insert_with(|| Survey::new(key));
            let attachments = &self.attachments;
            survey.take(&entry, state.book().registry(), |signed| -> Option<Input> {
                signed.asked.input.resolve(|name| attachments.get(&name).cloned())
            });
        }
        if !matches!(entry.record, Record::Suppressed(_)) {
            // What comes before a record is that record's.
            self.attachments.clear();
        }
        Ok(())
    }
}

/// What is told of one key.
struct Impact<'a> {
    state: &'a State,
    id: KeyId,
    survey: &'a Survey,
    usage: Usage,
}

impl Impact<'_> {
    fn registry(&self) -> &Registry {
        self.state.book().registry()
    }

    fn whom(&self, address: Address) -> String {
        let text = address.to_checksum(None);
        match self.registry().label(address) {
            Some(label) => format!("{label} ({text})"),
            None => text,
        }
    }

    fn chain(&self, id: ChainId) -> String {
        let chain = self.registry().chain(id);
        chain.map_or_else(|| id.to_string(), |chain| chain.name.clone())
    }

    /// Requests that wait for people, by id.
    fn parked(&self) -> Vec<(String, String, bool)> {
        let all = self.state.pending().iter();
        let own = all.filter_map(|(matter, waiting)| {
            let parked = waiting.parked().filter(|one| one.request.asker().key == self.id)?;
            let live = waiting.rejected.is_none() && parked.signed.is_none();
            Some((matter.to_string(), parked.caller().to_string(), live))
        });
        own.filter(|(.., live)| *live).collect()
    }

    /// By chain: the nonce after the last that a watcher said is mined, and the one after the
    /// highest that was signed.
    fn nonces(&self) -> Vec<(ChainId, u64, u64)> {
        self.state.settlements().nonces(self.id).collect()
    }

    /// Callers that the book lets use it and that did not, so that nobody is forgotten.
    fn idle(&self) -> Vec<String> {
        let label = self.state.keys().get(&self.id).map(|key| &key.label);
        let rules = label.and_then(|label| self.state.book().rules(label));
        let callers = rules.map(|rules| &rules.callers).into_iter().flatten();
        let idle = callers.filter(|caller| !self.usage.callers.contains_key(*caller));
        idle.map(ToString::to_string).collect()
    }

    fn human(&self) -> String {
        let key = self.state.keys().get(&self.id);
        let label = key.map(|key| key.label.to_string()).unwrap_or_default();
        let made = key.and_then(|key| key.made.as_ref());
        let last = self.survey.last_signed().map_or_else(
            || "nothing, ever".to_owned(),
            |(sequence, at)| format!("record {sequence} at {}", rfc3339(at.0)),
        );
        let usage = &self.usage;
        let mut lines = vec![
            ("key", format!("{label} ({})", self.id)),
            ("address", made.map(|made| made.address.to_checksum(None)).unwrap_or_default()),
            ("purpose", key.map(|key| key.purpose.clone()).unwrap_or_default()),
            ("owner", key.map(|key| key.owner.to_string()).unwrap_or_default()),
            ("last signed", last),
            ("as of", rfc3339(self.state.at().sure.0)),
            ("signed", format!("{} in {DAYS} days, {} refused", usage.signed, usage.refused)),
            ("busiest hour", usage.busiest_hour.to_string()),
        ];
        for (chain, mined, next) in self.nonces() {
            let chain = self.chain(chain);
            lines.push((
                "nonces",
                format!("{chain}: signed below {next}, and told to be mined below {mined}"),
            ));
        }
        if self.survey.unread() > 0 {
            lines.push(("not counted", format!("{} inputs not at hand", self.survey.unread())));
        }
        let mut text = fields(&lines);
        text.push_str("\n\nif it is stopped now, these go without:\n");
        let callers = usage.callers.iter().map(|(one, count)| [one.to_string(), count.to_string()]);
        let idle = self.idle().into_iter().map(|one| [one, "none".into()]);
        text.push_str(&section(["CALLER", "SIGNED"], callers.chain(idle).collect()));
        let parked = self.parked().into_iter().map(|(id, caller, _)| [id, caller]);
        text.push_str(&section(["WAITS FOR PEOPLE", "ASKED BY"], parked.collect()));
        text.push_str("\nwhat it was used for:\n");
        let amount = |account, total: portcullis_policy::money::Total| {
            format_amount(self.registry(), account, total.to_amount_saturating())
        };
        let recipients = usage.recipients.iter().map(|((account, whom), (count, sum))| {
            [self.whom(*whom), count.to_string(), amount(*account, *sum)]
        });
        text.push_str(&section(["RECIPIENT OR SPENDER", "TIMES", "IN ALL"], recipients.collect()));
        let contracts = usage.contracts.iter().map(|((chain, contract), count)| {
            [self.whom(*contract), self.chain(*chain), count.to_string()]
        });
        text.push_str(&section(["CONTRACT", "CHAIN", "TIMES"], contracts.collect()));
        text.push_str("\nwhat may outlast it:\n");
        let allowances = self.survey.allowances();
        let allowances = allowances.iter().map(|(grant, one)| {
            let amount = format_amount(self.registry(), grant.account, one.amount);
            [self.whom(grant.spender), amount, self.stands(grant), by(one)]
        });
        text.push_str(&section(["MAY TAKE", "AT MOST", "WHERE", "BY"], allowances.collect()));
        text
    }

    fn stands(&self, grant: &Grant) -> String {
        let chain = self.chain(grant.account.chain);
        let way = match grant.way {
            Way::Token => "in the token",
            Way::Operator => "in the token, as operator",
            Way::Permit2 => "in Permit2",
            Way::Told => "in all, as a watcher told",
        };
        let of = grant.safe.map(|safe| format!(", of the Safe {}", self.whom(safe)));
        format!("{way} on {chain}{}", of.unwrap_or_default())
    }

    fn json(&self) -> Value {
        let usage = &self.usage;
        let callers: BTreeMap<String, u64> =
            usage.callers.iter().map(|(one, count)| (one.to_string(), *count)).collect();
        let parked =
            self.parked().into_iter().map(|(id, caller, _)| json!({"id": id, "asked_by": caller}));
        let nonces = self.nonces().into_iter().map(
            |(chain, mined, next)| json!({ "chain_id": chain.0, "mined": mined, "next": next }),
        );
        let recipients = usage.recipients.iter().map(|((account, whom), (count, sum))| {
            json!({
                "chain_id": account.chain.0,
                "address": whom.to_checksum(None),
                "times": count,
                "asset": portcullis_policy::book::asset_name(self.registry(), *account),
                "base_units": sum.to_amount_saturating().to_string(),
            })
        });
        let contracts = usage.contracts.iter().map(|((chain, contract), count)| {
            json!({
                "chain_id": chain.0,
                "address": contract.to_checksum(None),
                "times": count,
            })
        });
        let allowances = self.survey.allowances();
        let allowances = allowances.iter().map(|(grant, one)| {
            json!({
                "chain_id": grant.account.chain.0,
                "asset": portcullis_policy::book::asset_name(self.registry(), grant.account),
                "spender": grant.spender.to_checksum(None),
                "way": way(grant.way),
                "safe": grant.safe.map(|safe| safe.to_checksum(None)),
                "base_units": one.amount.to_string(),
                "record": one.signed.0,
                "at": rfc3339(one.at.0),
                "taken_back_by_record": one.taken_back.map(|record| record.0),
            })
        });
        json!({
            "key_id": self.id.to_string(),
            "days": DAYS,
            "as_of": rfc3339(self.state.at().sure.0),
            "last_signed": self.survey.last_signed().map(|(sequence, at)| {
                json!({ "record": sequence.0, "at": rfc3339(at.0) })
            }),
            "signed": usage.signed,
            "refused": usage.refused,
            "busiest_hour": usage.busiest_hour,
            "callers": callers,
            "idle_callers": self.idle(),
            "parked": parked.collect::<Value>(),
            "nonces": nonces.collect::<Value>(),
            "recipients": recipients.collect::<Value>(),
            "contracts": contracts.collect::<Value>(),
            "allowances": allowances.collect::<Value>(),
            "not_counted": self.survey.unread(),
        })
    }
}

/// Where it stands, for programs.
fn way(way: Way) -> &'static str {
    match way {
        Way::Token => "token",
        Way::Operator => "operator",
        Way::Permit2 => "permit2",
        Way::Told => "told",
    }
}

/// What says so. Whatever was signed to take it back is no reason to leave it out.
fn by(one: &Allowance) -> String {
    let back = one.taken_back.map(|record| {
        format!("; taken back or lowered as signed by record {record}, not known to be mined")
    });
    format!("record {} at {}{}", one.signed, rfc3339(one.at.0), back.unwrap_or_default())
}

/// A table under its heading, set in; "none" if it has no row.
fn section<const N: usize>(heading: [&str; N], rows: Vec<[String; N]>) -> String {
    let text = if rows.is_empty() {
        format!("{}: none", heading.first().copied().unwrap_or_default())
    } else {
        table(heading, &rows)
    };
    let lines = text.lines().map(|line| format!("  {line}\n"));
    lines.collect()
}

/// Whoever waits for more records than these is told how far it is: a second or two.
const SAY_EVERY: u64 = 50_000;

#[cfg(test)]
mod tests {
    use portcullis_policy::id::Sequence;
    use portcullis_policy::money::Amount;
    use portcullis_policy::time::Millis;

    use super::*;

    #[test]
    fn an_allowance_that_was_signed_to_be_taken_back_is_told_with_that() {
        let (amount, at) = (Amount::MAX, Millis(1_763_924_007_042));
        let stands = Allowance { amount, signed: Sequence(7), at, taken_back: None };
        assert_eq!(by(&stands), "record 7 at 2025-11-23T18:53:27.042Z");
        let back = Allowance { taken_back: Some(Sequence(9)), ..stands };
        assert_eq!(
            by(&back),
            "record 7 at 2025-11-23T18:53:27.042Z; taken back or lowered as signed by record 9, \
             not known to be mined"
        );
    }
}

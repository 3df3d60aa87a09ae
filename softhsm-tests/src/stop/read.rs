//! The journal as any JSON reader sees it: what of it concerns stops. Never by the policy crate.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use serde_json::Value;

use super::history::{Line, Request, Scope, Subject, What};
use crate::world::Failure;

/// What stands before the mark in the reason of each of our freezes.
pub(super) const MARK: &str = "stop ";

/// What stands before the number in the id of each of our requests.
pub(super) const REQUEST: &str = "stop-";

/// Reads a journal's lines; attachments are left out.
pub(super) fn lines(exported: &[(u64, Vec<u8>)]) -> Result<Vec<Line>, Failure> {
    let mut reader = Reader::default();
    let mut lines = Vec::new();
    for (sequence, bytes) in exported.iter().filter(|(sequence, _)| *sequence > 0) {
        let entry: Value = serde_json::from_slice(bytes)?;
        let what = reader.what(*sequence, &entry["record"]);
        let what = what.ok_or_else(|| format!("record {sequence} cannot be read"))?;
        lines.extend(what.map(|what| Line { sequence: *sequence, what }));
    }
    Ok(lines)
}

/// What proposals are about: a thaw's record only names the one that proposed it.
#[derive(Default)]
struct Reader {
    thaws: BTreeMap<u64, Scope>,
}

impl Reader {
    /// `None` if it cannot be read, `Some(None)` if it does not concern stops.
    fn what(&mut self, sequence: u64, record: &Value) -> Option<Option<What>> {
        let (kind, body) = record.as_object()?.iter().next()?;
        Some(match kind.as_str() {
            "started" => Some(What::Started),
            "signed" => {
                let (subject, request, seen) = asked(body)?;
                let digest: B256 = body["asked"]["digest"].as_str()?.parse().ok()?;
                Some(What::Signed { subject, request, digest, seen })
            }
            "withheld" | "failed" => {
                let (subject, request, seen) = asked(body)?;
                Some(What::Unsigned { subject, request, seen })
            }
            "denied" => {
                let (_, request, _) = asked(body)?;
                Some(What::Denied { request })
            }
            "frozen" => {
                let mark = body["reason"].as_str()?.strip_prefix(MARK);
                let mark = mark.and_then(|mark| mark.parse().ok());
                Some(What::Frozen { scope: scope(&body["scope"])?, mark })
            }
            "proposed" => {
                if let Some(thaw) = body["act"].get("thaw") {
                    self.thaws.insert(sequence, scope(&thaw["scope"])?);
                }
                None
            }
            "executed" => {
                let proposal = body["proposal"].as_u64()?;
                let scope = self.thaws.get(&proposal).cloned();
                scope.map(|scope| What::Thawed { scope, proposal })
            }
            _ => None,
        })
    }
}

fn asked(body: &Value) -> Option<(Subject, Request, u64)> {
    let asked = &body["asked"];
    let by = &asked["by"];
    let subject =
        Subject { caller: by["caller"].as_str()?.into(), key: by["key"].as_str()?.into() };
    let number = by["request"].as_str()?.strip_prefix(REQUEST)?.parse().ok()?;
    Some((subject, Request(number), asked["seen"].as_u64()?))
}

fn scope(value: &Value) -> Option<Scope> {
    if value == "all" {
        return Some(Scope::All);
    }
    let (kind, name) = value.as_object()?.iter().next()?;
    let name = name.as_str()?.to_owned();
    match kind.as_str() {
        "caller" => Some(Scope::Caller(name)),
        "key" => Some(Scope::Key(name)),
        "tag" => Some(Scope::Tag(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[Value]) -> Result<Vec<Line>, Failure> {
        let exported = (1..).zip(records).map(|(sequence, record)| {
            let entry = serde_json::json!({ "at": {}, "record": record, "seq": sequence });
            (sequence, entry.to_string().into_bytes())
        });
        lines(&exported.collect::<Vec<_>>())
    }

    #[test]
    fn a_thaw_gets_its_scope_from_what_was_proposed() -> Result<(), Failure> {
        let act = serde_json::json!({ "thaw": { "scope": { "tag": "web" } } });
        let read = read(&[
            serde_json::json!({ "proposed": { "act": act } }),
            serde_json::json!({ "executed": { "proposal": 1 } }),
            serde_json::json!({ "frozen": { "reason": "stop 12", "scope": "all" } }),
            serde_json::json!({ "frozen": { "reason": "drifted", "scope": { "key": "k" } } }),
        ])?;
        let said: Vec<String> = read.iter().map(|line| format!("{line:?}")).collect();
        let expected = [
            (2, What::Thawed { scope: Scope::Tag("web".into()), proposal: 1 }),
            (3, What::Frozen { scope: Scope::All, mark: Some(12) }),
            (4, What::Frozen { scope: Scope::Key("k".into()), mark: None }),
        ];
        let expected = expected.map(|(sequence, what)| format!("{:?}", Line { sequence, what }));
        assert_eq!(said, expected);
        Ok(())
    }

    #[test]
    fn a_record_about_stops_that_lacks_something_is_an_error_and_not_passed_over() {
        for bad in [
            serde_json::json!({ "signed": { "asked": { "by": { "caller": "a" } } } }),
            serde_json::json!({ "frozen": { "reason": "stop 1", "scope": "some" } }),
            serde_json::json!({ "executed": {} }),
        ] {
            assert!(read(std::slice::from_ref(&bad)).is_err(), "{bad}");
        }
        assert!(read(&[serde_json::json!({ "voted": {} })]).is_ok_and(|lines| lines.is_empty()));
    }
}

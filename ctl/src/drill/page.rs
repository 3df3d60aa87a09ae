//! The page for people: everything that the evidence says, on paper. One file without scripts and
//! without anything from elsewhere. It is made of the evidence alone, so that whoever verifies a
//! bundle can make it again and compare.

use std::fmt::Write as _;

use portcullis_policy::record::Entry;
use portcullis_policy::utc::rfc3339;

use super::WHOLE;
use super::evidence::{Evidence, LoadTold, Proved, StepTold, StepVerdict};
use crate::audit::line::what;
use crate::paper::{self, escaped, grouped};

/// The whole page.
pub(super) fn render(evidence: &Evidence) -> String {
    let title = format!("Drill {}", evidence.drill);
    let parts = [
        heading(evidence),
        facts(evidence),
        times(evidence),
        steps(evidence),
        load(evidence.load.as_ref()),
        proven(evidence),
        check(evidence),
        appendix(evidence),
    ];
    paper::page(&title, "", &parts)
}

fn heading(evidence: &Evidence) -> String {
    let missed = evidence.missed();
    let (class, word, why) = match (evidence.good, missed.is_empty()) {
        (true, true) => {
            ("good", "Good", "Every step found what it must, each within its goal.".into())
        }
        (true, false) => (
            "good",
            "Good",
            format!("Every step found what it must. Slower than its goal: {}.", missed.join(", ")),
        ),
        (false, _) => ("bad", "Not good", failed(evidence)),
    };
    format!(
        "<header>\n<p class=\"brand\">Portcullis &middot; drill of the stop</p>\n<h1>{}</h1>\n\
         <div class=\"verdict {class}\"><strong>{word}</strong><span>{}</span></div>\n</header>\n",
        escaped(&evidence.drill),
        escaped(&why)
    )
}

/// Which step it was, and why.
fn failed(evidence: &Evidence) -> String {
    let failed = evidence.steps.iter().find(|step| step.verdict == StepVerdict::Failed);
    let failed =
        failed.map(|step| format!("The step {} failed: {}.", step.name, step.found.join("; ")));
    failed.unwrap_or_else(|| "It was not taken to its end.".to_owned())
}

fn facts(evidence: &Evidence) -> String {
    let canary = evidence.canary.as_ref();
    let text = |value: Option<&str>| value.unwrap_or("none was made").to_owned();
    let mut rows = vec![
        ("Begun", rfc3339(evidence.began_at_ms)),
        ("Run by", evidence.by.person.clone()),
        ("Signed with", evidence.by.credential.id().to_string()),
        ("Vault", evidence.vault.id.clone()),
        ("Environment", evidence.vault.environment.clone()),
        (
            "Versions",
            format!(
                "signer {}, portctl {}",
                evidence.vault.signer_version, evidence.by.portctl_version
            ),
        ),
        ("Canary", text(canary.map(|one| one.label.as_str()))),
    ];
    if let Some(one) = canary {
        rows.push(("Its address", one.address.clone()));
        rows.push(("Its id", one.key_id.clone()));
        rows.push(("At the end it is", one.state.clone()));
    }
    paper::facts(&rows)
}

/// What was measured against a goal.
fn times(evidence: &Evidence) -> String {
    let mut rows = String::new();
    for (name, label) in [
        ("freeze", "Until the stop was acknowledged"),
        ("fence", "Until the token was read back as fenced"),
        (WHOLE, "The whole drill, people included"),
    ] {
        let goal = evidence.plan.goal(name).map(|goal| goal.0);
        let took = if name == WHOLE { Some(evidence.whole_ms) } else { evidence.took(name) };
        let (Some(goal), Some(took)) = (goal, took) else { continue };
        let slow = took > goal;
        let share = took.saturating_mul(100).checked_div(goal.max(1)).unwrap_or(100).clamp(1, 100);
        let class = if slow { " slow" } else { "" };
        let _infallible = writeln!(
            rows,
            "<tr><td>{label}</td><td class=\"number\">{}</td><td class=\"number\">{} \
             ms</td><td class=\"bar{class}\"><i style=\"width:{share}%\"></i></td></tr>",
            took_words(took),
            grouped(goal)
        );
    }
    format!(
        "<section>\n<h2>Measured</h2>\n<table>\n<thead><tr><th>What</th><th \
         class=\"number\">Took</th><th class=\"number\">Goal</th><th>Of its goal</th></tr>\
         </thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n<p class=\"remark\">By the clock of the machine that \
         ran the drill, network included. A goal that was missed makes no drill a bad one.</p>\n\
         </section>\n"
    )
}

fn steps(evidence: &Evidence) -> String {
    let rows: String = evidence.steps.iter().map(row).collect();
    format!(
        "<section>\n<h2>Steps</h2>\n<table class=\"steps\">\n<thead><tr><th>Step</th><th>What was \
         found</th><th class=\"number\">Began</th><th class=\"number\">Took</th><th></th></tr>\
         </thead>\n<tbody>\n{rows}</tbody>\n</table>\n</section>\n"
    )
}

fn row(step: &StepTold) -> String {
    let (class, word) = match (step.verdict, step.is_slow()) {
        (StepVerdict::Held, false) => ("held", "held"),
        (StepVerdict::Held, true) => ("late", "held, slow"),
        (StepVerdict::Failed, _) => ("failed", "failed"),
        (StepVerdict::NotReached, _) => ("none", "not reached"),
    };
    let found: Vec<String> = step.found.iter().map(|line| escaped(line)).collect();
    let reached = step.verdict != StepVerdict::NotReached;
    let number =
        |value: u64| if reached { format!("{} ms", grouped(value)) } else { String::new() };
    format!(
        "<tr class=\"{class}\"><td>{}</td><td>{}</td><td class=\"number\">{}</td><td \
         class=\"number\">{}</td><td class=\"word\">{word}</td></tr>\n",
        escaped(&step.name),
        found.join("<br>\n"),
        number(step.began_ms),
        number(step.took_ms)
    )
}

fn load(load: Option<&LoadTold>) -> String {
    let Some(load) = load else { return String::new() };
    let refused: Vec<String> =
        load.refused_after.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let refused = if refused.is_empty() { "none".to_owned() } else { refused.join(", ") };
    let rows = [
        ("Live callers", load.callers.to_string()),
        ("Requests in all", load.asked.to_string()),
        ("Signatures before the stop was acknowledged", load.signed_before.to_string()),
        ("Signatures on the way at that moment", load.on_the_way.to_string()),
        ("Requests made after it", load.asked_after.to_string()),
        ("of these, refused", refused),
        ("of these, not answered", load.unanswered_after.to_string()),
        ("of these, signed", load.signed_after.to_string()),
    ];
    let rows = rows.iter().map(|(name, value)| {
        format!("<tr><td>{name}</td><td class=\"number\">{}</td></tr>\n", escaped(value))
    });
    format!(
        "<section>\n<h2>What live callers saw</h2>\n<table>\n<tbody>\n{}</tbody>\n</table>\n\
         </section>\n",
        rows.collect::<String>()
    )
}

fn proven(evidence: &Evidence) -> String {
    let held = if evidence.good {
        format!("{}<h2>What was seen by who ran it</h2>\n{}", list(&PROVEN), list(&SEEN))
    } else {
        "<p>Nothing as a whole: it was not good. Each step that held stands for itself.</p>\n"
            .to_owned()
    };
    let absence = evidence.canary.as_ref().and_then(|canary| canary.absence.clone());
    let absence = absence.map(|grade| format!("That no copy of the key exists: {grade}."));
    let not: Vec<&str> = absence.as_deref().into_iter().chain(NOT_PROVEN).collect();
    format!(
        "<section class=\"two\">\n<div>\n<h2>What the journal shows</h2>\n{held}</div>\n<div>\n\
         <h2>What was not proven</h2>\n{}</div>\n</section>\n",
        list(&not)
    )
}

fn list(lines: &[&str]) -> String {
    let items = lines.iter().map(|line| format!("<li>{}</li>\n", escaped(line)));
    format!("<ul>\n{}</ul>\n", items.collect::<String>())
}

fn check(evidence: &Evidence) -> String {
    let tree = evidence.tree.as_ref().map_or_else(
        || "The journal could not be read.".to_owned(),
        |tree| {
            format!(
                "The records below are in the journal of {} records whose root is {}; \
                 evidence.json holds the proof of each.",
                tree.size, tree.root
            )
        },
    );
    format!(
        "<section>\n<h2>How to check it</h2>\n<p>{}</p>\n<pre>portctl audit export -o \
         journal.export\nportctl audit verify journal.export\nportctl drill verify FOLDER --export \
         journal.export</pre>\n<p class=\"remark\">The last needs no signer. It checks the \
         signature over evidence.json, that the journal holds its SHA-256, and every record; and \
         that this page says what evidence.json says.</p>\n</section>\n",
        escaped(&tree)
    )
}

/// The records, each in a line. Runs of signatures and refusals are told by their ends.
fn appendix(evidence: &Evidence) -> String {
    let canary = evidence.canary.as_ref();
    // Its label is shorter, and there is no other key in these lines.
    let named = canary.map(|canary| (canary.key_id.as_str(), canary.label.as_str()));
    let lines: Vec<Line> = evidence.records.iter().map(|one| Line::of(one, named)).collect();
    let mut rows = String::new();
    for run in lines.chunk_by(|one, next| one.kind == next.kind) {
        match run {
            [first, second, middle @ .., before, last] if middle.len() > RUN_MAX => {
                rows.push_str(&first.row());
                rows.push_str(&second.row());
                let _infallible = writeln!(
                    rows,
                    "<tr class=\"more\"><td></td><td></td><td>{}</td><td>{} more, all in \
                     evidence.json</td></tr>",
                    escaped(&first.kind),
                    middle.len()
                );
                rows.push_str(&before.row());
                rows.push_str(&last.row());
            }
            all => rows.extend(all.iter().map(Line::row)),
        }
    }
    format!(
        "<section class=\"appendix\">\n<h2>Appendix: the records about the canary</h2>\n<table \
         class=\"records\">\n<thead><tr><th class=\"number\">Record</th><th>Time (UTC)</th>\
         <th>Kind</th><th>What</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</section>\n"
    )
}

/// A canary by its label, where that does not stand there already.
fn with_label(text: String, named: Option<(&str, &str)>) -> String {
    match named.filter(|(_, label)| !text.contains(label)) {
        Some((id, label)) => text.replace(id, label),
        None => text,
    }
}

struct Line {
    sequence: u64,
    time: String,
    kind: String,
    what: String,
}

impl Line {
    fn of(proved: &Proved, named: Option<(&str, &str)>) -> Self {
        let sequence = proved.index.saturating_add(1);
        match Entry::decode(proved.line.as_bytes()) {
            Ok(entry) => Self {
                sequence,
                time: rfc3339(entry.at.sure.0),
                kind: entry.record.kind().to_owned(),
                what: with_label(what(&entry.record), named),
            },
            Err(_) => Self {
                sequence,
                time: String::new(),
                kind: "unreadable".to_owned(),
                what: proved.line.clone(),
            },
        }
    }

    fn row(&self) -> String {
        let time = self.time.replace('T', " ").replace('Z', "");
        format!(
            "<tr><td class=\"number\">{}</td><td class=\"time\">{}</td><td>{}</td><td>{}</td>\
             </tr>\n",
            self.sequence,
            escaped(&time),
            escaped(&self.kind.replace('_', " ")),
            escaped(&self.what)
        )
    }
}

/// How long something took, as people say it.
fn took_words(millis: u64) -> String {
    if millis == 0 { "under 1 ms".to_owned() } else { format!("{} ms", grouped(millis)) }
}

/// Longer runs of one kind are told by their ends.
const RUN_MAX: usize = 4;

/// What stands in records that are proved to be the journal's.
const PROVEN: [&str; 5] = [
    "Whoever ran the drill stopped the key, alone, and the journal has no signature of it between \
     the stop and its drain.",
    "A quorum agreed that the next canary takes its place; after that the signer gave signatures \
     of that plan alone, until the key was ended.",
    "The signer wrote down that the token was told, and read back, to sign no more with the key.",
    "A quorum ended the key and had it removed; the signer wrote down that a new session of the \
     token did not find it.",
    "The signer gave signatures with the key before it was stopped.",
];

/// What is only as good as the word of whoever ran it.
const SEEN: [&str; 3] = [
    "No request that a live caller made after the stop was acknowledged was answered with a \
     signature, and each of them was served before it and refused after it.",
    "No live caller got a signature that the stop did not name as released before it.",
    "One person alone could not start the key again.",
];

const NOT_PROVEN: [&str; 6] = [
    "That the signer, or whoever ran the drill, told the truth: times, and what callers saw, are \
     as they were measured; what the token did is as the signer wrote it down.",
    "Stops of other kinds: of a caller, a tag or everything, by a stop order, and over a restart.",
    "That whoever holds the token's PIN is stopped: a fence stops every process with a \
     handle to the key, and not somebody who sets CKA_SIGN back. The signer looks for that, and \
     stops the key again.",
    "That what was signed before the stop was not used: nothing calls back a signature. The canary \
     holds nothing.",
    "Times on another machine, token or network, or under another load.",
    "That other keys, whose rules and people may differ, stop as fast.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::verify::tests::evidence;

    #[test]
    fn what_others_wrote_is_no_markup() {
        let mut hostile = evidence();
        hostile.drill = "<script>alert(1)</script>".into();
        hostile.by.person = "a\"b'c&d".into();
        if let Some(step) = hostile.steps.first_mut() {
            step.found = vec!["<img src=x>\u{202e}".into()];
        }
        if let Some(record) = hostile.records.first_mut() {
            record.line = "<b>no record</b>".into();
        }
        let page = render(&hostile);
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"));
        assert!(page.contains("&lt;script&gt;") && page.contains("a&quot;b&#39;c&amp;d"));
        assert!(!page.contains('\u{202e}'));
    }

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        let page = render(&evidence());
        for foreign in ["http://", "https://", "src=", "<script", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}

//! The words of letting sure time go forward.

use super::Text;
use crate::act::AcceptTime;
use crate::utc::rfc3339;

pub(super) fn lines(accept: &AcceptTime, text: &mut Text) {
    let behind = accept.behind().in_words();
    text.line(format!("act: let sure time go forward by {behind}"));
    let (sure, at) = (rfc3339(accept.sure.0), rfc3339(accept.at.0));
    text.list("because", [format!("when it was {sure}"), format!("it was really {at}")]);
    text.list("it would, that much earlier", EARLIER.map(str::to_owned));
    if let Some(since) = accept.since {
        text.line(format!(
            "nothing of that for record {since} and later ones: the outage was over"
        ));
    }
}

const EARLIER: [&str; 2] = [
    "let what was signed leave every window and every limit over a time",
    "let votes on what waits for its delay count",
];

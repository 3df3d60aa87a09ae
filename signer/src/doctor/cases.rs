//! The conformance cases, as findings.

use std::sync::Arc;

use super::Finding;
use crate::hsm::{Case, Hsm, Outcome, conformance};

/// Runs all, with throw-away keys.
pub(super) async fn run(token: &Arc<Hsm>, names: [[u8; 16]; 3], tell: &mut impl FnMut(Finding)) {
    let Ok(label) = LABEL.parse() else { return };
    for case in conformance(token, names, label).await {
        tell(finding(case));
    }
}

fn finding(Case { name, outcome }: Case) -> Finding {
    let told =
        |what: String| if what.is_empty() { name.to_owned() } else { format!("{name}: {what}") };
    match outcome {
        Outcome::Holds(what) => Finding::ok(ABOUT, told(what)),
        Outcome::Differs(what) => Finding::look(ABOUT, told(what), "see docs/hsm.md"),
        Outcome::Fails(what) => {
            Finding::bad(ABOUT, told(what), "do not use this token: see docs/hsm.md")
        }
        Outcome::Untried(why) => {
            Finding::bad(ABOUT, told(format!("not tried: {why}")), "see above")
        }
    }
}

const ABOUT: &str = "conformance";

/// What the throw-away key is called on the token.
const LABEL: &str = "portcullis-doctor";

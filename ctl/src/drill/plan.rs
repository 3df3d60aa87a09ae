//! What a drill does and by when: a file in which everything may be left out.

use std::path::{Path, PathBuf};

use portcullis_policy::id::{KeyLabel, Tag};
use portcullis_policy::time::Span;
use serde::{Deserialize, Serialize};

use super::DrillFault;

/// The file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Plan {
    /// The canary's label. `None`: the next `canary-N`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<KeyLabel>,
    /// Its one tag.
    pub(super) tag: Tag,
    /// The chain, by its name in the book. `None`: the first that the canary's rules name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chain: Option<String>,
    /// Whom the transaction pays nothing: "0x.." or "@name". `None`: the first whom its rules let
    /// it pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
    /// For how long silence is watched.
    pub(super) silence_ms: u64,
    /// How long each live caller rests between two requests.
    pub(super) rest_ms: u64,
    /// By when what must be done.
    pub(super) goals: Goals,
}

/// How long things may take, milliseconds. Whatever takes longer is told, and makes no drill a bad
/// one: a machine may be busy.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Goals {
    /// Until the stop is acknowledged.
    pub(super) freeze_ms: u64,
    /// Until the token was read back as fenced, from the same moment.
    pub(super) fence_ms: u64,
    /// From the first step to the last.
    pub(super) whole_ms: u64,
}

impl Default for Goals {
    fn default() -> Self {
        Self { freeze_ms: 50, fence_ms: 250, whole_ms: 60_000 }
    }
}

impl Plan {
    /// The file, or what stands in the one that `drill plan` prints.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, DrillFault> {
        let Some(path) = path else { return Self::parse(TEXT, Path::new("the built-in plan")) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| DrillFault::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, DrillFault> {
        let fault = |source| DrillFault::Toml { path: path.to_owned(), source };
        let plan: Self = toml::from_str(text).map_err(fault)?;
        let odd = |what: &'static str| DrillFault::Plan { path: PathBuf::from(path), what };
        if !(SILENCE_MS_MIN..=SILENCE_MS_MAX).contains(&plan.silence_ms) {
            return Err(odd("silence_ms: write 500 to 60_000: half a second to a minute"));
        }
        if plan.rest_ms > REST_MS_MAX {
            return Err(odd("rest_ms: write at most 1_000: the key would be under no load"));
        }
        if plan.label.as_ref().is_some_and(|label| !label.as_str().starts_with(LABEL_STEM)) {
            return Err(odd("label: it begins with canary-, so that no real key's rules are used"));
        }
        Ok(plan)
    }

    /// How long a step may take, if somebody said.
    pub(super) fn goal(&self, step: &str) -> Option<Span> {
        match step {
            "freeze" => Some(Span(self.goals.freeze_ms)),
            "fence" => Some(Span(self.goals.fence_ms)),
            super::WHOLE => Some(Span(self.goals.whole_ms)),
            _ => None,
        }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            label: None,
            tag: default_tag(),
            chain: None,
            to: None,
            silence_ms: 2_000,
            rest_ms: 5,
            goals: Goals::default(),
        }
    }
}

#[expect(clippy::expect_used, reason = "a constant, and a test reads it")]
fn default_tag() -> Tag {
    "drill".parse().expect("a tag")
}

/// What every canary's label begins with.
pub(super) const LABEL_STEM: &str = "canary-";

/// Shorter silence shows nothing.
const SILENCE_MS_MIN: u64 = 500;

/// Longer, and the evidence is full of refusals.
const SILENCE_MS_MAX: u64 = 60_000;

const REST_MS_MAX: u64 = 1_000;

/// What `drill plan` prints. Everything in it is what happens without a file.
pub(super) const TEXT: &str = "\
# A drill of the stop. Every line may be left out; what stands here is what happens without it.

# The key that is made, stopped and destroyed. A label is used once. Without it: the next free
# canary-N. The book must have rules for it.
# label = \"canary-1\"

# Its tag.
tag = \"drill\"

# On which chain, by its name in the book. Without it: the first of the canary's rules.
# chain = \"ethereum\"

# Whom the transaction pays nothing at all: \"@name\" of the book, or an address. It is signed and
# never sent. Without it: the first address that the canary's rules let it pay.
# to = \"@acme-cold\"

# For how long nothing may be signed after the stop, under the same load.
silence_ms = 2_000

# How long each live caller rests between two requests.
rest_ms = 5

# What should not take longer. It is told if it did.
[goals]
# The stop is acknowledged.
freeze_ms = 50
# The token was read back: it will not sign. From the same moment.
fence_ms = 250
# All of it. People who vote at once make this.
whole_ms = 60_000
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_that_is_printed_is_what_happens_without_one() {
        let plan = Plan::read(None).expect("the plan");
        assert_eq!(plan, Plan::default());
        // Also with every line that is commented out.
        let all = TEXT.replace("# label", "label").replace("# chain", "chain");
        let all = all.replace("# to =", "to =");
        let all = Plan::parse(&all, Path::new("plan")).expect("all of it");
        assert_eq!(all.label, Some("canary-1".parse().expect("a label")));
        assert_eq!(all.to.as_deref(), Some("@acme-cold"));
    }

    #[test]
    fn a_plan_that_would_show_nothing_is_refused() {
        for bad in [
            "silence_ms = 100",
            "silence_ms = 70_000",
            "rest_ms = 2_000",
            "silent = 1",
            "label = \"treasury\"",
        ] {
            assert!(Plan::parse(bad, Path::new("plan")).is_err(), "{bad}");
        }
        assert_eq!(Plan::parse("", Path::new("plan")).expect("empty"), Plan::default());
    }
}

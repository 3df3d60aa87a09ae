//! The file of faults: read again when it changes, asked once a call.
//!
//! Must never ignore a line it does not understand: the test that wrote it would pass for nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryptoki_sys::{CK_RV, CK_ULONG};

use crate::slots::Guise;
use crate::tamper::Tamper;

/// The script of this process.
pub(crate) struct Script {
    path: PathBuf,
    state: Mutex<State>,
}

impl Script {
    /// A script at `path`, which need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::new(State { stamp: None, rules: Ok(Vec::new()) }) }
    }

    /// What is to go wrong with this call of `function`; counts it.
    pub(crate) fn strike(&self, function: &str) -> Result<Option<Strike>, Unreadable> {
        let mut state = self.current();
        let rules = state.rules.as_mut().map_err(|_| Unreadable)?;
        let Some(rule) = rules.iter_mut().find(|r| r.function == function && r.left != Some(0))
        else {
            return Ok(None);
        };
        rule.left = rule.left.map(|left| left.saturating_sub(1));
        Ok(Some(Strike { fault: rule.fault, line: rule.line.clone() }))
    }

    /// What the script says of the token or of the module as a whole.
    pub(crate) fn standing(&self) -> Result<Standing, Unreadable> {
        let state = self.current();
        let rules = state.rules.as_ref().map_err(|_| Unreadable)?;
        let mut standing = Standing::default();
        for rule in rules {
            match rule.fault {
                Fault::Removed => standing.removed = true,
                Fault::Sessions(most) => standing.sessions = Some(most),
                Fault::Broken(value) => standing.broken = Some(value),
                Fault::Delay(_)
                | Fault::Hang
                | Fault::Hold
                | Fault::Error(_)
                | Fault::Lost(_)
                | Fault::LoseSession(_)
                | Fault::Tamper(_)
                | Fault::RawPoint
                | Fault::Guise(_)
                | Fault::WritingOnly => {}
            }
        }
        Ok(standing)
    }

    /// Whether this is what would go wrong with the next call of `function`; counts nothing.
    pub(crate) fn would(&self, function: &str, fault: Fault) -> bool {
        let state = self.current();
        let next = |rules: &Vec<Rule>| {
            let mut of_it = rules.iter().filter(|r| r.function == function && r.left != Some(0));
            of_it.next().is_some_and(|rule| rule.fault == fault)
        };
        state.rules.as_ref().is_ok_and(next)
    }

    /// Whether the line that struck is still there.
    pub(crate) fn still_says(&self, line: &str) -> bool {
        self.current().rules.as_ref().is_ok_and(|rules| rules.iter().any(|r| r.line == line))
    }

    fn current(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = fs::metadata(&self.path).ok().map(|m| Stamp {
            inode: m.ino(),
            length: m.len(),
            modified: (m.mtime(), m.mtime_nsec()),
        });
        if state.stamp != stamp {
            state.rules = match &stamp {
                None => Ok(Vec::new()),
                Some(_) => fs::read_to_string(&self.path).map_err(|_| Unreadable).and_then(parse),
            };
            state.stamp = stamp;
        }
        state
    }
}

/// A fault that strikes now.
pub(crate) struct Strike {
    /// What.
    pub(crate) fault: Fault,
    /// The line that says so.
    pub(crate) line: String,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// Sleep, then forward.
    Delay(Duration),
    /// Wait for the line to go, then forward.
    Hang,
    /// The same, and nobody else goes in meanwhile.
    Hold,
    /// Answer this instead.
    Error(CK_RV),
    /// Forward, then answer this.
    Lost(CK_RV),
    /// The session answers this from now on.
    LoseSession(CK_RV),
    /// Spoil the signature.
    Tamper(Tamper),
    /// Report the point without its DER header.
    RawPoint,
    /// Report what is not so of the token.
    Guise(Guise),
    /// Open no session that only reads.
    WritingOnly,
    /// The token is out of its slot.
    Removed,
    /// The token has so many sessions.
    Sessions(CK_ULONG),
    /// The module answers this until it is finalised.
    Broken(CK_RV),
}

/// What holds for every call.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Standing {
    /// There is no token.
    pub(crate) removed: bool,
    /// How many sessions it has, if that is bounded.
    pub(crate) sessions: Option<CK_ULONG>,
    /// What the module answers from now on.
    pub(crate) broken: Option<CK_RV>,
}

/// The script is there and cannot be understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unreadable;

struct State {
    stamp: Option<Stamp>,
    rules: Result<Vec<Rule>, Unreadable>,
}

#[derive(Eq, PartialEq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

#[derive(Debug, Eq, PartialEq)]
struct Rule {
    function: String,
    fault: Fault,
    /// How often it may still strike; `None`: always.
    left: Option<u32>,
    line: String,
}

fn parse(text: String) -> Result<Vec<Rule>, Unreadable> {
    let bare = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    bare.filter(|line| !line.is_empty()).map(rule).collect()
}

fn rule(line: &str) -> Result<Rule, Unreadable> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let mut left = None;
    if let [.., "next", count] = words.as_slice() {
        left = Some(count.parse().map_err(|_| Unreadable)?);
        words.truncate(words.len().saturating_sub(2));
    }
    let [function, fault @ ..] = words.as_slice() else { return Err(Unreadable) };
    let fault = match (*function, fault) {
        (TOKEN, ["removed"]) if left.is_none() => Fault::Removed,
        (TOKEN, ["sessions", most]) if left.is_none() => {
            Fault::Sessions(most.parse().map_err(|_| Unreadable)?)
        }
        (MODULE, ["broken", code]) if left.is_none() => Fault::Broken(return_value(code)?),
        (_, ["delay", ms]) => {
            Fault::Delay(Duration::from_millis(ms.parse().map_err(|_| Unreadable)?))
        }
        (_, ["hang"]) => Fault::Hang,
        (_, ["hold"]) => Fault::Hold,
        (_, ["error", code]) => Fault::Error(return_value(code)?),
        (_, ["lost", code]) => Fault::Lost(return_value(code)?),
        (function, ["lose-session", code]) if crate::calls::has_session(function) => {
            Fault::LoseSession(return_value(code)?)
        }
        ("C_Sign", ["wrong-signature"]) => Fault::Tamper(Tamper::FlipS),
        ("C_Sign", ["foreign-signature"]) => Fault::Tamper(Tamper::Foreign),
        ("C_Sign", ["high-s"]) => Fault::Tamper(Tamper::HighS),
        ("C_Sign", ["replayed-signature"]) => Fault::Tamper(Tamper::Replayed),
        ("C_Sign", ["zero-r"]) => Fault::Tamper(Tamper::ZeroR),
        ("C_Sign", ["zero-s"]) => Fault::Tamper(Tamper::ZeroS),
        ("C_Sign", ["long-signature"]) => Fault::Tamper(Tamper::Long),
        ("C_Sign", ["short-signature"]) => Fault::Tamper(Tamper::Short),
        ("C_GetAttributeValue", ["raw-point"]) => Fault::RawPoint,
        ("C_GetTokenInfo", ["other-serial"]) => Fault::Guise(Guise::Serial),
        ("C_GetTokenInfo", ["other-maker"]) => Fault::Guise(Guise::Maker),
        ("C_GetTokenInfo", ["final-try"]) => Fault::Guise(Guise::FinalTry),
        ("C_OpenSession", ["writing-only"]) => Fault::WritingOnly,
        _ => return Err(Unreadable),
    };
    let standing = matches!(fault, Fault::Removed | Fault::Sessions(_) | Fault::Broken(_));
    if !standing && !crate::calls::LISTED.contains(function) {
        return Err(Unreadable);
    }
    Ok(Rule { function: (*function).to_owned(), fault, left, line: line.to_owned() })
}

/// What stands in a function's place for what is of none.
const TOKEN: &str = "TOKEN";
const MODULE: &str = "MODULE";

fn return_value(word: &str) -> Result<CK_RV, Unreadable> {
    match word.strip_prefix("0x") {
        Some(hex) => CK_RV::from_str_radix(hex, 16),
        None => word.parse(),
    }
    .map_err(|_| Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_function_a_fault_and_perhaps_a_count() {
        let rules = parse("# calm\nC_Sign delay 500\nC_Login error 0xA0 next 1 # once\n".into());
        let rules = rules.unwrap();
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0].fault, Fault::Delay(Duration::from_millis(500)));
        assert_eq!(rules[0].left, None);
        assert_eq!((rules[1].fault, rules[1].left), (Fault::Error(0xA0), Some(1)));
    }

    #[test]
    fn lines_of_token_and_module_stand_beside_those_of_functions() {
        let folder = std::env::temp_dir().join(format!("portcullis-script-{}", std::process::id()));
        let text = "TOKEN sessions 5\nC_Sign hold\nMODULE broken 0x32\n";
        fs::write(&folder, text).unwrap();
        let script = Script::new(folder.clone());
        let standing = Standing { removed: false, sessions: Some(5), broken: Some(0x32) };
        assert_eq!(script.standing(), Ok(standing));
        assert!(script.would("C_Sign", Fault::Hold) && !script.would("C_Login", Fault::Hold));
        fs::remove_file(folder).unwrap();
        assert_eq!(script.standing(), Ok(Standing::default()));
    }

    #[test]
    fn a_line_that_is_not_understood_spoils_the_whole_script() {
        for bad in [
            "C_Sign explode",
            "C_Sign",
            "C_Login wrong-signature",
            "C_Sing hang",
            "C_Sign error 0xZZ",
            "C_Sign delay 5 next many",
            "C_Initialize lose-session 0xB3",
            "TOKEN hang",
            "TOKEN removed next 1",
            "MODULE sessions 3",
        ] {
            assert_eq!(parse(format!("C_Sign hang\n{bad}\n")), Err(Unreadable), "{bad}");
        }
    }
}

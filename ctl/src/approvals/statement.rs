//! The text that people sign: what is checked before it is shown, and how it is shown.
//!
//! Nothing is added to it, left out or put in other words. Colours stand between its bytes and
//! change none; without colours the block on the screen is the text itself.

use portcullis_client::ControlClient;

use crate::connection::{ConnectionArgs, VaultHex};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Shade};

/// A text that may be shown and signed. Made only by [`Statement::check`].
#[derive(Debug)]
pub(crate) struct Statement(String);

/// A text that nobody should sign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatementFault {
    /// Something that a screen could show as something else.
    #[error(
        "line {line} of the statement is not printable ASCII: what you would see need not be what \
         you sign. Do not sign it; tell security that the signer sends such a text"
    )]
    Unprintable { line: usize },
    /// It does not begin as statements do.
    #[error(
        "the statement's line {line} is {found:?} and should be {wanted:?}. Do not sign it: it is \
         of another kind, or the signer does not tell the truth"
    )]
    Head { line: usize, found: String, wanted: String },
    /// Another vault's.
    #[error(
        "the statement is for the vault {found:?}, and yours is {wanted}. Do not sign it: check \
         --endpoint, and `vault` in portctl.toml"
    )]
    Vault { found: String, wanted: String },
    /// It has the lines of a vote already, or does not end where a line ends.
    #[error("the statement {0}. Do not sign it: the signer does not tell the truth")]
    Form(&'static str),
}

impl StatementFault {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unprintable { .. } | Self::Head { .. } | Self::Vault { .. } | Self::Form(_) => {
                Exit::Unverified
            }
        }
    }
}

impl Statement {
    /// The text of an approval, if it is one for this matter in this vault, and plain.
    pub(crate) fn check(text: &str, id: &str, vault: &VaultHex) -> Result<Self, StatementFault> {
        for (line, number) in text.split('\n').zip(1..) {
            if !line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
                return Err(StatementFault::Unprintable { line: number });
            }
        }
        let matter = match id.strip_prefix('p') {
            Some(sequence) => format!("proposal: {sequence}"),
            None => format!("request: {id}"),
        };
        let mut lines = text.split('\n');
        let mut expect = |number: usize, wanted: &str| {
            let found = lines.next().unwrap_or_default();
            let (found, wanted) = (found.to_owned(), wanted.to_owned());
            if found == wanted {
                return Ok(());
            }
            match (found.strip_prefix("vault: "), wanted.strip_prefix("vault: ")) {
                (Some(found), Some(wanted)) => Err(StatementFault::Vault {
                    found: found.to_owned(),
                    wanted: wanted.to_owned(),
                }),
                _ => Err(StatementFault::Head { line: number, found, wanted }),
            }
        };
        expect(1, HEAD)?;
        expect(2, &format!("vault: {}", vault.as_str()))?;
        expect(3, &matter)?;
        if !text.ends_with('\n') {
            return Err(StatementFault::Form("does not end with its last line"));
        }
        let ballot = |line: &str| BALLOT.iter().any(|word| line.starts_with(word));
        if text.split('\n').any(ballot) {
            return Err(StatementFault::Form("has the lines of a vote in it already"));
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// The vault whose statements are signed: the one we are told to believe in, else the signer's.
pub(crate) async fn vault(
    control: &ControlClient,
    connection: &ConnectionArgs,
) -> Result<VaultHex, Failure> {
    match connection.pinned_vault()? {
        Some(vault) => Ok(vault),
        None => Ok(VaultHex::of(&control.status().await?.vault_id)),
    }
}

/// The text between two lines that no statement can contain, because they are not ASCII.
pub(crate) fn framed(title: &str, text: &str, output: &Output) -> String {
    let rule = |title: &str| {
        let title = if title.is_empty() { String::new() } else { format!(" {title} ") };
        let dashes = WIDTH.saturating_sub(title.len()).saturating_sub(2);
        output.shade(Shade::Faint, &format!("──{title}{}", "─".repeat(dashes)))
    };
    let (head, foot) = (rule(title), rule("end of what you sign"));
    format!("{head}\n{}{foot}\n", painted(text, output))
}

/// Colours between the bytes of a text.
fn painted(text: &str, output: &Output) -> String {
    text.split_inclusive('\n').map(|line| painted_line(line, output)).collect()
}

fn painted_line(line: &str, output: &Output) -> String {
    let label = line.find(": ").or_else(|| line.find(":\n")).map(|colon| line.split_at(colon));
    let (label, rest) = label.filter(|(label, _)| is_label(label)).unwrap_or(("", line));
    let parts = rest.split_inclusive(", ").map(|part| {
        let alarming = ALARMS.iter().any(|alarm| part.contains(alarm));
        let (body, tail) = match part.strip_suffix(", ").or_else(|| part.strip_suffix('\n')) {
            Some(body) => part.split_at(body.len()),
            None => (part, ""),
        };
        let body = if alarming { output.shade(Shade::Alarm, body) } else { words(body, output) };
        format!("{body}{tail}")
    });
    let parts: String = parts.collect();
    format!("{}{parts}", output.shade(Shade::Label, label))
}

/// Addresses, and amounts with their units, are what must be read twice.
fn words(text: &str, output: &Output) -> String {
    let mut out = String::with_capacity(text.len());
    let mut words = text.split_inclusive(' ').peekable();
    while let Some(word) = words.next() {
        let body = word.trim_end_matches([' ', ':']);
        let unit = |next: &&str| next.starts_with(|first: char| first.is_ascii_uppercase());
        if is_address(body) {
            out.push_str(&output.shade(Shade::Address, body));
            out.push_str(word.strip_prefix(body).unwrap_or_default());
        } else if is_number(body) && words.peek().is_some_and(unit) {
            let unit = words.next().unwrap_or_default();
            let amount = format!("{word}{}", unit.trim_end_matches([' ', ':']));
            let tail = unit.len().saturating_sub(unit.trim_end_matches([' ', ':']).len());
            out.push_str(&output.shade(Shade::Amount, &amount));
            out.extend(unit.chars().skip(unit.len().saturating_sub(tail)));
        } else {
            out.push_str(word);
        }
    }
    out
}

/// Lower-case words at the beginning of a line.
fn is_label(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b' ' | b'-'))
}

fn is_address(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or_default();
    digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_number(word: &str) -> bool {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    digits && word.starts_with(|first: char| first.is_ascii_digit())
}

const HEAD: &str = "Portcullis approval, version 1";

/// How the lines begin that a vote adds.
const BALLOT: [&str; 3] = ["vote: ", "voter: ", "because: "];

/// What the signer writes large.
const ALARMS: [&str; 4] = ["NEVER PAID BEFORE", "NOT NAMED", "LOOKS LIKE", "REJECTED BEFORE"];

const WIDTH: usize = 88;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Portcullis approval, version 1\n\
        vault: 0707070707070707070707070707070707070707070707070707070707070707\n\
        request: 00ff\n\
        key: hot 0x9858EfFD232B4033E47d90003D41EC34EcaEda94 (000102030405060708090a0b0c0d0e0f)\n\
        it would:\n\
        \x20 pay 12.5 ETH to 0x9858EfFD232B4033E47d90003D41EC34EcaEda94\n\
        recipients:\n\
        \x20 0x9858EfFD232B4033E47d90003D41EC34EcaEda94: NEVER PAID BEFORE by this key, \
        NOT NAMED in the book, LOOKS LIKE shop 0x9858EfFD232B4033E47d90003D41EC34EcaEda94 \
        AND IS NOT\n\
        like it:\n\
        \x20 REJECTED BEFORE by eve at 2025-11-23T18:53:27.042Z\n";

    fn vault() -> VaultHex {
        VaultHex::of(&[7; 32])
    }

    /// A terminal's commands for colour, taken out again.
    fn bare(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            out.push_str(before);
            rest = after.split_once('m').expect("the end of a command").1;
        }
        out + rest
    }

    #[test]
    fn colours_stand_between_the_bytes_and_change_none() {
        let painted = painted(TEXT, &Output::colourful());
        assert_ne!(painted, TEXT);
        assert_eq!(bare(&painted), TEXT);
        assert_eq!(super::painted(TEXT, &Output::plain()), TEXT);
    }

    #[test]
    fn warnings_are_red_and_amounts_and_addresses_stand_out() {
        let painted = painted(TEXT, &Output::colourful());
        let red = "\u{1b}[1;31m";
        for alarm in ["NOT NAMED in the book", "  REJECTED BEFORE by eve"] {
            assert!(painted.contains(&format!("{red}{alarm}")), "{alarm}: {painted:?}");
        }
        assert!(painted.contains("\u{1b}[1m12.5 ETH\u{1b}[0m"), "{painted:?}");
        assert!(painted.contains("AND IS NOT\u{1b}[0m\n"), "{painted:?}");
    }

    #[test]
    fn only_a_plain_statement_for_this_matter_in_this_vault_is_taken() {
        assert!(Statement::check(TEXT, "00ff", &vault()).is_ok());
        let refused = |text: &str, id: &str| {
            Statement::check(text, id, &vault()).expect_err("refused").to_string()
        };
        let second = TEXT.lines().nth(1).expect("a line");
        for (text, part) in [
            (TEXT.replace("hot", "h\u{43e}t"), "line 4 of the statement is not printable"),
            (TEXT.replace("hot", "h\u{1b}[1mot"), "line 4"),
            (TEXT.replace("hot", "h\rot"), "line 4"),
            (TEXT.replace("approval", "recovery"), "line 1 is"),
            (TEXT.replace(second, "vault: 08"), "yours is 0707"),
            (TEXT.replace("request: 00ff", "request: 00fe"), "should be \"request: 00ff\""),
            (TEXT.trim_end().to_owned(), "end with its last line"),
            (format!("{TEXT}vote: approve\n"), "lines of a vote"),
        ] {
            let said = refused(&text, "00ff");
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(refused(TEXT, "p12").contains("should be \"proposal: 12\""));
    }
}

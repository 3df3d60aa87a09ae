//! Asks whoever is at the terminal: for the PIN, which is how its holder agrees to a rescue, and
//! for the word before a key is removed for good.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use portcullis::pin::{Pin, PinSource};
use portcullis_policy::record::RescueDeed;
use zeroize::Zeroizing;

/// Nobody agreed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConsentError {
    /// No terminal, or one that closed.
    #[error("the PIN cannot be asked for here: give --pin-file")]
    NoTerminal(#[source] io::Error),
    /// No PIN.
    #[error("that is no PIN: 1 to 255 bytes, without control characters. None was tried")]
    NotAPin,
    /// No word.
    #[error("the word was not given: type {wanted:?} when asked, or give --yes")]
    NoWord {
        /// What it would have been.
        wanted: String,
    },
}

/// The PIN, typed unseen.
pub(crate) fn pin(deed: RescueDeed, named: &str) -> Result<PinSource, ConsentError> {
    let prompt = format!("{} {named} on the token. PIN of the token, if you agree: ", deed.name());
    let typed = rpassword::prompt_password(prompt).map_err(ConsentError::NoTerminal)?;
    let pin = Pin::typed(&Zeroizing::new(typed)).ok_or(ConsentError::NotAPin)?;
    Ok(PinSource::Typed(Arc::new(pin)))
}

/// The names of the keys once more: what they hold is lost with them.
pub(crate) fn word(named: &str) -> Result<(), ConsentError> {
    let no_word = || ConsentError::NoWord { wanted: named.to_owned() };
    if !io::stdin().is_terminal() {
        return Err(no_word());
    }
    let ask = format!(
        "What {named} holds cannot be moved afterwards. Type {named:?} to remove it for good: "
    );
    let mut typed = String::new();
    let asked = io::stderr().lock().write_all(ask.as_bytes());
    let read = asked.and_then(|()| io::stdin().lock().read_line(&mut typed));
    if read.is_ok() && typed.trim() == named { Ok(()) } else { Err(no_word()) }
}

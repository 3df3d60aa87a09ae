//! Whether a PIN may be sent to the token, which locks itself after a few wrong ones.
//!
//! Never sends a PIN that was refused a second time: the operator writes another one into its file,
//! and that one is tried once. Remembers no PIN that the token took.

use cryptoki::error::{Error, RvError};

use super::error::HsmError;
use super::verdict::{self, Verdict};
use crate::pin::{Pin, PinSource};

/// What the last login says of the next.
#[derive(Default)]
pub(super) struct Login {
    /// A login went well in the life of this process: the PIN was right then.
    went_well: bool,
    bad: Option<Bad>,
}

/// A PIN that is not sent again, or only so often.
struct Bad {
    pin: Pin,
    why: Why,
}

#[derive(Clone, Copy)]
enum Why {
    /// The token said that it is wrong, locked or expired.
    Wrong,
    /// The token said nothing of it, so many times in a row.
    Unclear(u32),
}

impl Login {
    /// Whether there is any use in opening a session, before one is opened.
    ///
    /// # Errors
    ///
    /// The PIN in its file is the one that was refused, or cannot be read.
    pub(super) fn has_hope(&self, source: &PinSource) -> Result<(), HsmError> {
        match &self.bad {
            Some(_) => self.admit(&source.read().map_err(HsmError::Pin)?),
            None => Ok(()),
        }
    }

    /// Whether this PIN may be sent.
    ///
    /// # Errors
    ///
    /// It was refused before.
    pub(super) fn admit(&self, pin: &Pin) -> Result<(), HsmError> {
        match &self.bad {
            Some(bad) if bad.pin.is(pin) => match bad.why {
                Why::Wrong => Err(HsmError::WrongPin),
                Why::Unclear(times) if self.went_well && times < UNCLEAR_MAX => Ok(()),
                Why::Unclear(_) => Err(HsmError::LoginRefused),
            },
            Some(_) | None => Ok(()),
        }
    }

    /// Whether this PIN may have cost an attempt already, so that the token's own word on how many
    /// are left is to be heard first.
    pub(super) fn is_in_doubt(&self, pin: &Pin) -> bool {
        self.bad.as_ref().is_some_and(|bad| bad.pin.is(pin))
    }

    /// The token says that somebody used up attempts: this PIN is not sent again.
    pub(super) fn condemn(&mut self, pin: Pin) -> HsmError {
        self.bad = Some(Bad { pin, why: Why::Wrong });
        HsmError::WrongPin
    }

    /// What came of sending it.
    ///
    /// # Errors
    ///
    /// It did not log in.
    pub(super) fn learn(&mut self, pin: Pin, answer: Result<(), Error>) -> Result<(), HsmError> {
        let Err(error) = answer else { return self.well() };
        match verdict::of(&error) {
            Verdict::Fine => self.well(),
            Verdict::Later
            | Verdict::NewSession
            | Verdict::LogIn
            | Verdict::Gone
            | Verdict::Reload
            | Verdict::FindAgain
            | Verdict::Refused => Err(HsmError::Login(error)),
            Verdict::Pin => {
                let code = if let Error::Pkcs11(code, _) = &error { Some(*code) } else { None };
                let locked = matches!(code, Some(RvError::PinLocked));
                tracing::error!(?code, "the token refused the PIN: it is not sent again");
                self.bad = Some(Bad { pin, why: Why::Wrong });
                Err(if locked { HsmError::PinLocked } else { HsmError::WrongPin })
            }
            Verdict::Unclear => {
                let before = match &self.bad {
                    Some(Bad { pin: same, why: Why::Unclear(times) }) if same.is(&pin) => *times,
                    Some(_) | None => 0,
                };
                let times = before.saturating_add(1);
                tracing::error!(%error, times, "the token refused the login, and says not why");
                self.bad = Some(Bad { pin, why: Why::Unclear(times) });
                let again = self.went_well && times < UNCLEAR_MAX;
                Err(if again { HsmError::Login(error) } else { HsmError::LoginRefused })
            }
        }
    }

    fn well(&mut self) -> Result<(), HsmError> {
        *self = Self { went_well: true, bad: None };
        Ok(())
    }
}

/// Tokens lock after three at the least (FIPS 140 asks for a bound, vendors choose 3 to 10). These
/// are of a PIN that was right before, and only while the token does not say that one was wasted.
const UNCLEAR_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    fn pin(text: &str) -> Pin {
        Pin::typed(text).unwrap()
    }

    fn failed(code: RvError) -> Result<(), Error> {
        Err(Error::Pkcs11(code, Function::Login))
    }

    #[test]
    fn a_refused_pin_is_never_sent_again_and_another_one_is() {
        for code in [RvError::PinIncorrect, RvError::PinLocked, RvError::PinExpired] {
            let mut login = Login::default();
            assert!(login.learn(pin("1234"), failed(code)).is_err());
            assert!(matches!(login.admit(&pin("1234")), Err(HsmError::WrongPin)));
            assert!(login.admit(&pin("5678")).is_ok());
            login.learn(pin("5678"), Ok(())).unwrap();
            assert!(login.admit(&pin("1234")).is_ok(), "nothing is remembered after a good one");
        }
    }

    #[test]
    fn a_failure_that_says_nothing_is_tried_again_only_with_a_pin_that_was_right_and_thrice() {
        let unclear = [RvError::FunctionFailed, RvError::GeneralError, RvError::DeviceError];
        for code in unclear {
            let mut login = Login::default();
            let first = login.learn(pin("1234"), failed(code));
            assert!(matches!(first, Err(HsmError::LoginRefused)), "never went well: {first:?}");
            assert!(login.admit(&pin("1234")).is_err());

            let mut login = Login::default();
            login.learn(pin("1234"), Ok(())).unwrap();
            for _ in 0..2 {
                let again = login.learn(pin("1234"), failed(code));
                assert!(matches!(again, Err(HsmError::Login(_))), "{again:?}");
                assert!(login.admit(&pin("1234")).is_ok() && login.is_in_doubt(&pin("1234")));
            }
            assert!(matches!(login.learn(pin("1234"), failed(code)), Err(HsmError::LoginRefused)));
            assert!(matches!(login.admit(&pin("1234")), Err(HsmError::LoginRefused)));
            assert!(login.admit(&pin("5678")).is_ok());
        }
    }

    #[test]
    fn a_failure_before_the_pin_was_looked_at_costs_nothing() {
        for code in [RvError::DeviceRemoved, RvError::SessionHandleInvalid] {
            let mut login = Login::default();
            let lost = login.learn(pin("1234"), failed(code));
            assert!(matches!(lost, Err(HsmError::Login(_))), "{lost:?}");
            assert!(login.admit(&pin("1234")).is_ok() && !login.is_in_doubt(&pin("1234")));
        }
    }

    #[test]
    fn a_token_that_says_attempts_were_wasted_ends_the_trying() {
        let mut login = Login::default();
        login.learn(pin("1234"), Ok(())).unwrap();
        assert!(login.learn(pin("1234"), failed(RvError::DeviceError)).is_err());
        assert!(matches!(login.condemn(pin("1234")), HsmError::WrongPin));
        assert!(matches!(login.admit(&pin("1234")), Err(HsmError::WrongPin)));
    }
}

//! What each return code of PKCS#11 (v3.1 section 5.1) means for us, by the call that it came from.
//!
//! The one table: nothing else in this crate decides what a code costs. It names every code that
//! the binding knows, so that a code that is added there does not compile here until somebody has
//! said what it means. `verdicts.txt` beside it is the same, printed; a test compares the two.

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

/// What a call did, as far as its return codes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    /// Slots, tokens, sessions, the module itself.
    Open,
    /// `C_Login`.
    Login,
    /// Finding, reading and changing objects.
    Object,
    /// `C_SignInit`.
    SignInit,
    /// `C_Sign`.
    Sign,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Nothing is wrong: it is as it should be already.
    Fine,
    /// The handle is stale, the session is good: find the key again, and call once more.
    FindAgain,
    /// The token will not, with this key or object, and says so: the session is kept, asking again
    /// changes nothing.
    Refused,
    /// The session is not used again; another one is opened at once, and the call is made once
    /// more.
    NewSession,
    /// The same. Its login is gone, so the other one logs in, once.
    LogIn,
    /// The token cannot now, and nothing is wrong with the module: opened again with back-off.
    Later,
    /// The token or the way to it is gone: as a new session; if none can be opened for a while, the
    /// module is loaded again.
    Gone,
    /// The module has lost itself: it is loaded again.
    Reload,
    /// The token looked at the PIN and refused it: never sent again.
    Pin,
    /// The login failed, and may have cost one of the few attempts that a token allows.
    Unclear,
}

/// A code's verdicts, and why.
pub(super) struct Row {
    open: Verdict,
    login: Verdict,
    object: Verdict,
    sign_init: Verdict,
    sign: Verdict,
    /// Why so.
    why: &'static str,
}

/// What is to be done about this error.
pub(super) fn of(error: &Error) -> Verdict {
    match error {
        Error::Pkcs11(code, function) => row(*code).of(call(*function)),
        // The binding found no function, or could not read what the module wrote.
        Error::LibraryLoading(_)
        | Error::NotSupported
        | Error::TryFromInt(_)
        | Error::TryFromSlice(_)
        | Error::ParseInt(_)
        | Error::Utf8(_)
        | Error::NulError(_)
        | Error::NullFunctionPointer
        | Error::MissingSymbol(_)
        | Error::InvalidValue
        | Error::PinNotSet => Verdict::Gone,
    }
}

/// Why, in words for whoever is on call; nothing if no call said it.
pub(super) fn why(error: &Error) -> &'static str {
    if let Error::Pkcs11(code, _) = error { row(*code).why } else { "the binding said so" }
}

/// Whether the token refused to sign because the key may not (`CKA_SIGN`), as against everything
/// else that it may have against a key.
pub(super) fn is_fenced(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(RvError::KeyFunctionNotPermitted, _))
}

/// Which of the columns a function stands in.
pub(super) fn call(function: Function) -> Call {
    if matches!(function, Function::SignInit) {
        return Call::SignInit;
    }
    if matches!(function, Function::Sign | Function::SignUpdate | Function::SignFinal) {
        return Call::Sign;
    }
    if matches!(function, Function::Login | Function::LoginUser | Function::Logout) {
        return Call::Login;
    }
    let opens = matches!(
        function,
        Function::Initialize
            | Function::Finalize
            | Function::GetInfo
            | Function::GetFunctionList
            | Function::GetSlotList
            | Function::GetSlotInfo
            | Function::GetTokenInfo
            | Function::GetMechanismList
            | Function::GetMechanismInfo
            | Function::OpenSession
            | Function::CloseSession
            | Function::CloseAllSessions
            | Function::GetSessionInfo
    );
    if opens { Call::Open } else { Call::Object }
}

impl Row {
    /// The verdict on this call.
    pub(super) const fn of(&self, call: Call) -> Verdict {
        match call {
            Call::Open => self.open,
            Call::Login => self.login,
            Call::Object => self.object,
            Call::SignInit => self.sign_init,
            Call::Sign => self.sign,
        }
    }

    /// The same of every call but the login.
    const fn all(verdict: Verdict, login: Verdict, why: &'static str) -> Self {
        let open = verdict;
        Self { open, login, object: verdict, sign_init: verdict, sign: verdict, why }
    }

    /// Said of a key: by `C_Sign` too late for the session, in which an operation may be open.
    const fn key(object: Verdict, sign_init: Verdict, sign: Verdict, why: &'static str) -> Self {
        Self { open: Verdict::NewSession, login: Verdict::Unclear, object, sign_init, sign, why }
    }
}

/// The table. A login is [`Verdict::Unclear`] unless the code says that the PIN was not looked at.
#[expect(clippy::too_many_lines, reason = "a table: each code once")]
pub(super) const fn row(code: RvError) -> Row {
    use Verdict::{FindAgain, Fine, Gone, Later, LogIn, NewSession, Pin, Refused, Reload, Unclear};
    match code {
        RvError::SessionHandleInvalid | RvError::SessionClosed => {
            Row::all(NewSession, Later, "the token forgot the session, and nothing else")
        }
        RvError::OperationActive | RvError::OperationNotInitialized => Row::all(
            NewSession,
            Later,
            "an operation was left open in the session, or lost: a fresh session has none",
        ),
        RvError::UserNotLoggedIn => {
            Row::all(LogIn, Unclear, "the token forgot the login: all sessions share it")
        }
        RvError::UserAlreadyLoggedIn => {
            Row::all(NewSession, Fine, "another session logged in meanwhile")
        }
        RvError::SessionCount
        | RvError::SessionExists
        | RvError::SessionReadOnlyExists
        | RvError::SessionReadWriteSoExists
        | RvError::UserAnotherAlreadyLoggedIn
        | RvError::UserTooManyTypes => Row::all(
            Later,
            Later,
            "others have the sessions or the login: the PIN was not looked at, time helps",
        ),
        RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid => Row::key(
            FindAgain,
            FindAgain,
            NewSession,
            "the object was written or made anew: its handle is another one now",
        ),
        RvError::KeyFunctionNotPermitted => Row::key(
            Refused,
            Refused,
            Refused,
            "CKA_SIGN is false: the key is fenced, and the session as good as before",
        ),
        RvError::KeySizeRange
        | RvError::KeyTypeInconsistent
        | RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::CurveNotSupported
        | RvError::DomainParamsInvalid
        | RvError::PublicKeyInvalid
        | RvError::FunctionNotSupported
        | RvError::FunctionRejected
        | RvError::ActionProhibited
        | RvError::AttributeReadOnly
        | RvError::AttributeSensitive
        | RvError::AttributeTypeInvalid
        | RvError::AttributeValueInvalid
        | RvError::TemplateIncomplete
        | RvError::TemplateInconsistent
        | RvError::TokenWriteProtected
        | RvError::KeyUnextractable
        | RvError::KeyNotWrappable => Row::key(
            Refused,
            Refused,
            Refused,
            "the token understood, and will not with this key or object: other keys go on",
        ),
        RvError::ArgumentsBad
        | RvError::BufferTooSmall
        | RvError::DataInvalid
        | RvError::DataLenRange
        | RvError::FunctionCanceled
        | RvError::Cancel
        | RvError::SessionReadOnly
        | RvError::UserTypeInvalid
        | RvError::SessionParallelNotSupported => Row::all(
            NewSession,
            Unclear,
            "we ask the same each time: if this was the session's, a fresh one shows it",
        ),
        RvError::DeviceRemoved => Row::all(
            Gone,
            Unclear,
            "the token left in the midst of the call: it may have looked at the PIN before",
        ),
        RvError::TokenNotPresent | RvError::TokenNotRecognized | RvError::SlotIdInvalid => {
            Row::all(
                Gone,
                Later,
                "the token left its slot, or the way to it is cut: the PIN did not reach it",
            )
        }
        RvError::HostMemory => {
            Row::all(Gone, Later, "our side ran out of memory before the token was asked")
        }
        RvError::DeviceError
        | RvError::DeviceMemory
        | RvError::FunctionFailed
        | RvError::GeneralError => Row::all(
            Gone,
            Unclear,
            "says nothing: the session may be dead, the token may be, the PIN may have been \
             looked at",
        ),
        RvError::CryptokiNotInitialized => {
            Row::all(Reload, Later, "somebody finalised the module, or it did so itself")
        }
        RvError::MutexBad
        | RvError::MutexNotLocked
        | RvError::CantLock
        | RvError::NeedToCreateThreads
        | RvError::LibraryLoadFailed
        | RvError::FipsSelfTestFailed
        | RvError::CryptokiAlreadyInitialized => {
            Row::all(Reload, Unclear, "the module is broken within: only a fresh start of it helps")
        }
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::PinTooWeak
        | RvError::UserPinNotInitialized
        | RvError::NewPinMode
        | RvError::NextOtp
        | RvError::ExceededMaxIterations => Row::all(
            NewSession,
            Pin,
            "the PIN is wrong, locked, expired or not enough: sent again, it locks the token",
        ),
        RvError::NoEvent
        | RvError::EncryptedDataInvalid
        | RvError::EncryptedDataLenRange
        | RvError::FunctionNotParallel
        | RvError::KeyNotNeeded
        | RvError::KeyChanged
        | RvError::KeyNeeded
        | RvError::KeyIndigestible
        | RvError::SignatureInvalid
        | RvError::SignatureLenRange
        | RvError::UnwrappingKeyHandleInvalid
        | RvError::UnwrappingKeySizeRange
        | RvError::UnwrappingKeyTypeInconsistent
        | RvError::WrappedKeyInvalid
        | RvError::WrappedKeyLenRange
        | RvError::WrappingKeyHandleInvalid
        | RvError::WrappingKeySizeRange
        | RvError::WrappingKeyTypeInconsistent
        | RvError::RandomSeedNotSupported
        | RvError::RandomNoRng
        | RvError::SavedStateInvalid
        | RvError::InformationSensitive
        | RvError::StateUnsaveable => {
            Row::all(Gone, Unclear, "belongs to calls that we do not make: the token is confused")
        }
        RvError::VendorDefined(_) | RvError::UnknownErrorCode(_) => Row::all(
            Gone,
            Unclear,
            "the vendor's own, or newer than we are: believed to be the worst",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use cryptoki::error::Rv;

    use super::*;

    /// Every code that the standard names, in order, with one of a vendor and one that is nobody's.
    fn codes() -> Vec<(u64, RvError)> {
        let named = (1..=0x1fff_u64).chain([0x8000_0001]).map(|code| (code, Rv::from(code)));
        let known = named.filter_map(|(code, rv)| match rv {
            Rv::Error(RvError::UnknownErrorCode(_)) | Rv::Ok => None,
            Rv::Error(error) => Some((code, error)),
        });
        known.chain([(0x7fff_ffff, RvError::UnknownErrorCode(0x7fff_ffff))]).collect()
    }

    const CALLS: [Call; 5] = [Call::Open, Call::Login, Call::Object, Call::SignInit, Call::Sign];

    fn printed() -> String {
        let mut text = String::from(
            "code        name                           open        login       object      \
             sign-init   sign        because\n",
        );
        for (code, error) in codes() {
            let name = format!("{error:?}");
            let name = name.split('(').next().unwrap();
            write!(text, "{code:#010x}  {name:<29}").unwrap();
            for call in CALLS {
                let verdict = format!("{:?}", row(error).of(call));
                write!(text, "  {verdict:<10}").unwrap();
            }
            writeln!(text, "  {}", row(error).why).unwrap();
        }
        text
    }

    #[test]
    fn every_code_has_a_verdict_for_every_call_and_the_table_is_as_printed() {
        let checked_in = include_str!("verdicts.txt");
        let now = printed();
        assert!(checked_in == now, "verdicts.txt should be, after a look at each line:\n{now}");
        // Both lines at the end stand for many.
        assert_eq!(now.lines().count(), 1 + VARIANTS);
    }

    /// As many as `RvError` has: the last two take a number.
    const VARIANTS: usize = 95;

    #[test]
    fn a_pin_is_sent_again_only_where_the_token_cannot_have_looked_at_it() {
        for (code, error) in codes() {
            let at_login = row(error).of(Call::Login);
            let pin = (0xa0..=0xa4).contains(&code);
            assert!(!pin || at_login == Verdict::Pin, "{error:?}: {at_login:?}");
            for call in [Call::Open, Call::Object, Call::SignInit, Call::Sign] {
                let elsewhere = row(error).of(call);
                let of_logins = [Verdict::Pin, Verdict::Unclear, Verdict::Fine];
                assert!(!of_logins.contains(&elsewhere), "{error:?} at {call:?}: {elsewhere:?}");
            }
            let harmless = [Verdict::Fine, Verdict::Later, Verdict::Pin, Verdict::Unclear];
            assert!(harmless.contains(&at_login), "{error:?}: {at_login:?}");
        }
    }

    #[test]
    fn each_function_stands_in_its_column() {
        let of = |code, function| of(&Error::Pkcs11(code, function));
        assert_eq!(of(RvError::KeyHandleInvalid, Function::SignInit), Verdict::FindAgain);
        assert_eq!(of(RvError::KeyHandleInvalid, Function::Sign), Verdict::NewSession);
        assert_eq!(of(RvError::DeviceError, Function::Login), Verdict::Unclear);
        assert_eq!(of(RvError::DeviceError, Function::OpenSession), Verdict::Gone);
        assert_eq!(of(RvError::UserNotLoggedIn, Function::FindObjectsInit), Verdict::LogIn);
        assert_eq!(of(RvError::AttributeReadOnly, Function::SetAttributeValue), Verdict::Refused);
        assert_eq!(super::of(&Error::NullFunctionPointer), Verdict::Gone);
    }
}

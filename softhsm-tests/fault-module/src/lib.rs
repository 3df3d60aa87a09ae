//! A PKCS#11 2.40 module that stands in front of a real one and misbehaves on request.
//!
//! **Never a security module.** It exists to see what the signer does when a token delays, hangs,
//! fails or lies, and (instant mode) to measure the signer without a token's arithmetic. Anything
//! signed in instant mode gives its key away: every signature has the same nonce.
//!
//! It loads the real module, copies its function table, and puts its own functions in the places
//! listed in [`calls`]. What nobody asked it to spoil is forwarded unchanged.
//!
//! # Environment
//!
//! - `PORTCULLIS_FAULT_MODULE_TARGET`: the real module; default
//!   `/usr/lib/softhsm/libsofthsm2.so`.
//! - `PORTCULLIS_FAULT_SCRIPT`: a file of faults, below; may appear, change and vanish at any time.
//! - `PORTCULLIS_FAULT_LOG`: a file that gets two lines a call, below.
//! - `PORTCULLIS_FAULT_INSTANT`: `1` for instant mode, below.
//!
//! # The script
//!
//! A line is `FUNCTION FAULT`, optionally followed by `next N`: then it strikes N times in each
//! process that loads the module, and is spent. `#` starts a comment. The first line for a function
//! that is not spent strikes. The file is looked at before each call (one `stat`), and read again
//! when it was replaced or changed; the counts of `next` then start anew, so replace it by renaming
//! a new file over it. A file that cannot be understood makes every listed function answer
//! `CKR_GENERAL_ERROR`: a test with a typo must not pass.
//!
//! | fault | for | effect |
//! | --- | --- | --- |
//! | `delay MS` | all | sleeps, then forwards |
//! | `hang` | all | waits until no such line is in the script, then forwards: the late answer |
//! | `error RV` | all | answers RV (`0x30` or `48`) and does not call the real module |
//! | `lost RV` | all | forwards, then answers RV: it happened, and the caller does not know |
//! | `wrong-signature` | `C_Sign` | flips the lowest bit of s |
//! | `foreign-signature` | `C_Sign` | a true signature of the same digest, by another key |
//! | `high-s` | `C_Sign` | s above half the order: valid ECDSA, not valid Ethereum |
//! | `zero-r` | `C_Sign` | r is zero |
//! | `short-signature` | `C_Sign` | the last byte is missing |
//! | `raw-point` | `C_GetAttributeValue` | `CKA_EC_POINT` without its DER octet string |
//! | `other-serial` | `C_GetTokenInfo` | the serial number of a token that is not there |
//!
//! After `C_Sign error`, the operation that `C_SignInit` began stays open, as on real tokens.
//!
//! A `C_Sign` that only asks for the signature's length (a null buffer) is forwarded without fault
//! and without log, so that one signature is one call.
//!
//! A signature with Ed25519 is `C_SignInit:EdDSA` and `C_Sign:EdDSA` in script and log: the signer
//! signs checkpoints so, whenever it has something to sign, and no count of requests' calls is to
//! depend on that.
//!
//! # The log
//!
//! `PID FUNCTION called` before anything else happens, `PID FUNCTION hanging` while a hang holds,
//! `PID FUNCTION returned 0xRV` last. Each line is one `write` to a file opened for appending, so
//! what a killed process had begun is there. It holds no arguments, hence no PIN.
//!
//! # Instant mode
//!
//! Keys are made by the real module as ever, but the point it reports for a secp256k1 key, and
//! what signs, is a throw-away key derived from the object's `CKA_ID` alone; with the nonce fixed,
//! a signature is one multiplication. `CKA_SIGN` is honoured when a key is first used and after
//! `C_SetAttributeValue` through this process, not when another process changes it.

mod calls;
mod checkpoints;
mod instant;
mod log;
mod module;
mod object;
mod script;
mod tamper;

pub use module::C_GetFunctionList;

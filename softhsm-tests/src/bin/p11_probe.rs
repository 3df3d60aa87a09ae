//! Uses a token directly, in a process of its own: SoftHSM serves one token folder per process, and
//! a module that is made to hang or die must not take the test with it.
//!
//! `portcullis-p11-probe MODULE TOKEN PIN_FILE`; then a line in, a line out: `ok HEX` or
//! `error TEXT`. Lines: `generate LABEL`, `generate-extractable LABEL`, `point LABEL`,
//! `point-bytes LABEL`, `flags LABEL`, `sign LABEL DIGEST`; `hold LABEL` keeps a handle, with which
//! `sign-held DIGEST` signs; `let-sign LABEL yes|no` sets `CKA_SIGN`; and the thefts `copy LABEL`,
//! `copy-out LABEL`, `read-out LABEL`, `wrap-out LABEL`.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::Path;

use portcullis_softhsm_tests::raw::{RawError, RawKey, RawSession, RawToken};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, label, pin_file] = arguments.as_slice() else {
        return Err("usage: portcullis-p11-probe MODULE TOKEN PIN_FILE".into());
    };
    let pin = std::fs::read_to_string(pin_file)?;
    let token = RawToken::open(Path::new(module), label, pin.trim_end())?;
    let mut session = token.session();
    let mut held = None;
    for line in io::stdin().lock().lines() {
        // A session whose operation was left open is of no more use: PKCS#11 2.40 cannot cancel.
        let answer = match &session {
            Ok(open) => obey(open, &mut held, &line?),
            Err(error) => Err(format!("{error:?}")),
        };
        let mut out = io::stdout().lock();
        match answer {
            Ok(bytes) => writeln!(out, "ok {}", hex::encode(bytes))?,
            Err(text) => {
                writeln!(out, "error {text}")?;
                drop(std::mem::replace(&mut session, token.session()));
            }
        }
        out.flush()?;
    }
    Ok(())
}

fn obey(session: &RawSession, held: &mut Option<RawKey>, line: &str) -> Result<Vec<u8>, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let told = |error: RawError| format!("{error:?}");
    match words.as_slice() {
        ["generate", label] => session.generate(label, false).map_err(told),
        ["generate-extractable", label] => session.generate(label, true).map_err(told),
        ["flags", label] => session.flags(label).map(String::into_bytes).map_err(told),
        ["point", label] => session.point(label).map_err(told),
        ["point-bytes", label] => {
            let bytes = session.reported_point_bytes(label).map_err(told)?;
            u8::try_from(bytes).map(|bytes| vec![bytes]).map_err(|error| error.to_string())
        }
        ["sign", label, digest] => {
            let key = session.key(label).map_err(told)?;
            session.sign(key, &bytes32(digest)?).map_err(told)
        }
        ["hold", label] => {
            *held = Some(session.key(label).map_err(told)?);
            Ok(Vec::new())
        }
        ["sign-held", digest] => {
            let key = held.ok_or("holds no handle")?;
            session.sign(key, &bytes32(digest)?).map_err(told)
        }
        ["let-sign", label, may] => {
            let key = session.key(label).map_err(told)?;
            session.let_sign(key, *may == "yes").map(|()| Vec::new()).map_err(told)
        }
        [how @ ("copy" | "copy-out" | "read-out" | "wrap-out"), label] => {
            let key = session.key(label).map_err(told)?;
            let taken = match *how {
                "copy" => session.copy(key).map(|()| Vec::new()),
                "copy-out" => session.copy_out(key).map(|()| Vec::new()),
                "read-out" => session.read_out(key),
                _ => session.wrap_out(key),
            };
            taken.map_err(told)
        }
        _ => Err("not understood".into()),
    }
}

fn bytes32(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

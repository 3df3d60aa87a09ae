//! Fuzzes or replays [`portcullis_fuzz::function`].
#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
libfuzzer_sys::fuzz_target!(|input: &[u8]| portcullis_fuzz::function(input));

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::io::Result<()> {
    portcullis_fuzz::replay(portcullis_fuzz::function)
}

//! Fuzzes or replays [`portcullis_fuzz::arguments`].
#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
libfuzzer_sys::fuzz_target!(|input: &[u8]| portcullis_fuzz::arguments(input));

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::io::Result<()> {
    portcullis_fuzz::replay(portcullis_fuzz::arguments)
}

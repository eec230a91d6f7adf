//! Has libFuzzer look for input that breaks a property of the engine's pure functions.

#![no_main]

#[path = "../../tests/properties/checks.rs"]
mod checks;
#[path = "../../tests/properties/lexer.rs"]
mod lexer;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::check(input));

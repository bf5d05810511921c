#![no_main]
#![allow(missing_docs, reason = "a fuzz target has no interface")]

libfuzzer_sys::fuzz_target!(|input: &[u8]| consul_session_fuzz::addresses(input));

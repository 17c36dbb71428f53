//! Runs `ftp_alg_fuzz::identity` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ftp_alg_fuzz::identity(data));

//! Runs `ftp_alg_fuzz::ruled` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ftp_alg_fuzz::ruled(data));

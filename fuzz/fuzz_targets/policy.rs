//! Runs `ftp_alg_fuzz::policy` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ftp_alg_fuzz::policy(data));

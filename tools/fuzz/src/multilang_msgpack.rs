#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| squall::storm::fuzz::multilang_msgpack(bytes));

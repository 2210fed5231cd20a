//! A guest that tries every hypercall with any argument.
#![no_main]

use carillon_event_tests::hostile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hostile::hypercalls(bytes));

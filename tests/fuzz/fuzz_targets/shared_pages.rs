//! A guest that scribbles on the pages it shares while the hypervisor produces events into them.
#![no_main]

use carillon_event_tests::hostile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hostile::shared_pages(bytes));

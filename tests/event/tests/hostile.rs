//! The hostile guests on random bytes, for a bounded number of rounds; a failure prints its seed and the bytes.
#![cfg(not(any(loom, shuttle)))]

use carillon_event_tests::hostile;
use proptest::collection::vec;
use proptest::prelude::ProptestConfig;
use proptest::prelude::any;
use proptest::proptest;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_guest_that_scribbles_on_shared_pages_harms_nobody_but_itself(bytes in vec(any::<u8>(), 0..2048)) {
        hostile::shared_pages(&bytes);
    }

    #[test]
    fn a_guest_that_tries_any_hypercall_harms_nobody_but_itself(bytes in vec(any::<u8>(), 0..2048)) {
        hostile::hypercalls(&bytes);
    }
}

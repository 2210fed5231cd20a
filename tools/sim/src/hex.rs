//! Hashes in files: 16 hexadecimal digits. JSON's readers take numbers for floating point, exact only to 2⁵³.

use std::borrow::Cow;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serializer;
use serde::de::Error as _;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(crate) fn serialize<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{hash:016x}"))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    let is_hash = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = is_hash.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
    hash.ok_or_else(|| D::Error::custom(format_args!("{text:?} is no hash: expected 16 hexadecimal digits")))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde::Serialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Hashed(#[serde(with = "super")] u64);

    #[test]
    fn a_hash_above_what_a_float_holds_is_read_back_as_it_was() {
        for hash in [0, 1, (1 << 53) + 1, u64::MAX] {
            let text = serde_json::to_string(&Hashed(hash)).unwrap();
            assert_eq!(text, format!("\"{hash:016x}\""));
            assert_eq!(serde_json::from_str::<Hashed>(&text).unwrap(), Hashed(hash));
        }
    }

    #[test]
    fn what_is_not_sixteen_digits_is_no_hash() {
        for text in ["5", "\"5\"", "\"+00000000000000f\"", "\"00000000000000g0\"", "\"00000000000000000\""] {
            assert!(serde_json::from_str::<Hashed>(text).is_err(), "{text}");
        }
    }
}

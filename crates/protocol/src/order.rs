//! Order statuses, which back ends and members share.

/// The longest status, in bytes.
pub const MAX_STATUS: usize = 40;

/// Whether a text can be the status of an order: `[A-Z0-9_]{1,40}`.
pub fn is_status(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=MAX_STATUS).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_word_of_capitals_digits_and_underscores() {
        for good in ["NEW", "STEP_2", "_", &"X".repeat(40)] {
            assert!(is_status(good), "{good}");
        }
        for bad in ["", "new", "A B", "ÄNDERT", "A-B", &"X".repeat(41)] {
            assert!(!is_status(bad), "{bad}");
        }
    }
}

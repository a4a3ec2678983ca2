//! Inputs for parsers: good ones, changed in a few places. Random bytes end at the first look of a
//! parser; a good input with one thing wrong gets far.

#[path = "cases.rs"]
mod cases;

use proptest::prelude::*;

pub use self::cases::config;

/// What breaks parsers of any format.
const WORDS: &[&str] = &[
    "\"",
    "'",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "/",
    "@",
    "?",
    "%",
    "#",
    "<",
    ">",
    " ",
    "\n",
    "\r\n",
    "\u{0}",
    "\u{e4}",
    "\u{2028}",
    "\u{1f697}",
    "\\ud800",
    "\\u0000",
    "null",
    "true",
    "{}",
    "[]",
    "0",
    "-1",
    "1.5",
    "1e999",
    "-0.0",
    "1e-400",
    "NaN",
    "inf",
    "9007199254740992",
    "18446744073709551616",
];

/// One of these inputs with up to six changes. `words` are worth inserting beside the usual ones.
pub fn mutated(
    inputs: &'static [&'static str],
    words: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let change = any::<(u8, u16, u8, u16)>();
    let changes = proptest::collection::vec(change, 0..=6);
    (proptest::sample::select(inputs), changes).prop_map(move |(input, changes)| {
        let mut text = input.to_owned();
        for change in changes {
            apply(&mut text, change, inputs, words);
        }
        text
    })
}

fn apply(
    text: &mut String,
    (kind, at, length, pick): (u8, u16, u8, u16),
    inputs: &[&str],
    words: &[&str],
) {
    let start = boundary(text, usize::from(at) % (text.len() + 1));
    let end = boundary(text, start + usize::from(length % 16)).max(start);
    let place = usize::from(pick) % (WORDS.len() + words.len());
    let word = WORDS.get(place).unwrap_or_else(|| &words[place - WORDS.len()]);
    match kind % 7 {
        0 => text.insert_str(start, word),
        1 => text.replace_range(start..end, word),
        2 => text.replace_range(start..end, ""),
        3 => {
            let part = text[start..end].to_owned();
            text.insert_str(start, &part);
        }
        4 => {
            let other = inputs[usize::from(pick) % inputs.len()];
            text.replace_range(start.., &other[boundary(other, start)..]);
        }
        5 => text.truncate(start),
        _ => text.insert(start, char::from_u32(pick.into()).unwrap_or('\u{fffd}')),
    }
}

/// The last place at or before `at` where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

//! Invisible characters and characters that change how others appear, in text that people see; and
//! where such characters are allowed.
//!
//! Such characters can make one user look like another (`Ann` with something invisible in it),
//! reverse the order of words, or make a message look empty. Names lose them, except where a script
//! or an emoji needs them; messages keep them.

use std::borrow::Cow;

use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};

const ZERO_WIDTH_NON_JOINER: char = '\u{200C}';
const ZERO_WIDTH_JOINER: char = '\u{200D}';
/// Whether the character before appears as text or as a picture.
const TEXT_STYLE: char = '\u{FE0E}';
const PICTURE_STYLE: char = '\u{FE0F}';
const KEYCAP: char = '\u{20E3}';

/// Whether a text shows nothing.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_invisible(c))
}

/// Whether a character shows nothing by itself: it controls direction or joining, or is a filler.
pub fn is_invisible(c: char) -> bool {
    // Unicode classifies these as visible, but they show nothing: an empty Braille cell, marks of
    // annotations, an empty note.
    let shows_nothing = matches!(c, '\u{2800}' | '\u{FFF9}'..='\u{FFFB}' | '\u{1D159}');
    !c.is_ascii()
        && (shows_nothing || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c))
}

/// A name without invisible characters; none if nothing is left.
pub fn visible_name(name: &str) -> Option<Cow<'_, str>> {
    if name.is_ascii() {
        return (!is_blank(name)).then_some(Cow::Borrowed(name));
    }
    let mut shown = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(c) = rest.next() {
        let (before, after) = (shown.chars().next_back(), rest.clone().next());
        if !is_invisible(c) || before.is_some_and(|before| has_place(c, before, after)) {
            shown.push(c);
        }
    }
    (!is_blank(&shown)).then_some(Cow::Owned(shown))
}

/// Whether an invisible character is part of how its neighbours are written.
fn has_place(c: char, before: char, after: Option<char>) -> bool {
    match c {
        ZERO_WIDTH_JOINER if after.is_some_and(is_emoji) => {
            is_emoji(before) || before == PICTURE_STYLE
        }
        ZERO_WIDTH_JOINER | ZERO_WIDTH_NON_JOINER => are_joined(before, after),
        PICTURE_STYLE if after == Some(KEYCAP) => true,
        TEXT_STYLE | PICTURE_STYLE => is_emoji(before),
        _ => false,
    }
}

/// Whether a joiner between two characters has a meaning, by the rules of RFC 5892 (A.1, A.2) for
/// domain names: beside a virama of an Indic script, or between letters that join, as in Persian.
fn are_joined(before: char, after: Option<char>) -> bool {
    let class = CodePointMapData::<CanonicalCombiningClass>::new();
    let is_virama = |c| class.get(c) == CanonicalCombiningClass::Virama;
    let joining = CodePointMapData::<JoiningType>::new();
    let joins = |c, to: JoiningType| {
        [JoiningType::DualJoining, JoiningType::Transparent, to].contains(&joining.get(c))
    };
    let joins_on =
        |after| joins(before, JoiningType::LeftJoining) && joins(after, JoiningType::RightJoining);
    is_virama(before) || after.is_some_and(|after| is_virama(after) || joins_on(after))
}

/// Whether a character is an emoji. Digits may become one, but are none.
fn is_emoji(c: char) -> bool {
    !c.is_ascii() && CodePointSetData::new::<Emoji>().contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str) -> Option<String> {
        visible_name(name).map(Cow::into_owned)
    }

    #[test]
    fn invisible_characters_are_left_out_of_names() {
        for c in [
            '\u{202A}',
            '\u{202B}',
            '\u{202C}',
            '\u{202D}',
            '\u{202E}',
            '\u{2066}',
            '\u{2067}',
            '\u{2068}',
            '\u{2069}',
            '\u{200E}',
            '\u{200F}',
            '\u{061C}',
            '\u{200B}',
            '\u{200C}',
            '\u{200D}',
            '\u{2060}',
            '\u{2064}',
            '\u{206A}',
            '\u{FEFF}',
            '\u{3164}',
            '\u{115F}',
            '\u{1160}',
            '\u{FFA0}',
            '\u{2800}',
            '\u{00AD}',
            '\u{034F}',
            '\u{180E}',
            '\u{17B4}',
            '\u{FE00}',
            '\u{FE0E}',
            '\u{FE0F}',
            '\u{FFF9}',
            '\u{1D159}',
            '\u{E0001}',
            '\u{E0041}',
            '\u{E007F}',
            '\u{E0100}',
        ] {
            assert!(is_invisible(c), "{c:?}");
            assert_eq!(shown(&format!("{c}An{c}{c}n{c}")).as_deref(), Some("Ann"), "{c:?}");
            assert_eq!(shown(&format!("{c} {c}")), None, "{c:?}");
            assert!(is_blank(&format!("{c}\t{c}\u{3000}")), "{c:?}");
        }
        assert_eq!(shown("1\u{FE0F}2").as_deref(), Some("12"), "a digit is no picture");
        let flag = "\u{1F3F4}\u{E0067}\u{E0062}\u{E007F}";
        assert_eq!(shown(flag).as_deref(), Some("\u{1F3F4}"));
    }

    #[test]
    fn joiners_of_a_script_or_an_emoji_stay_in_names() {
        for name in [
            "Ann",
            "Žofie Nováková",
            "李小龍",
            "مُحَمَّد",
            "שָׁלוֹם",
            // Persian: a non-joiner between two letters that join.
            "علی\u{200C}رضا",
            // Hindi, Bengali and Malayalam: joiners beside a virama.
            "क्\u{200D}ष",
            "र\u{200D}্যাব",
            "ശ്രീ ന്\u{200D}",
            // A woman health worker with a skin tone, a heart on fire, a family, a keycap.
            "👩🏽\u{200D}⚕\u{FE0F} Eve",
            "❤\u{FE0F}\u{200D}🔥",
            "👨\u{200D}👩\u{200D}👧",
            "1\u{FE0F}\u{20E3}",
            "Dan ❤\u{FE0F}",
            "🇩🇪",
        ] {
            assert_eq!(shown(name).as_deref(), Some(name), "{name:?}");
        }
    }

    #[test]
    fn a_message_with_anything_to_see_is_not_blank() {
        for text in ["", " ", "\u{200B}\u{200D}", "\u{3164}\n\u{FEFF}", "\u{202E}\u{2066}\u{2069}"]
        {
            assert!(is_blank(text), "{text:?}");
        }
        for text in [".", "\u{200F}שלום", "❤\u{FE0F}", "\u{301}", "\u{7}"] {
            assert!(!is_blank(text), "{text:?}");
        }
    }
}

//! Addresses of images: an https address, or a key that only the app understands.
//!
//! Other clients put the address into an `<img>`, or append the key to an address of their own. So
//! this refuses everything that a browser would run or fetch without encryption, that ends a quoted
//! text, or that leads to another host or folder than it seems to.

use percent_encoding::percent_decode_str;

use super::text::is_invisible;

/// The most characters of an image's address or key.
const MAX_IMAGE_CHARS: usize = 2048;
/// Characters that end a quoted text or a tag, and one that browsers read as a slash.
const QUOTES: [char; 6] = ['"', '\'', '`', '<', '>', '\\'];

/// Whether this is the address of an image.
pub fn is_image(content: &str) -> bool {
    let fits = (1..=MAX_IMAGE_CHARS).contains(&content.chars().count());
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || is_invisible(c);
    if !fits || content.contains(is_bad) || content.contains(QUOTES) {
        return false;
    }
    match content.split_at_checked(8) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https://") => is_address(rest),
        _ => is_key(content),
    }
}

/// Checks host and path. A user name is refused, because it would look like the host.
fn is_address(address: &str) -> bool {
    let host = until(address, ['/', '?', '#']);
    let path = until(&address[host.len()..], ['?', '#']);
    !host.is_empty() && !host.starts_with(':') && !host.contains('@') && !escapes_folder(path)
}

/// Checks a key: it has no scheme and no host, also when it follows an address, as `@host` would.
fn is_key(key: &str) -> bool {
    let has_control = percent_decode_str(key).any(|byte| byte.is_ascii_control());
    let first = until(key, ['/', '?', '#']);
    !key.contains(':')
        && !key.starts_with("//")
        && !first.contains('@')
        && !has_control
        && !escapes_folder(key)
}

/// Whether a path leaves its folder, also with escaped dots and slashes.
fn escapes_folder(path: &str) -> bool {
    let path: Vec<u8> = percent_decode_str(path).collect();
    path.split(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#')).any(|segment| segment == b"..")
}

fn until<const N: usize>(text: &str, ends: [char; N]) -> &str {
    text.find(ends).map_or(text, |end| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_and_names_its_host_plainly() {
        for good in [
            "https://cdn.example/a.png?x=1",
            "HTTPS://a/b",
            "https://a",
            "https://a:8443/b",
            "https://[::1]/b",
            "https://a/b@c/d.png",
            "https://a/b?path=../c&at=d@e#..",
            "https://a/b..c/...",
            "https://bücher.example/ä.png",
            "https://a/%20b",
        ] {
            assert!(is_image(good), "{good}");
        }
        for bad in [
            "https://",
            "https:///a.example/b",
            "https://?a",
            "https://:443/",
            "https://user@a.example/",
            "https://a.example@b.example/c.png",
            "https://user:secret@a.example/",
            "https://a/../b",
            "https://a/b/..",
            "https://a/%2e%2e/b",
            "https://a/.%2E/b",
            "https://a/..%2fb",
            "https://a\\@b/",
            "https://a/\"onerror=alert(1)",
            "https://a/'x",
            "https://a/<script>",
            "https://a/\u{202E}gnp.exe",
            "http://a/b",
            "javascript:alert(1)",
            "data:image/png;base64,AAAA",
        ] {
            assert!(!is_image(bad), "{bad}");
        }
    }

    #[test]
    fn a_key_stays_one_behind_an_address() {
        let longest = "x".repeat(MAX_IMAGE_CHARS);
        for good in
            ["uploads/42.jpg", "/uploads/42.jpg", "a/b@2x.png", "a..b", "a%20b", "ключ", &longest]
        {
            assert!(is_image(good), "{good}");
        }
        for bad in [
            "",
            "a\"b",
            "a'b",
            "a`b",
            "a<b",
            "@evil.example/a.png",
            "user@evil.example",
            "../a",
            "a/../b",
            "a/..",
            "..",
            "%2e%2e/a",
            "a/%2E./b",
            "..%2Fa",
            "..%5ca",
            "a%0d%0aSet-Cookie",
            "a%00.png",
            "a\u{0}b",
            "a\u{200B}b",
            "//evil.example/a",
            "a\\b",
            &format!("{longest}x"),
        ] {
            assert!(!is_image(bad), "{bad}");
        }
    }
}

//! Which web pages may use the hub from a browser.

/// The list of origins. The hub's own origin always passes besides; that is for the routes to
/// judge, who know under which name they were asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every page. Harmless as far as cookies go: nothing reads them.
    Any,
    /// These, in lower case, as a browser writes them (`https://app.example.com`).
    List(Vec<String>),
}

impl Origins {
    /// Whether a page of this origin may connect.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(list) => list.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)),
        }
    }
}

/// Reads `*`, or origins with commas between them.
pub(super) fn origins(text: &str) -> Result<Origins, String> {
    if text.trim() == "*" {
        return Ok(Origins::Any);
    }
    let list: Option<Vec<String>> = text.split(',').map(|part| origin(part.trim())).collect();
    list.map(Origins::List).ok_or_else(|| {
        "* or origins with commas, like https://app.example.com,http://localhost:3000".to_owned()
    })
}

/// An origin by RFC 6454, section 6.2: a scheme, a host and perhaps a port; or `null`, which is
/// what pages from files and some web views send.
fn origin(text: &str) -> Option<String> {
    if text == "null" {
        return Some(text.to_owned());
    }
    let (scheme, host) = text.split_once("://")?;
    // A slash at the end is what people copy from the address bar; no browser sends it.
    let host = host.strip_suffix('/').unwrap_or(host);
    let scheme_is_good = !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let host_is_good = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte));
    (scheme_is_good && host_is_good).then(|| format!("{scheme}://{host}").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole_and_without_case() {
        let list = origins("https://App.example.com/, http://localhost:3000,null").expect("good");
        for (origin, allowed) in [
            ("https://app.example.com", true),
            ("HTTPS://APP.EXAMPLE.COM", true),
            ("http://localhost:3000", true),
            ("null", true),
            ("http://app.example.com", false),
            ("https://app.example.com.evil.example", false),
            ("http://localhost:3001", false),
            ("", false),
        ] {
            assert_eq!(list.allows(origin), allowed, "{origin}");
        }
        assert!(origins("*").expect("good").allows("https://anything.example"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in ["", "app.example.com", "https://", "https://*.example.com", "https://a/b", "*,"]
        {
            assert!(origins(bad).is_err(), "{bad:?}");
        }
    }
}

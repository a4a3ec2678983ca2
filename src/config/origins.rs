//! Which web pages may use the hub from a browser.

/// The allowed origins. The hub's own origin is also allowed; the routes check that, because they
/// know the host name of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every page. This is safe with regard to cookies, because the hub reads none.
    Any,
    /// These origins, in lower case and without a default port, as browsers write them
    /// (`https://app.example.com`).
    List(Vec<String>),
}

impl Origins {
    /// Whether a page of this origin may connect.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::List(list) => {
                let origin = without_default_port(origin);
                list.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
            }
        }
    }
}

/// An origin without the default port of its scheme. Browsers leave it out; React Native and people
/// do not.
pub fn without_default_port(origin: &str) -> &str {
    let port = origin.split_once("://").and_then(|(scheme, _)| default_port(scheme));
    port.and_then(|port| origin.strip_suffix(port)).unwrap_or(origin)
}

/// The default port of a web scheme.
fn default_port(scheme: &str) -> Option<&'static str> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(":443"),
        "http" | "ws" => Some(":80"),
        _ => None,
    }
}

/// Reads `*`, or origins separated by commas.
pub(super) fn origins(text: &str) -> Result<Origins, String> {
    if text.trim() == "*" {
        return Ok(Origins::Any);
    }
    let list: Option<Vec<String>> = text.split(',').map(|part| origin(part.trim())).collect();
    list.map(Origins::List).ok_or_else(|| {
        "* or origins with commas, like https://app.example.com,http://localhost:3000".to_owned()
    })
}

/// Reads an origin of RFC 6454, section 6.2: a scheme, a host and perhaps a port; or `null`, which
/// pages from files and some web views send. Web views whose pages have no host (`file://` in
/// Cordova) send a scheme alone.
fn origin(text: &str) -> Option<String> {
    if text == "null" {
        return Some(text.to_owned());
    }
    // People copy a slash at the end from the address bar; browsers never send it.
    let (scheme, host) = text.split_once("://")?;
    let origin = format!("{scheme}://{}", host.strip_suffix('/').unwrap_or(host));
    let origin = without_default_port(&origin);
    let (_, host) = origin.split_once("://")?;
    let scheme_is_good = !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let needs_host = default_port(scheme).is_some();
    let host_is_good = (!host.is_empty() || !needs_host)
        && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte));
    (scheme_is_good && host_is_good).then(|| origin.to_ascii_lowercase())
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
    fn a_default_port_is_the_same_origin_whether_it_is_written_or_not() {
        let list = "https://a.example:443,http://b.example:80,https://c.example,http://[::1]:80";
        let list = origins(list).expect("good");
        for (origin, allowed) in [
            ("https://a.example", true),
            ("https://a.example:443", true),
            ("HTTPS://A.example:443", true),
            ("http://b.example", true),
            ("http://b.example:80", true),
            ("https://c.example:443", true),
            ("http://[::1]", true),
            ("http://[::1]:80", true),
            ("https://a.example:80", false),
            ("http://a.example:443", false),
            ("http://b.example:443", false),
            ("https://c.example:4430", false),
            ("https://c.example:8443", false),
            ("http://[::1]:8080", false),
        ] {
            assert_eq!(list.allows(origin), allowed, "{origin}");
        }
    }

    #[test]
    fn web_views_send_a_scheme_alone() {
        let list = origins("file://, capacitor://localhost,app:///").expect("good");
        for (origin, allowed) in [
            ("file://", true),
            ("capacitor://localhost", true),
            ("app://", true),
            ("null", false),
            ("file://evil", false),
            ("http://localhost", false),
            ("ionic://localhost", false),
        ] {
            assert_eq!(list.allows(origin), allowed, "{origin}");
        }
        assert_eq!(origins("file:///"), origins("file://"));
    }

    #[test]
    fn an_invalid_origin_is_refused() {
        for bad in [
            "",
            "app.example.com",
            "https://",
            "http:///",
            "https://:443",
            "file:",
            "file:///index.html",
            "://",
            "https://*.example.com",
            "https://a/b",
            "*,",
        ] {
            assert!(origins(bad).is_err(), "{bad:?}");
        }
    }
}

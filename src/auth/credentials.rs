//! Where a request carries its token: the `Authorization` header, the list of subprotocols (all
//! that a browser can set), or the address.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

/// The subprotocol that the hub answers with.
pub const SUBPROTOCOL: &str = "orderhub.v1";

const TOKEN_PREFIX: &str = "orderhub.jwt.";

/// What a request offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Its one token, or why there is none to judge.
    pub token: Result<Cow<'a, str>, TokenProblem>,
    /// Whether the client offered `orderhub.v1`. Such a client is a browser, mostly: it cannot
    /// see a 401, and is told by a close code.
    pub offers_subprotocol: bool,
}

/// Why a request has no token to judge. All are answered as `unauthenticated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// Nowhere. On Socket.IO it may still come in the CONNECT packet.
    #[error("no token: send Authorization: Bearer")]
    Missing,
    /// Which of them counts would be a guess.
    #[error("two different tokens in one request")]
    Ambiguous,
    /// The hub would have to answer with a subprotocol that holds the token.
    #[error("orderhub.jwt.… without orderhub.v1 beside it")]
    WithoutSubprotocol,
    /// Only in the address, where it does not count.
    #[error("?token= does not count here (ALLOW_QUERY_TOKEN)")]
    QueryNotAllowed,
}

/// Finds the token of a request.
///
/// `authorization` and `protocols` are the headers `Authorization` and `Sec-WebSocket-Protocol`
/// (several of the latter joined with commas), `query` is what follows the `?`.
pub fn find_token<'a>(
    authorization: Option<&'a str>,
    protocols: Option<&'a str>,
    query: Option<&'a str>,
    allow_query: bool,
) -> Credentials<'a> {
    let offered = || protocols.unwrap_or_default().split(',').map(str::trim);
    let offers_subprotocol = offered().any(|protocol| protocol == SUBPROTOCOL);
    let in_protocols = || offered().filter_map(|protocol| protocol.strip_prefix(TOKEN_PREFIX));
    let in_query = || query.into_iter().flat_map(query_tokens);
    let mut tokens = authorization
        .and_then(bearer)
        .into_iter()
        .chain(in_protocols())
        .map(Cow::Borrowed)
        .chain(in_query());
    let first = tokens.next();
    let token = match first {
        None => Err(TokenProblem::Missing),
        Some(token) if tokens.any(|other| other != token) => Err(TokenProblem::Ambiguous),
        Some(_) if in_protocols().next().is_some() && !offers_subprotocol => {
            Err(TokenProblem::WithoutSubprotocol)
        }
        Some(token) => {
            let elsewhere =
                authorization.and_then(bearer).is_some() || in_protocols().next().is_some();
            if elsewhere || allow_query { Ok(token) } else { Err(TokenProblem::QueryNotAllowed) }
        }
    };
    Credentials { token, offers_subprotocol }
}

/// The token of `Authorization: Bearer`; the scheme is compared without case (RFC 9110, section
/// 11.1). Other schemes are somebody else's, a proxy's for instance.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The password of `Authorization: Basic` (RFC 7617), which is a token where an app can send nothing
/// else. The name beside it says nothing.
pub fn basic_password(header: &str) -> Option<String> {
    let (scheme, credentials) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(credentials.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

fn query_tokens(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("token="))
        .filter(|token| !token.is_empty())
        .map(|token| percent_decode_str(token).decode_utf8_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_whatever_its_name() {
        for (header, expected) in [
            ("Basic ZGFuOmEuYi5j", Some("a.b.c")),
            ("bASIC  OmEuYi5j ", Some("a.b.c")),
            ("Basic ZGFuOmE6Yg==", Some("a:b")),
            ("Basic ZGFuOg==", None),
            ("Basic ZGFu", None),
            ("Basic", None),
            ("Basic %%%", None),
            ("Bearer ZGFuOmEuYi5j", None),
            ("", None),
        ] {
            assert_eq!(basic_password(header).as_deref(), expected, "{header}");
        }
    }

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        for (authorization, protocols, query, expected) in [
            (Some("Bearer a.b.c"), None, None, Ok("a.b.c")),
            (Some("bEARER  a.b.c "), None, None, Ok("a.b.c")),
            (None, Some("orderhub.v1, orderhub.jwt.a.b.c"), None, Ok("a.b.c")),
            (None, Some("orderhub.jwt.a.b.c,orderhub.v1"), None, Ok("a.b.c")),
            (None, None, Some("EIO=4&token=a.b.c"), Ok("a.b.c")),
            (None, None, Some("token=a%2Eb.c&x=1"), Ok("a.b.c")),
            (Some("Bearer t"), Some("orderhub.v1,orderhub.jwt.t"), Some("token=t"), Ok("t")),
            (Some("Basic eHg="), None, Some("token=t"), Ok("t")),
            (None, None, None, Err(TokenProblem::Missing)),
            (Some("Bearer "), None, None, Err(TokenProblem::Missing)),
            (Some("Bearer"), None, None, Err(TokenProblem::Missing)),
            (Some("Basic eHg="), None, None, Err(TokenProblem::Missing)),
            (None, Some("orderhub.v1"), None, Err(TokenProblem::Missing)),
            (None, None, Some("token=&tokens=x&atoken=y"), Err(TokenProblem::Missing)),
            (Some("Bearer a"), None, Some("token=b"), Err(TokenProblem::Ambiguous)),
            (None, None, Some("token=a&token=b"), Err(TokenProblem::Ambiguous)),
            (
                Some("Bearer a"),
                Some("orderhub.v1,orderhub.jwt.b"),
                None,
                Err(TokenProblem::Ambiguous),
            ),
            (None, Some("orderhub.jwt.a"), None, Err(TokenProblem::WithoutSubprotocol)),
            (Some("Bearer a"), Some("orderhub.jwt.a"), None, Err(TokenProblem::WithoutSubprotocol)),
        ] {
            let found = find_token(authorization, protocols, query, true);
            let case = (authorization, protocols, query);
            assert_eq!(found.token, expected.map(Cow::Borrowed), "{case:?}");
        }
    }

    #[test]
    fn a_token_in_the_address_counts_only_where_that_is_allowed() {
        let alone = find_token(None, None, Some("token=a"), false);
        assert_eq!(alone.token, Err(TokenProblem::QueryNotAllowed));
        let beside = find_token(Some("Bearer a"), None, Some("token=a"), false);
        assert_eq!(beside.token, Ok(Cow::Borrowed("a")));
        let other = find_token(Some("Bearer a"), None, Some("token=b"), false);
        assert_eq!(other.token, Err(TokenProblem::Ambiguous));
    }

    #[test]
    fn the_offer_of_the_subprotocol_is_seen_even_without_a_good_token() {
        assert!(find_token(None, Some("x, orderhub.v1"), None, true).offers_subprotocol);
        assert!(!find_token(None, Some("orderhub.v10"), None, true).offers_subprotocol);
        assert!(!find_token(Some("Bearer a"), None, None, true).offers_subprotocol);
    }
}

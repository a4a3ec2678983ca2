//! Finds the token of a request: in the `Authorization` header, in the list of subprotocols (which
//! is all that a browser can set), or in the address.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::percent_decode_str;

use super::api_keys::is_api_key;

/// The subprotocol that the hub answers with.
pub const SUBPROTOCOL: &str = "orderhub.v1";

const TOKEN_PREFIX: &str = "orderhub.jwt.";

/// The credentials of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The token to verify, or why there is none.
    pub token: Result<Cow<'a, str>, TokenProblem>,
    /// Whether the client offered `orderhub.v1`. Such a client is usually a browser. It cannot see
    /// a 401, so it gets a close code instead.
    pub offers_subprotocol: bool,
}

/// Why a request has no token to verify. All of these are answered as `unauthenticated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// There is no token. On Socket.IO it may still come in the CONNECT packet.
    #[error("no token: send Authorization: Bearer")]
    Missing,
    /// The header has another scheme and no token.
    #[error("no token: the Authorization header is not of the form Bearer TOKEN")]
    OtherScheme,
    /// One place has several tokens, and none of them takes precedence.
    #[error("two different tokens in one request")]
    Ambiguous,
    /// The list of subprotocols has a token but not `orderhub.v1`: the hub could only answer with
    /// the token itself.
    #[error("the subprotocol orderhub.jwt.… needs orderhub.v1 beside it")]
    WithoutSubprotocol,
    /// The token is only in the address, where it is not accepted.
    #[error("a token in the address is not accepted here (ALLOW_QUERY_TOKEN)")]
    QueryNotAllowed,
}

/// Finds the token of a request.
///
/// `authorization` and `protocols` are the headers `Authorization` and `Sec-WebSocket-Protocol`
/// (several of the latter are joined with commas), `query` is the part after the `?`.
///
/// The subprotocol takes precedence over the header, and the header over the address: a library may
/// set a header for all requests of an app, and an address may come from a link.
pub fn find_token<'a>(
    authorization: Option<&'a str>,
    protocols: Option<&'a str>,
    query: Option<&'a str>,
    allow_query: bool,
) -> Credentials<'a> {
    let offered = || protocols.unwrap_or_default().split(',').map(str::trim);
    let offers_subprotocol = offered().any(|protocol| protocol == SUBPROTOCOL);
    let in_protocols = offered().filter_map(|protocol| protocol.strip_prefix(TOKEN_PREFIX));
    let token = match only(in_protocols.map(Cow::Borrowed)) {
        Ok(None) => in_header_or_query(authorization, query, allow_query),
        Ok(Some(_)) if !offers_subprotocol => Err(TokenProblem::WithoutSubprotocol),
        Ok(Some(token)) => Ok(token),
        Err(problem) => Err(problem),
    };
    Credentials { token, offers_subprotocol }
}

fn in_header_or_query<'a>(
    authorization: Option<&'a str>,
    query: Option<&'a str>,
    allow_query: bool,
) -> Result<Cow<'a, str>, TokenProblem> {
    if let Some(token) = authorization.and_then(in_header) {
        return Ok(token.into());
    }
    match only(query.into_iter().flat_map(query_tokens))? {
        Some(token) if allow_query => Ok(token),
        Some(_) => Err(TokenProblem::QueryNotAllowed),
        None if authorization.is_some_and(is_of_another_scheme) => Err(TokenProblem::OtherScheme),
        None => Err(TokenProblem::Missing),
    }
}

/// The only token of a place that may have several.
fn only<'a>(
    mut tokens: impl Iterator<Item = Cow<'a, str>>,
) -> Result<Option<Cow<'a, str>>, TokenProblem> {
    let first = tokens.next();
    match &first {
        Some(first) if tokens.any(|other| other != *first) => Err(TokenProblem::Ambiguous),
        _ => Ok(first),
    }
}

/// A token without the word `Bearer`, which some apps also send in places that have no scheme. The
/// word is compared without case (RFC 9110, section 11.1).
pub(super) fn without_scheme(token: &str) -> &str {
    let token = token.trim();
    match token.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest.trim_start(),
        _ => token,
    }
}

const SCHEME: &str = "Bearer ";

/// The token of `Authorization: Bearer`, or a token without a scheme. Other schemes are not for the
/// hub, but for a proxy, for instance.
fn in_header(header: &str) -> Option<&str> {
    let token = without_scheme(header);
    let has_scheme = token.len() < header.trim().len();
    (has_scheme || is_bare_token(token)).then_some(token)
}

/// Tells a token from a scheme, which is also one word: a JWT has dots.
fn is_bare_token(header: &str) -> bool {
    !header.contains(char::is_whitespace) && (header.contains('.') || is_api_key(header))
}

fn is_of_another_scheme(header: &str) -> bool {
    let header = header.trim();
    !header.is_empty() && !header.eq_ignore_ascii_case(SCHEME.trim())
}

/// The password of `Authorization: Basic` (RFC 7617), which is a token if an app can send nothing
/// else. The user name is ignored.
pub fn basic_password(header: &str) -> Option<String> {
    let (scheme, credentials) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = credentials.trim().trim_end_matches('=');
    let decoded = STANDARD_NO_PAD.decode(credentials).ok()?;
    // The name may be in any charset.
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = without_scheme(std::str::from_utf8(&decoded[colon + 1..]).ok()?);
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
    fn a_password_is_found_under_every_name() {
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
            (Some(" Bearer\tt"), None, None, Err(TokenProblem::OtherScheme)),
            (Some("a.b.c"), None, None, Ok("a.b.c")),
            (Some("ohk_shop_x"), None, None, Ok("ohk_shop_x")),
            (Some("Basic eHg="), None, None, Err(TokenProblem::OtherScheme)),
            (Some("JWT a.b.c"), None, None, Err(TokenProblem::OtherScheme)),
            (Some("Negotiate"), None, None, Err(TokenProblem::OtherScheme)),
            (Some(""), None, None, Err(TokenProblem::Missing)),
            (None, Some("orderhub.v1"), None, Err(TokenProblem::Missing)),
            (None, None, Some("token=&tokens=x&atoken=y"), Err(TokenProblem::Missing)),
            (Some("Bearer a"), None, Some("token=b"), Ok("a")),
            (Some("a.b.c"), None, Some("token=d"), Ok("a.b.c")),
            (Some("Bearer a"), None, Some("token=b&token=c"), Ok("a")),
            (None, None, Some("token=a&token=b"), Err(TokenProblem::Ambiguous)),
            (Some("Bearer a"), Some("orderhub.v1,orderhub.jwt.b"), Some("token=c"), Ok("b")),
            (
                Some("Bearer a"),
                Some("orderhub.v1,orderhub.jwt.a,orderhub.jwt.b"),
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
    fn a_token_in_the_address_is_accepted_only_where_allowed() {
        let alone = find_token(None, None, Some("token=a"), false);
        assert_eq!(alone.token, Err(TokenProblem::QueryNotAllowed));
        for beside in ["token=a", "token=b"] {
            let beside = find_token(Some("Bearer a"), None, Some(beside), false);
            assert_eq!(beside.token, Ok(Cow::Borrowed("a")));
        }
    }

    #[test]
    fn the_word_bearer_is_no_part_of_a_token() {
        for (sent, expected) in [
            ("Bearer a.b.c", "a.b.c"),
            (" bEARER  a \n", "a"),
            ("Bearer", "Bearer"),
            ("Bearer ", "Bearer"),
            ("Bärer a", "Bärer a"),
            ("Bearera", "Bearera"),
            ("a.b.c\n", "a.b.c"),
            ("", ""),
        ] {
            assert_eq!(without_scheme(sent), expected, "{sent}");
        }
    }

    #[test]
    fn the_offer_of_the_subprotocol_is_seen_even_without_a_good_token() {
        assert!(find_token(None, Some("x, orderhub.v1"), None, true).offers_subprotocol);
        assert!(!find_token(None, Some("orderhub.v10"), None, true).offers_subprotocol);
        assert!(!find_token(Some("Bearer a"), None, None, true).offers_subprotocol);
    }
}

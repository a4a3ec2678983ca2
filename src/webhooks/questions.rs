//! The questions that the hub asks a back end: whether a user may join, and whether a message is
//! stored. What is asked, and what an answer says.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::payload::text;
use protocol::chat::{ChatKind, check_content};
use protocol::ids::{OrderId, UserId};
use protocol::role::Role;

/// The longest reason that a sender is told, in characters.
const MAX_REASON_CHARS: usize = 200;

/// Whether a user may join an order that nothing else lets them join.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinQuestion<'a> {
    /// The order.
    pub order_id: &'a OrderId,
    /// The user.
    pub user_id: &'a UserId,
    /// The role in the user's token.
    pub role: Role,
    /// The claims of the token.
    pub claims: &'a RawValue,
}

/// Whether a message is stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatQuestion<'a> {
    /// The order.
    pub order_id: &'a OrderId,
    /// The author.
    pub sender_id: &'a UserId,
    /// The author's role.
    pub role: Role,
    /// What was written.
    pub content: &'a str,
    /// The kind of content.
    #[serde(rename = "type")]
    pub kind: ChatKind,
}

/// The answer to a [`JoinQuestion`].
#[derive(Debug, Clone)]
pub enum JoinAnswer {
    /// The user may join.
    Yes {
        /// In which role, if not in that of the token.
        role: Option<Role>,
        /// What is to be put as the order.
        order: Option<Box<RawValue>>,
    },
    /// The user may not.
    No,
}

/// The answer to a [`ChatQuestion`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatAnswer {
    /// It is stored as it was written.
    AsWritten,
    /// It is stored with this content.
    With(String),
    /// It is not stored.
    Rejected(Option<String>),
}

#[derive(Deserialize)]
struct JoinForm {
    allow: bool,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    order: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct ChatForm {
    #[serde(default)]
    allow: Option<bool>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

// === impl JoinQuestion ===

impl JoinQuestion<'_> {
    /// The body of the request.
    pub fn body(&self) -> String {
        text(self)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// What is wrong with it. Then it is no yes.
    pub fn answer(body: &[u8]) -> Result<JoinAnswer, String> {
        let form: JoinForm = read(body)?;
        if !form.allow {
            return Ok(JoinAnswer::No);
        }
        let role = form.role.as_deref().map(|name| {
            let role = Role::from_name(name);
            let role =
                role.filter(|role| matches!(role, Role::Customer | Role::Driver | Role::Support));
            role.ok_or_else(|| "its role is none of customer, driver, support".to_owned())
        });
        Ok(JoinAnswer::Yes { role: role.transpose()?, order: form.order })
    }
}

// === impl ChatQuestion ===

impl ChatQuestion<'_> {
    /// The body of the request.
    pub fn body(&self) -> String {
        text(self)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn answer(&self, body: &[u8]) -> Result<ChatAnswer, String> {
        let form: ChatForm = read(body)?;
        match (form.allow, form.content) {
            (Some(false), _) => Ok(ChatAnswer::Rejected(form.reason.map(|reason| shown(&reason)))),
            (_, Some(content)) if content == self.content => Ok(ChatAnswer::AsWritten),
            (_, Some(content)) => match check_content(self.kind, &content) {
                Ok(()) => Ok(ChatAnswer::With(content)),
                Err(failure) => Err(format!("its content cannot be stored: {}", failure.message)),
            },
            (Some(true), None) => Ok(ChatAnswer::AsWritten),
            (None, None) => Err("it has neither allow nor content".to_owned()),
        }
    }

    /// A hash of what was written, by which a retry is known when other content was stored. Without
    /// the secret it does not tell what that was.
    pub fn hash(&self, secret: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let said = format!("{}\n{}", self.kind.as_str(), self.content);
        let tag = hmac::sign(&key, said.as_bytes());
        tag.as_ref().iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
            // Writing into a text cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    // What the parser says may repeat what the answer holds.
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            "it lacks a field or has one of another type".to_owned()
        }
        _ => "it is no JSON, or too long".to_owned(),
    })
}

/// A reason as a sender may be told it.
fn shown(reason: &str) -> String {
    let shown = reason.chars().filter(|c| !c.is_control());
    shown.take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(body: &str) -> Option<(bool, Option<Role>)> {
        match JoinQuestion::answer(body.as_bytes()).ok()? {
            JoinAnswer::Yes { role, .. } => Some((true, role)),
            JoinAnswer::No => Some((false, None)),
        }
    }

    fn chat(body: &str) -> Option<ChatAnswer> {
        let (order, user) = ("o".parse().expect("an id"), "u".parse().expect("an id"));
        let question = ChatQuestion {
            order_id: &order,
            sender_id: &user,
            role: Role::Customer,
            content: "damn",
            kind: ChatKind::Text,
        };
        question.answer(body.as_bytes()).ok()
    }

    #[test]
    fn only_allow_lets_a_user_join() {
        assert_eq!(join(r#"{"allow":true}"#), Some((true, None)));
        assert_eq!(
            join(r#"{"allow":true,"role":"driver","x":1}"#),
            Some((true, Some(Role::Driver)))
        );
        assert_eq!(join(r#"{"allow":false,"role":"driver"}"#), Some((false, None)));
        for lie in [
            "",
            "yes",
            "{}",
            "[]",
            r#"{"ok":true}"#,
            r#"{"allow":"true"}"#,
            r#"{"allow":1}"#,
            r#"{"allow":true,"role":"admin"}"#,
            r#"{"allow":true,"role":"service"}"#,
            r#"{"allow":true,"role":7}"#,
            r#"{"allow":true"#,
        ] {
            assert_eq!(join(lie), None, "{lie}");
        }
    }

    #[test]
    fn a_message_is_stored_changed_or_rejected() {
        assert_eq!(chat(r#"{"allow":true}"#), Some(ChatAnswer::AsWritten));
        assert_eq!(chat(r#"{"content":"damn"}"#), Some(ChatAnswer::AsWritten));
        assert_eq!(chat(r#"{"content":"d***"}"#), Some(ChatAnswer::With("d***".to_owned())));
        let rejected = |reason: &str| Some(ChatAnswer::Rejected(Some(reason.to_owned())));
        assert_eq!(chat("{\"allow\":false,\"reason\":\"no\\nswearing\"}"), rejected("noswearing"));
        assert_eq!(chat(r#"{"allow":false,"content":"x"}"#), Some(ChatAnswer::Rejected(None)));
        let long = "x".repeat(5000);
        for lie in [
            "{}".to_owned(),
            "no JSON".to_owned(),
            r#"{"allow":"yes"}"#.to_owned(),
            r#"{"content":""}"#.to_owned(),
            format!(r#"{{"content":"{long}"}}"#),
        ] {
            assert_eq!(chat(&lie), None, "{lie}");
        }
    }
}

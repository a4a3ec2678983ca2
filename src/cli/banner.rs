//! What `serve` prints once it listens: the address, and how to connect. Programs parse the first
//! line.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::healthcheck::reachable;
use crate::config::Config;
use crate::process::VERSION;

/// The text for a hub that listens on this address, with commands that can be pasted.
pub fn banner(address: SocketAddr, config: &Config) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "orderhub".into());
    banner_of(&program, address, config)
}

fn banner_of(program: &Path, address: SocketAddr, config: &Config) -> String {
    let mut text = format!("orderhub listens on http://{address}\n");
    if let Some(admin) = config.server.admin_bind {
        let _ = writeln!(text, "admin on http://{admin}");
    }
    let _ = writeln!(text, "version {VERSION}, pid {}", std::process::id());
    if config.auth.secret.is_none() {
        // Only the owner of the private key can make tokens.
        return text;
    }
    if config.serves_demo() {
        let to = reachable(address);
        let _ = write!(text, "\nTry it in a browser: http://{to}/demo\n");
    }
    let token = token_command(program, config);
    let same = match config.auth.development_secret {
        Some(_) => "",
        None => " (in a shell with the hub's JWT_* settings)",
    };
    let _ = write!(
        text,
        "\nTokens for a driver and a customer of order-1{same}:\n  \
         DRIVER=$({token} --user driver-1 --role driver --order order-1)\n  \
         CUSTOMER=$({token} --user customer-1 --role customer --order order-1)\n\
         \nConnect:\n"
    );
    let to = reachable(address);
    // The address comes first, because websocat takes any number of words after -H as headers.
    let _ = writeln!(text, "  websocat ws://{to}/ws -H \"Authorization: Bearer $CUSTOMER\"");
    if config.server.allow_query_token {
        let _ = writeln!(text, "  websocat \"ws://{to}/ws?token=$DRIVER\"");
    }
    text +=
        "\nand say:\n  {\"event\":\"order:join\",\"data\":{\"orderId\":\"order-1\"},\"id\":1}\n";
    text
}

/// `orderhub token`, for a shell in any directory.
fn token_command(program: &Path, config: &Config) -> String {
    let program = quoted(program);
    if config.auth.development_secret.is_none() {
        return format!("{program} token");
    }
    // Given even if it is the default: the default is relative, and a second terminal is usually in
    // another directory, where `token` finds no secret.
    let dir = &config.server.data_dir;
    let dir = dir.canonicalize().or_else(|_| std::path::absolute(dir)).unwrap_or(dir.clone());
    format!("{program} token --data-dir {}", quoted(&dir))
}

/// A path in quotes for a POSIX shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn config(flags: &[&str]) -> Config {
        let mut config = Config::from_flags(flags).expect("good settings");
        if config.auth.development_secret.is_some() {
            config.auth.secret = Some(Secret::new("x".repeat(64)));
        }
        config
    }

    fn text(address: &str, flags: &[&str]) -> String {
        let address = address.parse().expect("an address");
        banner_of(Path::new("/opt/my hub/orderhub"), address, &config(flags))
    }

    #[test]
    fn a_development_hub_prints_its_address_and_how_to_log_in() {
        let text = text("127.0.0.1:4711", &["--data-dir", "/srv/it's here"]);
        for part in [
            &format!(
                "orderhub listens on http://127.0.0.1:4711\nversion {VERSION}, pid {}\n",
                std::process::id()
            ),
            "\nTry it in a browser: http://127.0.0.1:4711/demo\n",
            "DRIVER=$('/opt/my hub/orderhub' token --data-dir '/srv/it'\\''s here' --user driver-1 \
             --role driver --order order-1)\n",
            "CUSTOMER=$('/opt/my hub/orderhub' token --data-dir",
            "websocat ws://127.0.0.1:4711/ws -H \"Authorization: Bearer $CUSTOMER\"\n",
            "websocat \"ws://127.0.0.1:4711/ws?token=$DRIVER\"\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    #[test]
    fn a_hub_with_a_secret_of_its_own_does_not_show_it_and_points_to_the_settings() {
        let secret = "s".repeat(32);
        let text = text("0.0.0.0:80", &["--bind", "0.0.0.0:80", "--jwt-secret", &secret]);
        assert!(text.contains("listens on http://0.0.0.0:80\n"));
        assert!(text.contains("ws://127.0.0.1:80/ws -H "));
        assert!(text.contains("JWT_* settings"));
        assert!(!text.contains("?token="));
        assert!(!text.contains("--data-dir"));
        assert!(!text.contains("/demo"));
        assert!(!text.contains(&secret));
    }
}

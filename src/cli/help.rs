//! The text of `--help`. Every command accepts all settings, so that one environment serves them
//! all; its help shows only the settings that it uses.

use clap::Command;

/// For commands that use some of the settings: the variables of those, and a sentence about the
/// others. Commands that are not listed show all.
const SHOWN: &[(&str, &[&str], &str)] = &[
    ("token", TOKEN_SETTINGS, TOKEN),
    ("api-key", &[], ""),
    ("migrate", MIGRATE_SETTINGS, OTHERS),
    ("check-config", &[], CHECK_CONFIG),
    ("healthcheck", &["BIND_ADDR"], OTHERS),
    ("webhook", &["WEBHOOKS_FILE"], OTHERS),
    ("load", &[], LOAD),
    ("completions", &[], COMPLETIONS),
    ("man", &[], ""),
];

const TOKEN_SETTINGS: &[&str] = &[
    "DATA_DIR",
    "JWT_SECRET",
    "JWT_SECRET_FILE",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "JWT_USER_CLAIM",
    "JWT_NAME_CLAIM",
    "JWT_ROLE_CLAIM",
    "JWT_ROLE_MAP",
    "JWT_STAFF_AUDIENCE",
];

const MIGRATE_SETTINGS: &[&str] =
    &["DATA_DIR", "DATABASE_URL", "DATABASE_URL_FILE", "RUST_LOG", "LOG_FORMAT"];

const OTHERS: &str = "The other settings of the hub are accepted too: see orderhub --help.";

const TOKEN: &str = "\
The settings must be those of the hub. Without JWT_SECRET and JWT_SECRET_FILE the secret is the one
in the --data-dir of a hub on this machine, which makes it when it first starts.

The other settings of the hub are accepted too: see orderhub --help.";

const CHECK_CONFIG: &str = "Looks at all settings of the hub: see orderhub --help.";

const COMPLETIONS: &str = "\
The Debian package installs them. By hand, for bash in a user's home:
  orderhub completions bash >~/.local/share/bash-completion/completions/orderhub";

const LOAD: &str = "\
Examples:
  orderhub load tracking --rooms 100 --hold 10s
  orderhub load mixed --url wss://hub.example.com --tokens tokens.ndjson --html mixed.html
  orderhub load chat --assert 'chat.p99<50ms' 'errors==0' --json chat.json
  orderhub load compare before.json after.json

Without --tokens, tokens are made by the settings of `orderhub token`: JWT_SECRET, JWT_ISSUER and
so on, or the secret in the --data-dir of a hub on this machine (see orderhub token --help).

Exit status: 0 all is well; 1 a promise is broken or an assertion fails; 2 what was asked cannot be
done; 3 no hub, or it was lost; 4 a result cannot be written; 130 interrupted.";

/// Hides unused settings from the help of each command.
pub(super) fn with_own_settings(command: Command) -> Command {
    SHOWN.iter().fold(command, |command, (name, settings, after)| {
        command
            .mut_subcommand(name, |subcommand| show_only(subcommand, settings).after_help(*after))
    })
}

/// Hides the settings that are not named, also in subcommands.
fn show_only(command: Command, settings: &[&str]) -> Command {
    let command = command.mut_args(|arg| {
        let hide = arg.get_env().is_some_and(|variable| {
            !settings.iter().any(|setting| variable == std::ffi::OsStr::new(setting))
        });
        if hide { arg.hide(true) } else { arg }
    });
    command.mut_subcommands(|subcommand| show_only(subcommand, settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    /// This command and all its subcommands.
    fn all(command: &Command) -> Vec<&Command> {
        let below = command.get_subcommands().flat_map(all);
        std::iter::once(command).chain(below).collect()
    }

    #[test]
    fn the_settings_that_a_command_shows_are_settings() {
        let command = cli::command();
        let variables: Vec<&str> =
            command.get_arguments().filter_map(|arg| arg.get_env()?.to_str()).collect();
        for (name, settings, _) in SHOWN {
            assert!(command.find_subcommand(name).is_some(), "{name}");
            for setting in *settings {
                assert!(variables.contains(setting), "{name} shows {setting}");
            }
        }
    }

    /// clap turns it into a line break and has no way to escape it. Usage and value names are shown
    /// unchanged.
    #[test]
    fn no_help_has_the_word_that_clap_eats() {
        let command = cli::command();
        for command in all(&command) {
            let about = [
                command.get_about(),
                command.get_long_about(),
                command.get_before_help(),
                command.get_before_long_help(),
                command.get_after_help(),
                command.get_after_long_help(),
            ];
            let args = command.get_arguments();
            let helps = args.flat_map(|arg| [arg.get_help(), arg.get_long_help()]);
            for text in about.into_iter().chain(helps).flatten() {
                assert!(!text.to_string().contains("{n}"), "{}: {text}", command.get_name());
            }
        }
    }
}

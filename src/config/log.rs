//! What is logged, and how.

use clap::Args;

/// How a log record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged, and how. Logs go to stderr.
#[derive(Debug, Clone, Args)]
pub struct LogConfig {
    /// Levels, for all or by module, like info or warn,orderhub=debug
    ///
    /// `RUST_LOG`, default `info`. `trace` writes several lines for every event.
    #[arg(long = "log-filter", env = "RUST_LOG", value_name = "FILTER")]
    #[arg(id = "log_filter", default_value = "info", value_parser = filter)]
    pub filter: String,

    /// text, or json: one object a line
    ///
    /// `LOG_FORMAT`, default `text`.
    #[arg(long = "log-format", env = "LOG_FORMAT", value_name = "FORMAT")]
    #[arg(id = "log_format", default_value = "text", value_parser = format)]
    pub format: LogFormat,
}

fn format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("text or json".to_owned()),
    }
}

/// Checks the form of a filter. The logger itself would only warn and ignore the part that it
/// cannot read.
fn filter(text: &str) -> Result<String, String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| levels.iter().any(|level| level.eq_ignore_ascii_case(word.trim()));
    let is_target = |word: &str| {
        let word = word.trim();
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
    };
    // The part after a slash is a regular expression over the messages.
    let directives = text.split_once('/').map_or(text, |(directives, _)| directives);
    let good = directives.split(',').all(|directive| match directive.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_target(directive),
    });
    good.then(|| text.to_owned())
        .ok_or_else(|| format!("a level ({}) or target=level pairs with commas", levels.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_and_targets_with_levels() {
        for good in ["info", "WARN", "off", "warn,orderhub=debug", "orderhub::http=trace/x,y"] {
            assert!(filter(good).is_ok(), "{good:?}");
        }
        for bad in ["", "info,", "orderhub=loud", "=info", "a b"] {
            assert!(filter(bad).is_err(), "{bad:?}");
        }
    }
}

//! The progress of a run: a live line on a terminal; elsewhere a line every few seconds, and one
//! when a stage begins. On stderr, so that stdout contains only the results.
#![expect(clippy::print_stderr, reason = "it is no result")]

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

use load::engine::RunProgress;
use load::report::table;

/// Seconds between two lines without a terminal.
const EVERY: u64 = 5;

/// The progress line and its state.
pub(super) struct Progress {
    /// None if stderr is not a terminal.
    bar: Option<ProgressBar>,
    seconds: u64,
    stage: &'static str,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(1);
            let style = ProgressStyle::with_template("{bar:12} {wide_msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, seconds: 0, stage: "" }
    }

    /// Shows the second that has ended.
    pub(super) fn show(&mut self, live: &RunProgress) {
        self.seconds += 1;
        let begins = std::mem::replace(&mut self.stage, live.stage) != live.stage;
        match &self.bar {
            Some(bar) => {
                bar.set_length(live.length.as_secs());
                bar.set_position(self.seconds);
                bar.set_message(table::line(live));
            }
            None if begins || self.seconds.is_multiple_of(EVERY) => {
                eprintln!("{}", table::line(live));
            }
            None => {}
        }
    }

    /// Clears the line.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

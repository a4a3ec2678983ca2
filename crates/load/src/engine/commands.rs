//! The commands that a scenario runs at moments of its hold: they kill hubs, start them, cut
//! networks.

use std::process::{Child, Command, Stdio};

use crate::measure::Measure;
use crate::scenario::Step;

/// Commands that were started. One that cannot be started or fails counts as the error
/// `step_failed`; one that still runs at the end of the run goes on.
#[derive(Debug, Default)]
pub struct Commands {
    running: Vec<Child>,
    failed: u64,
}

impl Commands {
    /// Starts a command in a shell. What it prints goes to stderr, because stdout has the results.
    pub fn start(&mut self, step: &Step) {
        let mut command = Command::new("sh");
        command.args(["-c", &step.run]).stdin(Stdio::null()).stdout(std::io::stderr());
        match command.spawn() {
            Ok(child) => self.running.push(child),
            Err(_) => self.failed += 1,
        }
    }

    /// Counts the commands that have failed since the last call.
    pub fn count(&mut self, measure: &mut Measure) {
        let failed = &mut self.failed;
        self.running.retain_mut(|child| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                *failed += u64::from(!status.success());
                false
            }
            Err(_) => false,
        });
        for _ in 0..std::mem::take(failed) {
            measure.error("step_failed");
        }
    }
}

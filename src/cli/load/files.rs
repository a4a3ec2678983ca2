//! The files that a run reads and leaves behind.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::load::measure::Measure;
use crate::load::report::{Report, html, percentiles};

/// Where the results go, beside stdout.
#[derive(Args)]
pub(super) struct Files {
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the distributions of all times, for plotters of `HdrHistogram`
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
}

/// Reads a text.
pub(super) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: cannot read it: {error}", path.display()))
}

impl Files {
    /// Looks before the run whether its results can be written; what stands there stays until
    /// then.
    pub(super) fn check(&self) -> Result<(), String> {
        for path in [&self.json, &self.html, &self.hdr].into_iter().flatten() {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|error| format!("{}: cannot write it: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Writes all that were asked for, and says the first that cannot be.
    pub(super) fn write(&self, report: &Report, measure: &Measure) -> Result<(), String> {
        let json = || serde_json::to_string_pretty(report).map(|text| text + "\n");
        let json = self.json.as_deref().map(|path| {
            let text = json().map_err(|error| format!("{}: {error}", path.display()))?;
            write(path, &text)
        });
        let html = self.html.as_deref().map(|path| write(path, &html::page(report)));
        let hdr = self.hdr.as_deref().map(|path| write(path, &percentiles(measure)));
        [json, html, hdr].into_iter().flatten().collect()
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: cannot write it: {error}", path.display()))
}

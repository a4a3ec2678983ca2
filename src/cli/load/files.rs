//! The files that a run reads and writes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use load::measure::Measure;
use load::report::{Report, html, percentiles};
use protocol::lenient::without_mark;

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

/// Reads a text file, without a byte-order mark.
pub(super) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path)
        .map(|text| without_mark(&text).to_owned())
        .map_err(|error| format!("{}: cannot read it: {error}", path.display()))
}

impl Files {
    /// Checks before the run that its results can be written. Existing files stay until then, and a
    /// run that never begins leaves no new ones.
    pub(super) fn check(&self) -> Result<(), String> {
        for path in [&self.json, &self.html, &self.hdr].into_iter().flatten() {
            let is_new = fs::symlink_metadata(path).is_err();
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|error| unwritable(path, &error))?;
            if is_new {
                fs::remove_file(path).map_err(|error| unwritable(path, &error))?;
            }
        }
        Ok(())
    }

    /// Writes all requested files, and returns those that could not be written.
    pub(super) fn write(&self, report: &Report, measure: &Measure) -> Vec<String> {
        let json = self.json.as_deref().map(|path| {
            let text = serde_json::to_string_pretty(report).map_err(io::Error::from);
            text.and_then(|text| write(path, &(text + "\n")))
                .map_err(|error| unwritable(path, &error))
        });
        let text =
            |path: &Path, text: &str| write(path, text).map_err(|error| unwritable(path, &error));
        let html = self.html.as_deref().map(|path| text(path, &html::page(report)));
        let hdr = self.hdr.as_deref().map(|path| text(path, &percentiles(measure)));
        [json, html, hdr].into_iter().flatten().filter_map(Result::err).collect()
    }
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("{}: cannot write it: {error}", path.display())
}

/// Writes a file completely or not at all: a full disk leaves no partial report, and the old file
/// stays. A pipe, a device or the target of a link is written directly.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, text);
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.part", std::process::id()));
    let draft = PathBuf::from(draft);
    let Ok(mut file) = File::create(&draft) else {
        // A folder may refuse new files and still contain a writable one.
        return fs::write(path, text);
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // If even this fails, nothing can be done.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_cannot_be_written_leaves_what_stood_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("report");
        write(&path, "one").expect("written");
        write(&path, "two").expect("written again");
        assert_eq!(fs::read_to_string(&path).expect("read"), "two");
        // A folder cannot be replaced by a file.
        assert!(write(&dir.path().join("none/report"), "x").is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn looking_whether_a_report_can_be_written_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let old = dir.path().join("old");
        fs::write(&old, "results").expect("written");
        let new = dir.path().join("new");
        let files = Files { json: Some(new.clone()), html: Some(old.clone()), hdr: None };
        assert_eq!(files.check(), Ok(()));
        assert!(!new.exists() && fs::read_to_string(&old).expect("read") == "results");
    }
}

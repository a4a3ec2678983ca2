//! The machine of a run: times from two machines must not be compared.

use serde::{Deserialize, Serialize};

/// The machine of the load generator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The host name.
    pub host: String,
    /// Its system and processor, as Rust names them: `linux x86_64`.
    pub system: String,
    /// The cores that this program may use.
    pub cores: usize,
    /// The name of its processor, if the system reports it: Linux does on most machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            host: host.to_string_lossy().into_owned(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor(&processors),
        }
    }

    /// A description in one line.
    pub fn words(&self) -> String {
        let Self { host, system, cores, processor } = self;
        let plural = if *cores == 1 { "" } else { "s" };
        let processor = processor.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
        format!("{host}: {cores} core{plural}{processor}, {system}")
    }
}

/// The name of the first processor in `/proc/cpuinfo`.
fn processor(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_described_in_a_line() {
        let text = "processor\t: 0\nmodel name\t: A  CPU @ 2 GHz\nmodel name\t: another\n";
        let mut machine = Machine {
            host: "box".to_owned(),
            system: "linux x86_64".to_owned(),
            cores: 2,
            processor: processor(text),
        };
        assert_eq!(machine.words(), "box: 2 cores of A CPU @ 2 GHz, linux x86_64");
        machine.processor = processor("processor\t: 0\n");
        assert_eq!(machine.words(), "box: 2 cores, linux x86_64");
    }
}

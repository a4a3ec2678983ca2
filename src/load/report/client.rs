//! Whether the load generator itself was what the times of a run are about.

use serde::{Deserialize, Serialize};

use super::float;
use crate::load::engine::Interval;
use crate::load::measure::{Measure, Timing};

/// What this program was busy with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientUse {
    /// The part of a core that it took in the hold; none where the system does not tell.
    pub cpu: Option<f64>,
    /// The part of the messages that went out over 10 ms after they were due.
    pub late: f64,
    /// Why its times say more of itself than of the hub; none where they do not.
    pub bottleneck: Option<String>,
    /// Why its times say something of the machine too: it was late though it had time; none where it
    /// was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed: Option<String>,
}

/// Above so much of a core the program is not believed any more.
const BUSY: f64 = 0.85;
/// With more late messages than this it was disturbed.
const OFTEN_LATE: f64 = 0.01;
/// Fewer late messages than this happen to anybody.
const FEW: u64 = 10;

impl ClientUse {
    pub(super) fn new(hold: &Interval, measure: &Measure) -> Self {
        let (cpu, hold) = (hold.cpu, &hold.counts);
        let scheduled = measure.timing(Timing::Late).len();
        let late = if scheduled == 0 { 0.0 } else { float(hold.late) / float(scheduled) };
        let bottleneck = cpu.filter(|cpu| *cpu > BUSY).map(|cpu| {
            format!("it took {:.0} % of a core; take more machines or fewer rooms", cpu * 100.0)
        });
        let often_late = late > OFTEN_LATE && hold.late >= FEW && bottleneck.is_none();
        let disturbed = often_late.then(|| {
            let took = cpu.map_or(String::new(), |cpu| {
                format!(" though it took {:.0} % of a core", cpu * 100.0)
            });
            format!(
                "{:.1} % of its messages went out over 10 ms late{took}: something else on this \
                 machine had the processor",
                late * 100.0
            )
        });
        Self { cpu, late, bottleneck, disturbed }
    }

    /// Whether the times are to be doubted, and why: what to call that, and the reason.
    pub fn doubt(&self) -> Option<(&'static str, &str)> {
        let bottleneck = self.bottleneck.as_deref().map(|why| ("a bottleneck", why));
        bottleneck.or_else(|| self.disturbed.as_deref().map(|why| ("disturbed", why)))
    }
}

//! Whether the load generator itself has affected the times of a run.

use serde::{Deserialize, Serialize};

use super::float;
use crate::engine::Interval;
use crate::measure::{Measure, Timing};

/// The load of this program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientUse {
    /// The part of a core that it used in the hold; none if the system does not report it.
    pub cpu: Option<f64>,
    /// The part of the messages that were sent over 10 ms after they were due.
    pub late: f64,
    /// Why the times say more about this program than about the hub, if so.
    pub bottleneck: Option<String>,
    /// Why the machine has affected the times, if so: the program was late although it was not
    /// busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disturbed: Option<String>,
}

/// Above this part of a core, the program's times are not reliable.
const BUSY: f64 = 0.85;
/// Above this part of late messages, the machine was disturbed.
const OFTEN_LATE: f64 = 0.01;
/// This many late messages are normal.
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

    /// If the times are unreliable, what to call that and the reason.
    pub fn doubt(&self) -> Option<(&'static str, &str)> {
        let bottleneck = self.bottleneck.as_deref().map(|why| ("a bottleneck", why));
        bottleneck.or_else(|| self.disturbed.as_deref().map(|why| ("disturbed", why)))
    }
}
